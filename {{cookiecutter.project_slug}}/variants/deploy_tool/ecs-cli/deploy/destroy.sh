#!/usr/bin/env bash
# Delete what deploy made, in the order in which AWS lets go of it; what is gone already is passed over.
set -euo pipefail
. deploy/common.sh
require_account

if [ "${FORCE:-}" != 1 ]; then
  read -rp "Type the service's name to delete it with its images, logs and cluster: " name
  [ "$name" = "$SERVICE" ] || fail "nothing was deleted"
fi

others=$(aws ecs list-services --cluster "$CLUSTER" --output text --query 'serviceArns' 2>/dev/null |
  tr '\t' '\n' | grep -v -e "/$SERVICE\$" -e '^None$' || true)
[ -z "$others" ] || fail "cluster $CLUSTER has other services, delete them first: $others"

if [ -n "$(service_fact serviceName)" ]; then
  aws ecs update-service --cluster "$CLUSTER" --service "$SERVICE" --desired-count 0 >/dev/null
  aws ecs delete-service --cluster "$CLUSTER" --service "$SERVICE" >/dev/null
  aws ecs wait services-inactive --cluster "$CLUSTER" --services "$SERVICE"
  say "deleted the service"
fi
for revision in $(aws ecs list-task-definitions --family-prefix "$SERVICE" --output text \
  --query 'taskDefinitionArns'); do
  aws ecs deregister-task-definition --task-definition "$revision" >/dev/null
done

if aws cloudformation describe-stacks --stack-name "$STACK" >/dev/null 2>&1; then
  group=$(security_group_id "$(stack_resource Vpc)")
  [ -z "$group" ] || aws ec2 delete-security-group --group-id "$group"
  "$ECS_CLI" down --force --cluster "$CLUSTER" --region "$AWS_REGION"
  say "deleted the cluster and its network"
fi

aws ecr delete-repository --repository-name "$ECR_REPOSITORY" --force >/dev/null 2>&1 &&
  say "deleted the images"
aws logs delete-log-group --log-group-name "/ecs/$SERVICE" 2>/dev/null && say "deleted the logs"
for role in "$SERVICE-execution" "$SERVICE-task"; do
  aws iam detach-role-policy --role-name "$role" --policy-arn "$EXECUTION_POLICY" 2>/dev/null || true
  aws iam delete-role --role-name "$role" 2>/dev/null && say "deleted role $role"
done
say "nothing of $SERVICE is left"
