#!/usr/bin/env bash
# Push the image, unless its tag, which never changes its meaning, is in the registry.
set -euo pipefail
. deploy/common.sh
say "pushing $IMAGE"

is_pushed() {
  aws ecr describe-images --repository-name "$ECR_REPOSITORY" --image-ids "imageTag=$IMAGE_TAG" && return
  # In a registry that is not ECR.
  # shellcheck disable=SC2086 # options
  "$DOCKER" manifest inspect ${MANIFEST_OPTIONS:-} "$IMAGE"
}

if is_pushed >/dev/null 2>&1; then
  say "$IMAGE is in the registry"
  exit 0
fi
"$DOCKER" push --quiet "$IMAGE" >/dev/null ||
  fail "could not push: run 'make ecr-create ecr-login docker-build' first, and see the error above"
say "pushed $IMAGE"
