#!/usr/bin/env bash
# Print the address of the service.
set -euo pipefail
. deploy/common.sh

url=$(stack_output Url)
[ -n "$url" ] || fail "there is no service yet: run 'make deploy ENV=$ENV' first"
# ECS tells the host of an Express Mode service.
case $url in http*) ;; *) url=https://$url ;; esac
echo "${url%/}"
