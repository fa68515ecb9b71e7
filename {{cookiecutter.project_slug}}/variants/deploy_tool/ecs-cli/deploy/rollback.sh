#!/usr/bin/env bash
# Roll out the revision before the one that runs. Revisions that failed are not among them: the
# release that made one deregistered it.
set -euo pipefail
. deploy/ecs-cli.sh
say "going back to the revision before the current one"
require_service

wait_for_others
current=$(service_fact taskDefinition)
previous=$(aws ecs list-task-definitions --family-prefix "$FAMILY" --query 'taskDefinitionArns' \
  --output text | tr '\t' '\n' | awk -v current="$current" '$0 == current { print last } { last = $0 }')
[ -n "$previous" ] || fail "there is no revision before ${current##*/}"
say "from ${current##*/} to ${previous##*/}"
aws ecs update-service --cluster "$CLUSTER" --service "$SERVICE" --task-definition "$previous" >/dev/null
wait_for_rollout
IMAGE=$(image_of "$previous")
export IMAGE
deploy/verify.sh
