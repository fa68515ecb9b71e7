#!/usr/bin/env bash
# Register the image as a new revision, roll it out, and verify that it is what runs.
set -euo pipefail
. deploy/common.sh
require_account

if [ -z "$(service_fact serviceName)" ]; then
  say "creating the service"
  compose_service create --launch-type FARGATE --create-log-groups \
    --deployment-min-healthy-percent 100 --deployment-max-percent 200
fi
# ecs-cli knows no circuit breaker, and leaves alone one that is there.
aws ecs update-service --cluster "$CLUSTER" --service "$SERVICE" --deployment-configuration \
  "deploymentCircuitBreaker={enable=true,rollback=true},minimumHealthyPercent=100,maximumPercent=200" \
  >/dev/null

say "rolling out $IMAGE"
compose_service up --launch-type FARGATE --timeout 15 || say "ecs-cli gave up" >&2
if ! deploy/verify.sh; then
  newest=$(aws ecs list-task-definitions --family-prefix "$SERVICE" --query 'taskDefinitionArns[-1]' --output text)
  # Not one that serves, nor an older good one that ecs-cli never got to replace.
  if [ "$newest" != "$(service_fact taskDefinition)" ] && [ "$(image_of "$newest")" = "$IMAGE" ]; then
    aws ecs deregister-task-definition --task-definition "$newest" >/dev/null
  fi
  exit 1
fi
