#!/usr/bin/env bash
# Verify that IMAGE is running. If it is not, explain why and exit with 1; exit with 2 if AWS does not answer. ecs-cli
# reports success after a rollback.
set -euo pipefail
. deploy/common.sh

facts=$(service_fact "[taskDefinition, deployments[?status=='PRIMARY'] | [0].rolloutState, runningCount]") || exit 2
[ -n "$facts" ] || fail "there is no service yet: run 'make deploy ENV=$ENV' first"
read -r revision state running <<<"$facts"
runs=$(image_of "$revision") || exit 2
if [ "$runs" = "$IMAGE" ] && [ "$state" = COMPLETED ] && [ "$running" -gt 0 ]; then
  say "${revision##*/} runs $IMAGE"
  exit 0
fi

say "the rollout of $IMAGE failed; ${revision##*/} is the service's revision, its state is $state" >&2
if ! deploy/explain.sh; then
  say "could not ask ECS why" >&2
fi
exit 1
