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
    --query 'events[].[eventId, message]' --output text) || fail "there is no log yet: run 'make deploy' first"
  while IFS=$'\t' read -r id message; do
    [[ $shown == *"$id"* ]] || printf '%s\n' "${message:-$id}"
  done <<<"$events"
  shown=$events
  # Lines may arrive late: request the last half minute again.
  seconds=$((now - 30))
  sleep 3
done
