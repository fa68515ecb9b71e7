#!/usr/bin/env bash
# Push the image, unless its tag, which never changes its meaning, is in the registry.
set -euo pipefail
. deploy/common.sh
say "pushing $IMAGE"

status=0
deploy/image-pushed.sh || status=$?
case $status in
  0)
    say "$IMAGE is in the registry"
    exit 0
    ;;
  1) ;;
  *) exit "$status" ;;
esac
"$DOCKER" push --quiet "$IMAGE" >/dev/null ||
  fail "could not push: run the steps before this one first, 'make -n deploy' shows them, and see the error above"
say "pushed $IMAGE"
