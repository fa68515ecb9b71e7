#!/usr/bin/env bash
# Create the service's log group, if it is missing; keep its lines for 30 days, unless another retention is set.
set -euo pipefail
. deploy/ecs-cli.sh
say "checking the log $LOG_GROUP"

facts=$(log_facts)
read -r found days owner <<<"$facts"
if [ -z "$found" ]; then
  aws logs create-log-group --log-group-name "$LOG_GROUP" --tags "service=$SERVICE,project=$ECR_REPOSITORY"
  say "created the log"
else
  require_ours "$owner" "the log $LOG_GROUP" \
    "aws logs tag-resource --tags service=$SERVICE --resource-arn $LOG_GROUP_ARN"
fi
if [ "${days:-None}" = None ]; then
  aws logs put-retention-policy --log-group-name "$LOG_GROUP" --retention-in-days 30
  say "its lines are kept for 30 days"
fi
