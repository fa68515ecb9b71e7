#!/usr/bin/env bash
# Ask the deployed service for a prediction: it must be the one that the image itself gives.
set -euo pipefail
. deploy/common.sh
say "asking the deployed service for a prediction"

url=$(deploy/url.sh)
{ read -r request && read -r expected; } < <($SAMPLE) || fail "'$SAMPLE' gave no sample request"
# The key, where the service wants one, stays out of the list of processes.
answer=$(curl --fail --silent --show-error --retry 10 --retry-delay 3 --retry-all-errors --max-time 10 \
  --header 'Content-Type: application/json' --header @- --data "$request" "$url/predict" \
  <<<"${API_KEY:+X-API-Key: $API_KEY}") ||
  fail "$url does not answer a prediction; a service with an API key wants it in API_KEY"
[ "$answer" = "$expected" ] || fail "$url answers $answer instead of $expected"
say "$url predicts $answer"
