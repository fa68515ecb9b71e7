#!/usr/bin/env bash
# Make sure of the cluster and its network. `ecs-cli up` fails where it did its work before.
set -euo pipefail
. deploy/ecs-cli.sh
say "making sure of cluster $CLUSTER and its network"

status=$(aws cloudformation describe-stacks --stack-name "$STACK" --output text \
  --query 'Stacks[0].StackStatus' 2>/dev/null || true)
case $status in
  CREATE_COMPLETE | UPDATE_COMPLETE | UPDATE_ROLLBACK_COMPLETE)
    say "cluster $CLUSTER exists"
    exit 0
    ;;
  CREATE_IN_PROGRESS | DELETE_IN_PROGRESS | ROLLBACK_IN_PROGRESS | UPDATE_*IN_PROGRESS)
    fail "stack $STACK is $status: wait for the other run to end"
    ;;
  CREATE_FAILED | DELETE_FAILED | REVIEW_IN_PROGRESS | ROLLBACK_COMPLETE | ROLLBACK_FAILED)
    say "deleting stack $STACK, which an earlier run left in $status"
    aws cloudformation delete-stack --stack-name "$STACK"
    aws cloudformation wait stack-delete-complete --stack-name "$STACK"
    ;;
  ?*) fail "stack $STACK is $status: see CloudFormation's console" ;;
esac
zones=$(aws ec2 describe-availability-zones --filters Name=zone-type,Values=availability-zone \
  --query 'AvailabilityZones[:2].ZoneName' --output text)
say "creating cluster $CLUSTER with a network in ${zones//[[:space:]]/ and }"
export_credentials
"$ECS_CLI" up --cluster "$CLUSTER" --region "$AWS_REGION" --launch-type FARGATE \
  --azs "${zones//[[:space:]]/,}"
say "created cluster $CLUSTER"
