#!/usr/bin/env bash
# Compare the metrics of the trained model with those of the deployed one, with the Python that is named.
set -euo pipefail
. deploy/common.sh
url=$(deploy/url.sh)
say "asking $url for the metrics of its model"

metrics=$(ask "$url/metrics") || fail "$url does not tell its metrics; a service with an API key wants it in API_KEY"
"$1" -m training.compare <<<"$metrics"
