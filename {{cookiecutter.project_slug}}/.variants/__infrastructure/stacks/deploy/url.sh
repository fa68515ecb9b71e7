#!/usr/bin/env bash
# Print the address of the service.
set -euo pipefail
. deploy/stacks.sh

url=$(stack_output Url)
[ -n "$url" ] || fail "there is no service yet: run 'make deploy ENV=$ENV' first"
# For an Express Mode service, ECS reports only the host.
case $url in http*) ;; *) url=https://$url ;; esac
echo "${url%/}"
