#!/usr/bin/env bash
# Delete what deploy created in ENV; with the last environment also the images and the pipeline's role.
set -euo pipefail
. deploy/stacks.sh
say "deleting $STACK from account $AWS_ACCOUNT_ID, region $AWS_REGION"

[ "${FORCE:-}" = 1 ] || confirm "$STACK" \
  "Type the stack's name to delete it, with its load balancer, cluster and logs"

delete_queue
if stack_exists "$STACK"; then
  "$PYTHON" deploy/stack.py delete "$STACK"
  say "deleted $STACK"
fi
revisions=$(list_revisions)
for revision in $revisions; do
  aws ecs deregister-task-definition --task-definition "$revision" >/dev/null
done

for other in "$SERVICE-staging" "$SERVICE-production"; do
  if stack_exists "$other"; then
    say "kept the images and the pipeline's role: $other needs them"
    exit 0
  fi
done
if stack_exists "$BOOTSTRAP_STACK"; then
  bucket=$(STACK=$BOOTSTRAP_STACK stack_output TemplatesBucket)
  [ -z "$bucket" ] || ask_aws NoSuchBucket s3 rm --quiet --recursive "s3://$bucket"
  "$PYTHON" deploy/stack.py delete "$BOOTSTRAP_STACK"
  say "deleted the images and the pipeline's role"
fi
say "nothing of $SERVICE is left"
