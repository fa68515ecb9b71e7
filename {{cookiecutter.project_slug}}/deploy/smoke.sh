#!/usr/bin/env bash
# Ask the deployed service for a prediction: it must be the one that the image itself gives.
set -euo pipefail
. deploy/common.sh
say "asking the deployed service for a prediction"

url=$(deploy/url.sh)
{ read -r request && read -r expected; } < <($SAMPLE) || fail "'$SAMPLE' gave no sample request"
answer=$(ask --header 'Content-Type: application/json' --data "$request" "$url/predict") ||
  fail "$url does not answer a prediction: is this machine in $ALLOWED_CIDR? a service with an API key" \
    "wants it in API_KEY"
"$PYTHON" deploy/same.py "$answer" "$expected" || fail "$url answers $answer instead of $expected"
say "$url predicts $answer"
