# Where ecs-cli put the cluster's network; sourced by the steps that need it.
# shellcheck shell=bash

STACK="amazon-ecs-cli-setup-$CLUSTER"

stack_resource() {
  aws cloudformation describe-stack-resource --stack-name "$STACK" --logical-resource-id "$1" \
    --query StackResourceDetail.PhysicalResourceId --output text
}

security_group_id() {
  aws ec2 describe-security-groups --query 'SecurityGroups[].GroupId' --output text \
    --filters "Name=group-name,Values=$SERVICE" "Name=vpc-id,Values=$1"
}
