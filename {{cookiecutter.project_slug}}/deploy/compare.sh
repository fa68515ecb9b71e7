#!/usr/bin/env bash
# Compare the local model with the deployed one: metrics, and answers to the held-out instances in the model file.
set -euo pipefail
. deploy/common.sh
url=$(deploy/url.sh)
say "comparing the model with the one at $url"

sample=$($SAMPLE_COMMAND) || fail "'$SAMPLE_COMMAND' gave no sample request"
code=0
# shellcheck disable=SC2086 # no word if it is empty
"$PYTHON" deploy/compare.py "$url" ${TEST_URL:-} <<<"$sample" || code=$?
[ "$code" != 2 ] || fail "the models could not be compared; if the service requires an API key, set it in API_KEY"
exit "$code"
