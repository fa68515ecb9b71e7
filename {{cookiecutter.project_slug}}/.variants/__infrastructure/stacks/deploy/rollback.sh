#!/usr/bin/env bash
# Release the previous image again. Failed revisions are not considered: CloudFormation deregistered them.
set -euo pipefail
. deploy/common.sh
say "going back to the release before the current one"
require_service

# By then, a release that failed is rolled back, and the one before it must not be, too.
before=$(stack_status "$STACK")
"$PYTHON" deploy/stack.py wait
after=$(stack_status "$STACK")
revision=$(service_fact taskDefinition)
current=$(image_of "$revision")
if [ "$after" = UPDATE_ROLLBACK_COMPLETE ] && [ "$before" != "$after" ]; then
  say "the last release has gone back by itself, to ${current##*:}: nothing else to do"
  exit 0
fi
# The last ones, since each takes a call.
revisions=$(list_revisions | tr '\t' '\n' | tail -n 50)
previous=
for revision in $revisions; do
  image=$(image_of "$revision")
  # Stop where the current image was first released: the one before it is the previous release.
  [ "$image" != "$current" ] || break
  previous=$image last=$revision
done
[ -n "$previous" ] || fail "there is no release before ${current##*:} among the last 50 revisions"
say "from ${current##*:} to ${previous##*:}"
metrics=$(ask_aws "$NEVER" ecs describe-task-definition --task-definition "$last" \
  --query 'taskDefinition.containerDefinitions[0].dockerLabels."ml.metrics"')
SAMPLE_COMMAND='' IMAGE_TAG=${previous##*:} IMAGE=$previous "$PYTHON" deploy/stack.py release "$metrics"
