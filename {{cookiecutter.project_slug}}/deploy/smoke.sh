#!/usr/bin/env bash
# Ask the deployed service for a prediction: it must be the one that the image itself gives.
set -euo pipefail
. deploy/common.sh
say "asking the deployed service for a prediction"

url=$(deploy/url.sh)
{ read -r request && read -r expected && read -r version; } < <($SAMPLE_COMMAND) ||
  fail "'$SAMPLE_COMMAND' gave no sample request"
answer=$(ask "$url/predict" "$request") ||
  fail "$url does not answer a prediction: may this machine reach it? a service with an API key wants it in" \
    "API_KEY"
served=$(ask "$url/v2" | sed 's/.*"version":"\([^"]*\)".*/\1/') || served=unknown
# Another processor may have trained the same model with other last digits.
[ "$served" = "$version" ] || say "note: $url serves model $served, the image here has $version" >&2
"$PYTHON" deploy/same.py "$answer" "$expected" || fail "$url answers $answer instead of $expected"
say "$url predicts $answer"
