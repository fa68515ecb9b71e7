#!/usr/bin/env bash
# Run N tasks, and wait until that many do.
set -euo pipefail
. deploy/common.sh
require_account

[[ ${N:-} =~ ^[0-9]+$ ]] || fail "say how many: make scale N=3"
aws ecs update-service --cluster "$CLUSTER" --service "$SERVICE" --desired-count "$N" >/dev/null
aws ecs wait services-stable --cluster "$CLUSTER" --services "$SERVICE"
say "$(service_fact runningCount) of $N tasks run"
