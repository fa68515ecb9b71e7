#!/usr/bin/env bash
# Follow the service's logs until Ctrl-C, with either version of the AWS CLI.
set -euo pipefail
. deploy/common.sh

seconds=$(($(date +%s) - 600))
while true; do
  now=$(date +%s)
  log_events "$seconds"
  seconds=$now
  sleep 3
done
