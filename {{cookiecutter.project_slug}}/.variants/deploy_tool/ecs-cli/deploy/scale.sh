#!/usr/bin/env bash
# Run N tasks, and wait until they are running.
set -euo pipefail
. deploy/common.sh
[[ ${N:-} =~ ^[0-9]{1,6}$ ]] || fail "say how many: make scale N=3"
[ "$N" -le "${MAX_TASKS:-20}" ] || fail "$N tasks are more than ${MAX_TASKS:-20}: if you mean it, add MAX_TASKS=$N"
say "scaling $SERVICE to $N tasks"
deploy/cost.sh "$N"
require_service

aws ecs update-service --cluster "$CLUSTER" --service "$SERVICE" --desired-count "$N" >/dev/null
wait_for_rollout
running=$(service_fact runningCount)
[ "$running" = "$N" ] || fail "only $running of $N tasks are running: see 'make ps' and 'make logs'"
say "$running of $N tasks are running"
