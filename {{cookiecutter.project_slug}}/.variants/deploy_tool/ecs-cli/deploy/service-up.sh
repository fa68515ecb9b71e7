#!/usr/bin/env bash
# Register the image as a new revision, roll it out, and verify that it is running.
set -euo pipefail
. deploy/ecs-cli.sh
say "rolling out $IMAGE"

find_network
facts=$(security_group)
read -r SECURITY_GROUP _ <<<"$facts"
[ -n "$SECURITY_GROUP" ] || fail "there is no security group yet: run 'make security-group' first"
export SECURITY_GROUP
deploy/image-keep.sh
MODEL_METRICS=$($SAMPLE_COMMAND | sed -n 4p) || fail "'$SAMPLE_COMMAND' gave no sample request"
export MODEL_METRICS
if grep -q '^[^#]*name: API_KEY' ecs-params.yml; then
  say "note: the service asks for an API key, and this deploy tool serves HTTP: key and data travel in clear text, see" \
    "docs/deployment.md" >&2
fi
name=$(service_fact serviceName)
if [ -z "$name" ]; then
  compose_service create --launch-type FARGATE --tags "service=$SERVICE,project=$ECR_REPOSITORY" \
    --deployment-min-healthy-percent 100 --deployment-max-percent 200
  say "created the service"
fi
wait_for_others
if [ -n "$name" ]; then
  current=$(service_fact taskDefinition)
  runs=$(image_of "$current")
  # ecs-cli caches revisions: it would release an older image as its old one, before which a rollback finds no release.
  [ "$runs" = "$IMAGE" ] || rm -rf ~/.cache/ecs-cli/tdcache
fi
# Enable the circuit breaker, which ecs-cli neither supports nor changes: watch_rollouts ROLLBACK, true or false.
watch_rollouts() {
  aws ecs update-service --cluster "$CLUSTER" --service "$SERVICE" --deployment-configuration \
    "deploymentCircuitBreaker={enable=true,rollback=$1},minimumHealthyPercent=100,maximumPercent=200" >/dev/null
}

# Without a running task, there is nothing to roll back to.
running=$(service_fact runningCount)
if [ "$running" = 0 ]; then
  first=yes
  watch_rollouts false
else
  first=
  watch_rollouts true
fi

# The latest registered revision, or nothing; the AWS CLI prints a line for each page.
newest_revision() {
  list_revisions | tr '\t' '\n' | tail -n 1
}

before=$(newest_revision)
# No timeout: ecs-cli's own wait reports a rollback as success, and does not notice a service that cannot start.
# The service was created without tasks: the breaker watches the first one only in a forced deployment.
compose_service up --launch-type FARGATE --timeout 0 ${first:+--force-deployment}
wait_for_rollout
status=0
deploy/verify.sh || status=$?
[ "$status" -ne 0 ] || [ -z "$first" ] || watch_rollouts true
[ "$status" -eq 1 ] || exit "$status"

newest=$(newest_revision)
runs=$(image_of "$newest")
# Only if this run registered it.
if [ "$newest" != "$before" ] && [ "$runs" = "$IMAGE" ]; then
  aws ecs deregister-task-definition --task-definition "$newest" >/dev/null
  say "deregistered ${newest##*/}, so that a rollback never lands on it" >&2
fi
exit 1
