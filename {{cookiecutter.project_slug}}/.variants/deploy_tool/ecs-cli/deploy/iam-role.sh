#!/usr/bin/env bash
# Create the task's two roles, if they are missing: one for ECS to pull the image and write logs, and one for the
# service, with the permissions in deploy/task-policy.json, or none without that file.
set -euo pipefail
. deploy/ecs-cli.sh
say "checking the roles of the task"

deploy/service-linked-role.sh
for role in "$SERVICE-execution" "$SERVICE-task"; do
  facts=$(role_facts "$role")
  read -r found owner <<<"$facts"
  if [ -n "$found" ]; then
    require_ours "$owner" "role $role" "aws iam tag-role --role-name $role --tags Key=service,Value=$SERVICE"
    aws iam update-assume-role-policy --role-name "$role" \
      --policy-document file://ecs-trust-policy.json
    [ -z "$PERMISSIONS_BOUNDARY" ] ||
      aws iam put-role-permissions-boundary --role-name "$role" --permissions-boundary "$PERMISSIONS_BOUNDARY"
    say "role $role exists"
  else
    aws iam create-role --role-name "$role" \
      --assume-role-policy-document file://ecs-trust-policy.json \
      --tags "Key=service,Value=$SERVICE" "Key=project,Value=$ECR_REPOSITORY" \
      ${PERMISSIONS_BOUNDARY:+--permissions-boundary "$PERMISSIONS_BOUNDARY"} >/dev/null
    say "created role $role"
  fi
done
aws iam put-role-policy --role-name "$SERVICE-execution" --policy-name pull-and-log \
  --policy-document "$(policy deploy/execution-policy.json)"
say "$SERVICE-execution may pull the image, read its secrets and write the log, nothing else"
if [ -e deploy/task-policy.json ]; then
  aws iam put-role-policy --role-name "$SERVICE-task" --policy-name service \
    --policy-document "$(policy deploy/task-policy.json)"
  say "$SERVICE-task may do what deploy/task-policy.json allows"
else
  delete "the permissions of $SERVICE-task" aws iam delete-role-policy --role-name "$SERVICE-task" --policy-name service
fi
