#!/usr/bin/env bash
# Follow the service's logs, starting ten minutes ago, until Ctrl-C. Works with both versions of the AWS CLI.
set -euo pipefail
. deploy/common.sh
say "following $LOG_GROUP, press Ctrl-C to stop" >&2

shown=
seconds=$(($(date +%s) - 600))
while true; do
  now=$(date +%s)
  events=$(aws logs filter-log-events --log-group-name "$LOG_GROUP" --start-time "${seconds}000" \
    --query 'events[].[eventId, message]' --output text) ||
    fail "the log cannot be read, see above; 'make deploy ENV=$ENV' creates it"
  # A message may have several lines: only the first begins with an id.
  awk -F '\t' '
    NF > 1 && $1 ~ /^[0-9]+$/ { is_old = $1 in ids; if (!is_new) ids[$1]; sub(/^[0-9]+\t/, "") }
    is_new && !is_old && NF' <(echo "$shown") is_new=1 <(echo "$events")
  shown=$events
  # Lines may arrive late: request the last half minute again.
  seconds=$((now - 30))
  sleep 3
done
