#!/usr/bin/env bash
# List the running tasks: start time, zone and revision. Explain the last one that crashed.
set -euo pipefail
. deploy/common.sh
require_service

tasks=$(aws ecs list-tasks --cluster "$CLUSTER" --service-name "$SERVICE" --query 'taskArns' --output text)
if [ -n "${tasks/None/}" ]; then
  # shellcheck disable=SC2086 # one word per task
  aws ecs describe-tasks --cluster "$CLUSTER" --tasks $tasks --output table --query \
    "tasks[].{task: taskArn, revision: taskDefinitionArn, status: lastStatus, started: startedAt, zone: availabilityZone}"
fi
# A task that never started has no log.
deploy/explain.sh
[ -n "${tasks/None/}" ] || fail "no task of $SERVICE is running: see 'make logs ENV=$ENV'"
