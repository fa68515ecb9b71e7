#!/usr/bin/env bash
# Read the service's request sample: sample.sh rows|evaluate IN FILE. IN is a file, a folder or an s3:// URL; if it is
# empty, read the log of the last DAYS days.
set -euo pipefail
. deploy/common.sh

case $2 in
  '')
    say "reading the last $DAYS day(s) of $LOG_GROUP" >&2
    case $DAYS in *[!0-9]*) fail "DAYS must be a number of days, not '$DAYS'" ;; esac
    start=$(($(date +%s) - DAYS * 86400))
    lines=$(mktemp)
    trap 'rm -f "$lines"' EXIT
    aws logs filter-log-events --log-group-name "$LOG_GROUP" --start-time "${start}000" \
      --filter-pattern '{ $.logger = "inference.sample" }' --query 'events[].[message]' --output text >"$lines" ||
      fail "the log cannot be read; IN=folder or IN=s3://bucket/prefix reads the sample from elsewhere"
    exec <"$lines"
    set -- "$1" - "$3"
    ;;
  s3://*) prepare_s3 ;;
esac
.venv/bin/python -m training.live "$@"
