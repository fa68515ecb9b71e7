#!/usr/bin/env bash
# Verify that IMAGE is what runs; where it is not, say why. ecs-cli takes a rollback for a success.
set -euo pipefail
. deploy/common.sh

revision=$(service_fact taskDefinition)
[ -n "$revision" ] || fail "there is no service yet: run 'make deploy' first"
state=$(service_fact "deployments[?status=='PRIMARY'] | [0].rolloutState")
if [ "$(image_of "$revision")" = "$IMAGE" ] && [ "$state" = COMPLETED ] && [ "$(service_fact runningCount)" -gt 0 ]; then
  say "${revision##*/} runs $IMAGE"
  exit 0
fi

say "the rollout of $IMAGE failed; ${revision##*/} is the service's revision, its state is $state" >&2
failed=$(newest_revision)
stopped=$(aws ecs list-tasks --cluster "$CLUSTER" --family "$SERVICE" --desired-status STOPPED \
  --query 'taskArns' --output text)
# shellcheck disable=SC2086 # a word for each task
task=$([ -z "${stopped/None/}" ] || aws ecs describe-tasks --cluster "$CLUSTER" --tasks $stopped --output text \
  --query "tasks[?taskDefinitionArn=='$failed'] | [-1].[taskArn, stoppedReason, containers[0].reason]")
IFS=$'\t' read -r arn reason detail <<<"$task"
if [ -n "${arn/None/}" ]; then
  {
    echo "  task ${arn##*/} stopped: $reason ${detail/None/}"
    echo "  its last log lines:"
    aws logs get-log-events --log-group-name "/ecs/$SERVICE" --log-stream-name "task/$SERVICE/${arn##*/}" \
      --limit 10 --query 'events[].[message]' --output text 2>/dev/null | sed 's/^/    /'
  } >&2
fi
exit 1
