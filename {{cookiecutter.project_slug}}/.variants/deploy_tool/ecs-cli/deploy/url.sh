#!/usr/bin/env bash
# Print the public address of a running task; it changes with every rollout.
set -euo pipefail
. deploy/common.sh

tasks=$(ask_aws 'ClusterNotFoundException|ServiceNotFoundException' ecs list-tasks --cluster "$CLUSTER" \
  --service-name "$SERVICE" --desired-status RUNNING --query taskArns)
if [ -z "$tasks" ]; then
  require_service
  fail "no task of $SERVICE is running: see 'make ps' and 'make logs'"
fi
# shellcheck disable=SC2086 # one word per task
interface=$(aws ecs describe-tasks --cluster "$CLUSTER" --tasks $tasks --output text --query \
  "tasks[?lastStatus=='RUNNING'] | [0].attachments[0].details[?name=='networkInterfaceId'].value")
[ -n "${interface/None/}" ] || fail "no task of $SERVICE is running yet: see 'make ps'"
address=$(aws ec2 describe-network-interfaces --network-interface-ids "$interface" --output text --query \
  'NetworkInterfaces[0].Association.PublicIp')
[ -n "${address/None/}" ] || fail "the task has no public address: see assign_public_ip in ecs-params.yml"
echo "http://$address:$SERVICE_PORT"
