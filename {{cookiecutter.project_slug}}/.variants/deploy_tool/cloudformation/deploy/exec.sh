#!/usr/bin/env bash
# Open a shell in a running task.
set -euo pipefail
. deploy/common.sh
require_service
allowed=$(service_fact enableExecuteCommand)
[ "$allowed" = True ] ||
  fail "this service allows no shell: set Exec to true in deploy/$ENV.json, then 'make deploy ENV=$ENV'"
command -v session-manager-plugin >/dev/null ||
  fail "the AWS CLI wants its session-manager-plugin for this: install it"

task=$(aws ecs list-tasks --cluster "$CLUSTER" --service-name "$SERVICE" --desired-status RUNNING --output text \
  --query 'taskArns[0]')
[ "$task" != None ] || fail "no task of $SERVICE runs: see 'make logs'"
say "a shell in ${task##*/}, Ctrl-D ends it"
exec aws ecs execute-command --cluster "$CLUSTER" --task "$task" --container "$SERVICE" --interactive --command sh
