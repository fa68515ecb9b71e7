#!/usr/bin/env bash
# Score a file in S3 by a task of its own, of the image that runs: batch-aws.sh IN OUT. CPU and MEMORY give it another
# size than the service's tasks have. It goes on where this is stopped.
set -euo pipefail
. deploy/common.sh

for url in "$1" "$2"; do
  case $url in
    s3://?*/?*) ;;
    *) fail "IN=s3://bucket/rows.csv OUT=s3://bucket/scores.csv: '$url' is none" ;;
  esac
done

facts=$(aws ecs describe-services --cluster "$CLUSTER" --services "$SERVICE" --output text \
  --query "services[?status=='ACTIVE'] | [0].taskDefinition")
[ -n "${facts/None/}" ] || fail "no service runs: run 'make deploy' first"
network=$(aws ecs describe-services --cluster "$CLUSTER" --services "$SERVICE" --output json \
  --query 'services[0].networkConfiguration')
container=$(aws ecs describe-task-definition --task-definition "$facts" --output text \
  --query 'taskDefinition.containerDefinitions[0].name')
overrides=$("$PYTHON" -c '
import json, sys
container, source, target, cpu, memory = sys.argv[1:]
size = {name: value for name, value in (("cpu", cpu), ("memory", memory)) if value}
# As many processes as the task has CPUs.
environment = [{"name": "WORKERS", "value": "0"}]
command = {"name": container, "command": ["batch", source, target], "environment": environment}
print(json.dumps({**size, "containerOverrides": [command]}))
' "$container" "$1" "$2" "${CPU:-}" "${MEMORY:-}")
answer=$(aws ecs run-task --cluster "$CLUSTER" --task-definition "$facts" --launch-type FARGATE --started-by batch \
  --network-configuration "$network" --overrides "$overrides" --output text \
  --query '[tasks[0].taskArn, failures[0].reason]')
read -r task reason <<<"$answer"
[ -n "${task/None/}" ] || fail "ECS started no task: $reason"
id=${task##*/}
say "task $id of ${facts##*/} scores $1"

shown=
while true; do
  facts=$(aws ecs describe-tasks --cluster "$CLUSTER" --tasks "$task" --output text \
    --query 'tasks[0].[lastStatus, containers[0].exitCode, stoppedReason]')
  IFS=$'\t' read -r status code reason <<<"$facts"
  lines=$(ask_aws ResourceNotFoundException logs get-log-events --log-group-name "$LOG_GROUP" --output text \
    --log-stream-name "task/$container/$id" --limit 5 --query 'events[].[message]')
  if [ "$lines" != "$shown" ]; then
    shown=$lines
    echo "  ${lines//$'\n'/$'\n'  }"
  fi
  [ "$status" != STOPPED ] || break
  sleep "${POLL_SECONDS:-5}"
done

case $code in
  0) say "$2 is there" ;;
  1) fail "$2 is there, and $2.errors.csv, which names the rows without an answer" ;;
  *) fail "the task ended with ${code/None/no exit code}: ${reason/None/}; may the task's role read and write there?" ;;
esac
