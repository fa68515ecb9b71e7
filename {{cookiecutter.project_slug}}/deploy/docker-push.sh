#!/usr/bin/env bash
# Push the image, unless its tag, which never changes its meaning, is in the registry.
set -euo pipefail
. deploy/common.sh

if "$DOCKER" manifest inspect "$IMAGE" >/dev/null 2>&1; then
  say "$IMAGE is in the registry"
  exit 0
fi
"$DOCKER" push --quiet "$IMAGE" >/dev/null || fail "could not push $IMAGE: run 'make ecr-login'"
say "pushed $IMAGE"
