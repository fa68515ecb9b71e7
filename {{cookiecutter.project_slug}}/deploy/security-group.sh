#!/usr/bin/env bash
# Make a security group that admits ALLOWED_CIDR to the service's port.
set -euo pipefail
. deploy/stack.sh

vpc=$(stack_resource Vpc)
group=$(security_group_id "$vpc")
if [ -z "$group" ]; then
  group=$(aws ec2 create-security-group --group-name "$SERVICE" --vpc-id "$vpc" \
    --description "Port $SERVICE_PORT of $SERVICE" --query GroupId --output text)
  echo "security-group: created $group"
fi

open=$(aws ec2 describe-security-groups --group-ids "$group" --output text --query \
  "SecurityGroups[].IpPermissions[?FromPort==\`$SERVICE_PORT\`].IpRanges[].CidrIp")
if [[ " ${open//$'\t'/ } " == *" $ALLOWED_CIDR "* ]]; then
  echo "security-group: port $SERVICE_PORT is open to $ALLOWED_CIDR"
  exit 0
fi
aws ec2 authorize-security-group-ingress --group-id "$group" \
  --protocol tcp --port "$SERVICE_PORT" --cidr "$ALLOWED_CIDR" >/dev/null
echo "security-group: opened port $SERVICE_PORT to $ALLOWED_CIDR"
