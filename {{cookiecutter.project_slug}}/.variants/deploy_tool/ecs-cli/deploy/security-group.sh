#!/usr/bin/env bash
# Create the security group, if it is missing; allow ALLOWED_CIDR to reach the service's port, and nothing else.
set -euo pipefail
. deploy/ecs-cli.sh
say "opening port $SERVICE_PORT to $ALLOWED_CIDR"

find_network
facts=$(security_group)
read -r group owner <<<"$facts"
if [ -z "$group" ]; then
  group=$(aws ec2 create-security-group --group-name "$SERVICE" --vpc-id "$VPC" \
    --description "Port $SERVICE_PORT of $SERVICE" --query GroupId --output text --tag-specifications \
    "ResourceType=security-group,Tags=[{Key=service,Value=$SERVICE},{Key=project,Value=$ECR_REPOSITORY}]")
  say "created security group $group"
else
  require_ours "$owner" "security group $group" \
    "aws ec2 create-tags --resources $group --tags Key=service,Value=$SERVICE"
fi

rules=$(aws ec2 describe-security-group-rules --filters "Name=group-id,Values=$group" --output text --query \
  'SecurityGroupRules[?!IsEgress].[SecurityGroupRuleId,IpProtocol,FromPort,ToPort,CidrIpv4]')
wanted=$(printf 'tcp\t%s\t%s\t%s' "$SERVICE_PORT" "$SERVICE_PORT" "$ALLOWED_CIDR")
is_open=
while IFS=$'\t' read -r id rule; do
  if [ "$rule" = "$wanted" ]; then
    is_open=yes
  elif [ -n "$id" ]; then
    aws ec2 revoke-security-group-ingress --group-id "$group" --security-group-rule-ids "$id" >/dev/null
    say "closed ${rule//$'\t'/ }"
  fi
done <<<"$rules"
[ -n "$is_open" ] || aws ec2 authorize-security-group-ingress --group-id "$group" \
  --protocol tcp --port "$SERVICE_PORT" --cidr "$ALLOWED_CIDR" >/dev/null
say "port $SERVICE_PORT is open to $ALLOWED_CIDR"
