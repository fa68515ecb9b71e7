#!/usr/bin/env bash
# Roll out the previous release: the last revision with another image. Failed revisions were deregistered by the release
# that created them, and so was the revision that a previous rollback replaced.
set -euo pipefail
. deploy/ecs-cli.sh
say "going back to the release before the current one"
require_service

facts=$(service_fact "[deployments[?status=='PRIMARY'] | [0].rolloutState, taskDefinition,
  deployments[?rolloutState=='FAILED'] | [0].taskDefinition]")
read -r state started failed <<<"$facts"
wait_for_others
current=$(service_fact taskDefinition)
if [ "$state" = IN_PROGRESS ]; then
  [ "${current##*:}" -ge "${started##*:}" ] || failed=$started
  if [ "$failed" != None ]; then
    aws ecs deregister-task-definition --task-definition "$failed" >/dev/null
    say "the last release, ${failed##*/}, has gone back by itself, to ${current##*/}: nothing else to do"
    exit 0
  fi
fi
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
status=0
deploy/verify.sh || status=$?
runs=$(service_fact taskDefinition)
if [ "$status" = 0 ]; then
  aws ecs deregister-task-definition --task-definition "$current" >/dev/null
  say "deregistered ${current##*/}, so that the next rollback goes further back"
elif [ "$runs" = "$current" ]; then
  # Not by itself: what keeps it from starting, such as a missing secret, may affect every revision.
  say "to go further back, first run 'aws ecs deregister-task-definition --region $AWS_REGION" \
    "--task-definition ${previous##*/}'" >&2
fi
exit "$status"
