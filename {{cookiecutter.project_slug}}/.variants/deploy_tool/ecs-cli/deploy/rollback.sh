#!/usr/bin/env bash
# Roll out the previous release: the last revision with another image. Failed revisions were deregistered by the release
# that created them, and so was the revision that a previous rollback replaced.
set -euo pipefail
. deploy/ecs-cli.sh
say "going back to the release before the current one"
require_service

wait_for_others
current=$(service_fact taskDefinition)
left=$(image_of "$current")
revisions=$(list_revisions)
previous=
for revision in $(tr '\t' '\n' <<<"$revisions" |
  awk -v current="$current" '$0 == current { while (n) print before[n--] } { before[++n] = $0 }'); do
  IMAGE=$(image_of "$revision")
  if [ "$IMAGE" != "$left" ]; then
    previous=$revision
    break
  fi
done
[ -n "$previous" ] || fail "there is no release before ${current##*/}"
say "from ${current##*/} to ${previous##*/}"
aws ecs update-service --cluster "$CLUSTER" --service "$SERVICE" --task-definition "$previous" >/dev/null
wait_for_rollout
export IMAGE
deploy/verify.sh
aws ecs deregister-task-definition --task-definition "$current" >/dev/null
say "deregistered ${current##*/}, so that the next rollback goes further back"
