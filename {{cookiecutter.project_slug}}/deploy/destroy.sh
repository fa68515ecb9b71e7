#!/usr/bin/env bash
# Delete what deploy made, in the order in which AWS lets go of it.
set -euo pipefail
. deploy/stack.sh

if [ "${FORCE:-}" != 1 ]; then
  read -rp "Type the service's name to delete it with its images and logs: " name
  [ "$name" = "$SERVICE" ] || { echo "destroy: nothing was deleted" >&2; exit 1; }
fi

"${ECS_CLI:-ecs-cli}" compose --cluster-config "$SERVICE" --project-name "$SERVICE" service rm
aws ec2 delete-security-group --group-id "$(security_group_id "$(stack_resource Vpc)")"
"${ECS_CLI:-ecs-cli}" down --force --cluster-config "$SERVICE"
aws ecr delete-repository --repository-name "$ECR_REPOSITORY" --force >/dev/null
aws logs delete-log-group --log-group-name "/ecs/$SERVICE"
aws iam detach-role-policy --role-name "$SERVICE-execution" \
  --policy-arn "arn:$AWS_PARTITION:iam::aws:policy/service-role/AmazonECSTaskExecutionRolePolicy"
for role in "$SERVICE-execution" "$SERVICE-task"; do
  aws iam delete-role --role-name "$role"
done
echo "destroy: $SERVICE is gone"
