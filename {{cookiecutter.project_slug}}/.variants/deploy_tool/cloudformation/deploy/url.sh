#!/usr/bin/env bash
# Print the address of the service.
set -euo pipefail
. deploy/common.sh

url=$(aws cloudformation describe-stacks --stack-name "$STACK" --output text \
  --query "Stacks[0].Outputs[?OutputKey=='Url'].OutputValue" 2>/dev/null || true)
[ -n "${url/None/}" ] || fail "there is no service yet: run 'make deploy ENV=$ENV' first"
echo "$url"
