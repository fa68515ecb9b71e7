#!/usr/bin/env bash
# Ask the deployed service for a prediction and compare it with the image's answer.
set -euo pipefail
. deploy/common.sh
. deploy/tool.sh
say "asking the deployed service for a prediction"

url=${TEST_URL:-$(deploy/url.sh)}
if asks_for_sign_in; then
  "$PYTHON" deploy/ask.py --redirect "$url" >/dev/null || fail "$url does not ask people to sign in"
  say "$url asks people to sign in, as it should; programs need a key (API_KEY)"
  exit 0
fi
sample=$($SAMPLE_COMMAND) || fail "'$SAMPLE_COMMAND' gave no sample request"
{ read -r request && read -r expected && read -r version; } <<<"$sample" ||
  fail "'$SAMPLE_COMMAND' gave no sample request"
answer=$(ask "$url/predict" "$request") ||
  fail "$url returned no prediction: can this machine reach it? if the service requires an API key, set it in API_KEY"
served=$(ask "$url/v2" | sed 's/.*"version":"\([^"]*\)".*/\1/') || served=unknown
# A model trained on another processor may differ in the last digits.
[ "$served" = "$version" ] || say "note: $url serves model $served, the local image has $version" >&2
"$PYTHON" deploy/compare.py --same "$answer" "$expected" || fail "$url answers $answer instead of $expected"
say "$url predicts $answer"
