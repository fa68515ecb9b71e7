#!/usr/bin/env bash
# Explain the last task that crashed (as opposed to one ECS stopped): its stop reason and last log lines.
set -euo pipefail
. deploy/common.sh

stopped=$(ask_aws 'ClusterNotFoundException|ServiceNot(Found|Active)Exception' ecs list-tasks --cluster "$CLUSTER" \
  --service-name "$SERVICE" --desired-status STOPPED --query taskArns --max-items 100)
# shellcheck disable=SC2086 # one word per task
task=$([ -z "$stopped" ] || aws ecs describe-tasks --cluster "$CLUSTER" --tasks $stopped --output text \
  --query "sort_by(tasks[?!starts_with(stoppedReason, 'Scaling activity')], &to_string(createdAt)) | [-1].[
    taskArn, containers[0].name, stoppedReason, containers[0].reason]")
IFS=$'\t' read -r arn container reason detail <<<"$task"
[ -n "${arn/None/}" ] || exit 0
{
  echo "  task ${arn##*/} stopped: $reason ${detail/None/}"
  lines=$(last_lines 10 "$arn" "$container")
  [ -z "$lines" ] || printf '  its last log lines:\n    %s\n' "${lines//$'\n'/$'\n'    }"
} >&2
