#!/usr/bin/env bash
# Push the image, unless its tag, which never changes its meaning, is in the registry.
set -euo pipefail
. deploy/common.sh
say "pushing $IMAGE"

if deploy/image-pushed.sh; then
  say "$IMAGE is in the registry"
  exit 0
fi
"$DOCKER" push --quiet "$IMAGE" >/dev/null ||
  fail "could not push: run the steps before this one first, 'make -n deploy' shows them, and see the error above"
say "pushed $IMAGE"
