#!/usr/bin/env bash
# Print the public address of a running task; it changes with every rollout.
set -euo pipefail
. deploy/common.sh

task=$(aws ecs list-tasks --cluster "$CLUSTER" --service-name "$SERVICE" --desired-status RUNNING \
  --query 'taskArns[0]' --output text)
[ "$task" != None ] || fail "no task of $SERVICE runs: see 'make ps'"
interface=$(aws ecs describe-tasks --cluster "$CLUSTER" --tasks "$task" --output text --query \
  "tasks[0].attachments[0].details[?name=='networkInterfaceId'].value")
address=$(aws ec2 describe-network-interfaces --network-interface-ids "$interface" --output text --query \
  'NetworkInterfaces[0].Association.PublicIp')
echo "http://$address:$SERVICE_PORT"
