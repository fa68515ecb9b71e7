#!/usr/bin/env bash
# Verify that IMAGE is what runs; where it is not, say why. ecs-cli takes a rollback for a success.
set -euo pipefail
. deploy/common.sh

revision=$(service_fact taskDefinition)
[ -n "$revision" ] || fail "there is no service yet: run 'make deploy' first"
running=$(image_of "$revision")
state=$(service_fact "deployments[?status=='PRIMARY'] | [0].rolloutState")
if [ "$running" = "$IMAGE" ] && [ "$state" = COMPLETED ] && [ "$(service_fact runningCount)" -gt 0 ]; then
  say "${revision##*/} runs $IMAGE"
  exit 0
fi

say "the rollout of $IMAGE failed; ${revision##*/} is the service's revision, in state $state" >&2
task=$(aws ecs list-tasks --cluster "$CLUSTER" --family "$SERVICE" --desired-status STOPPED \
  --query 'taskArns[-1]' --output text)
if [ "$task" != None ]; then
  aws ecs describe-tasks --cluster "$CLUSTER" --tasks "$task" --output text \
    --query 'tasks[0].[stoppedReason,containers[0].reason]' | sed 's/^/  task stopped: /' >&2
fi
echo "  its last log lines:" >&2
log_events "$(($(date +%s) - 600))" 2>/dev/null | tail -n 10 | sed 's/^/    /' >&2
exit 1
