#!/usr/bin/env bash
# Verify that IMAGE is what runs; where it is not, say why and exit with 1, or with 2 where AWS does not say. ecs-cli
# takes a rollback for a success.
set -euo pipefail
. deploy/common.sh

facts=$(service_fact "[taskDefinition, deployments[?status=='PRIMARY'] | [0].rolloutState, runningCount]") || exit 2
[ -n "$facts" ] || fail "there is no service yet: run 'make deploy' first"
read -r revision state running <<<"$facts"
runs=$(image_of "$revision") || exit 2
if [ "$runs" = "$IMAGE" ] && [ "$state" = COMPLETED ] && [ "$running" -gt 0 ]; then
  say "${revision##*/} runs $IMAGE"
  exit 0
fi

say "the rollout of $IMAGE failed; ${revision##*/} is the service's revision, its state is $state" >&2
deploy/explain.sh
exit 1
