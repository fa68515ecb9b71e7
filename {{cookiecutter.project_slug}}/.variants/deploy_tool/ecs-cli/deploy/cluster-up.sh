#!/usr/bin/env bash
# Create the cluster and its network, if they are missing: `ecs-cli up` fails if they exist.
set -euo pipefail
. deploy/ecs-cli.sh
say "checking cluster $CLUSTER and its network"

status=$(stack_status "$STACK")
until=$((SECONDS + ${WAIT_SECONDS:-900}))
while [[ $status == *_IN_PROGRESS && $status != REVIEW_IN_PROGRESS ]]; do
  [ "$status" = "${said:-}" ] || say "stack $STACK is $status, waiting for the other run to end ..."
  said=$status
  [ "$SECONDS" -lt "$until" ] || fail "stack $STACK is still $status: see CloudFormation's console"
  sleep "${POLL_SECONDS:-3}"
  status=$(stack_status "$STACK")
done
case $status in
  CREATE_COMPLETE | UPDATE_COMPLETE | UPDATE_ROLLBACK_COMPLETE)
    say "cluster $CLUSTER exists"
    exit 0
    ;;
  CREATE_FAILED | DELETE_FAILED | REVIEW_IN_PROGRESS | ROLLBACK_COMPLETE | ROLLBACK_FAILED)
    say "deleting stack $STACK, which an earlier run left in $status"
    delete_stack "$STACK"
    ;;
  ?*) fail "stack $STACK is $status: see CloudFormation's console" ;;
esac
zones=$(deploy/zones.sh)
say "creating cluster $CLUSTER with a network in ${zones//[[:space:]]/ and }"
found=$(cluster_fact clusterName)
# Tag it on creation: destroy keeps a cluster that existed before.
[ -n "$found" ] || aws ecs create-cluster --cluster-name "$CLUSTER" --tags "key=created-by,value=$CLUSTER_MADE_BY" >/dev/null
prepare_ecs_cli
errors=$(mktemp)
trap 'rm -f "$errors"' EXIT
if ! "$ECS_CLI" up --cluster "$CLUSTER" --region "$AWS_REGION" --launch-type FARGATE --azs "${zones//[[:space:]]/,}" \
  2>&1 | tee "$errors" >&2; then
  grep -qi "already exists" "$errors" || exit 1
  # Another project is creating it at the same moment.
  say "another run is creating the same cluster"
  exec "$0"
fi
say "created cluster $CLUSTER"
