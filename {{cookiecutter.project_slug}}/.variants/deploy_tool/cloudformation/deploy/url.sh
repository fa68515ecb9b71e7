#!/usr/bin/env bash
# Print the address of the service.
set -euo pipefail
. deploy/common.sh

url=$(ask_aws "does not exist" cloudformation describe-stacks --stack-name "$STACK" \
  --query "Stacks[0].Outputs[?OutputKey=='Url'].OutputValue")
[ -n "$url" ] || fail "there is no service yet: run 'make deploy ENV=$ENV' first"
echo "$url"
