#!/usr/bin/env bash
# Ask the deployed service, through its public address, whether it is up and what it is.
set -euo pipefail

url=$(deploy/url.sh)
curl --fail --silent --show-error --retry 10 --retry-delay 3 --retry-all-errors --max-time 10 \
  --output /dev/null --dump-header - "$url/ping" | grep -i '^x-model-'
echo "smoke: $url answers"
