#!/usr/bin/env bash
# Open a shell in a running task.
set -euo pipefail
. deploy/common.sh
require_service
allowed=$(service_fact enableExecuteCommand)
[ "$allowed" = True ] ||
  fail "this service allows no shell: set Exec to true in deploy/$ENV.json, then 'make configure ENV=$ENV'"
command -v session-manager-plugin >/dev/null ||
  fail "the AWS CLI needs its session-manager-plugin for this: install it"

task=$(aws ecs list-tasks --cluster "$CLUSTER" --service-name "$SERVICE" --desired-status RUNNING --output text \
  --query 'taskArns[0]')
[ "$task" != None ] || fail "no task of $SERVICE is running: see 'make ps ENV=$ENV'"
say "opening a shell in ${task##*/}, press Ctrl-D to leave"
exec aws ecs execute-command --cluster "$CLUSTER" --task "$task" --container "$SERVICE" --interactive --command sh
