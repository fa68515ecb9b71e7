#!/usr/bin/env bash
# Create the cluster with a network of its own. `ecs-cli up` fails where it did so before.
set -euo pipefail
. deploy/stack.sh

if aws cloudformation describe-stacks --stack-name "$STACK" >/dev/null 2>&1; then
  echo "cluster-up: cluster $CLUSTER exists"
  exit 0
fi
zones=$(aws ec2 describe-availability-zones --filters Name=zone-type,Values=availability-zone \
  --query 'AvailabilityZones[:2].ZoneName' --output text)
"${ECS_CLI:-ecs-cli}" up --cluster-config "$SERVICE" --azs "${zones//[[:space:]]/,}"
echo "cluster-up: created cluster $CLUSTER"
