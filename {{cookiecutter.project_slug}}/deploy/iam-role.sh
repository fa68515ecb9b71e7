#!/usr/bin/env bash
# Create the task's two roles: one for ECS to pull and log with, one for the service itself.
set -euo pipefail

for role in "$SERVICE-execution" "$SERVICE-task"; do
  if aws iam get-role --role-name "$role" >/dev/null 2>&1; then
    echo "iam-role: role $role exists"
  else
    aws iam create-role --role-name "$role" \
      --assume-role-policy-document file://ecs-trust-policy.json >/dev/null
    echo "iam-role: created role $role"
  fi
done

aws iam attach-role-policy --role-name "$SERVICE-execution" \
  --policy-arn "arn:$AWS_PARTITION:iam::aws:policy/service-role/AmazonECSTaskExecutionRolePolicy"
