#!/usr/bin/env bash
# Follow the service's logs, from ten minutes ago until Ctrl-C, with either version of the AWS CLI.
set -euo pipefail
. deploy/common.sh
say "following $LOG_GROUP, Ctrl-C ends it" >&2

seconds=$(($(date +%s) - 600))
while true; do
  now=$(date +%s)
  aws logs filter-log-events --log-group-name "$LOG_GROUP" --start-time "${seconds}000" \
    --query 'events[].[message]' --output text || fail "there is no log yet: run 'make deploy' first"
  seconds=$now
  sleep 3
done
