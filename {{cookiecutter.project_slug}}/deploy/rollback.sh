#!/usr/bin/env bash
# Roll out the revision before the one that runs.
set -euo pipefail

current=$(aws ecs describe-services --cluster "$CLUSTER" --services "$SERVICE" \
  --query 'services[0].taskDefinition' --output text)
previous=$(aws ecs list-task-definitions --family-prefix "$SERVICE" --sort DESC \
  --query 'taskDefinitionArns' --output text | tr '\t' '\n' | sed "0,\|^$current\$|d" | head -n 1)
if [ -z "$previous" ]; then
  echo "rollback: there is no revision before ${current##*/}" >&2
  exit 1
fi
echo "rollback: from ${current##*/} to ${previous##*/}"
aws ecs update-service --cluster "$CLUSTER" --service "$SERVICE" --task-definition "$previous" >/dev/null
aws ecs wait services-stable --cluster "$CLUSTER" --services "$SERVICE"
echo "rollback: ${previous##*/} runs"
