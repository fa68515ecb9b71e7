#!/usr/bin/env bash
# Register the image as a new revision, roll it out, and verify that it is what runs.
set -euo pipefail
. deploy/stack.sh

SUBNET_1=$(stack_resource PubSubnetAz1)
SUBNET_2=$(stack_resource PubSubnetAz2)
SECURITY_GROUP=$(security_group_id "$(stack_resource Vpc)")
EXECUTION_ROLE="$SERVICE-execution"
TASK_ROLE="arn:$AWS_PARTITION:iam::$AWS_ACCOUNT_ID:role/$SERVICE-task"
export SUBNET_1 SUBNET_2 SECURITY_GROUP EXECUTION_ROLE TASK_ROLE

service() {
  aws ecs describe-services --cluster "$CLUSTER" --services "$SERVICE" --query "services[0].$1" --output text
}

echo "service-up: rolling out $IMAGE"
"${ECS_CLI:-ecs-cli}" compose --cluster-config "$SERVICE" --project-name "$SERVICE" service up \
  --create-log-groups --deployment-min-healthy-percent 100 --deployment-max-percent 200 --timeout 15
aws ecs update-service --cluster "$CLUSTER" --service "$SERVICE" --deployment-configuration \
  "deploymentCircuitBreaker={enable=true,rollback=true},minimumHealthyPercent=100,maximumPercent=200" >/dev/null

# ecs-cli calls a rollout that was rolled back a success: look at the image that runs.
running=$(aws ecs describe-task-definition --task-definition "$(service taskDefinition)" \
  --query 'taskDefinition.containerDefinitions[0].image' --output text)
if [ "$running" != "$IMAGE" ]; then
  echo "service-up: the rollout failed, $running still runs: see 'make logs'" >&2
  exit 1
fi
echo "service-up: $(service taskDefinition) runs"
