#!/usr/bin/env bash
# Whether the image is in the registry: exits 0 where it is.
set -euo pipefail
exec >/dev/null 2>&1

aws ecr describe-images --registry-id "$AWS_ACCOUNT_ID" --repository-name "$ECR_REPOSITORY" \
  --image-ids "imageTag=$IMAGE_TAG" && exit 0
# In a registry that is not ECR.
# shellcheck disable=SC2086 # options
"$DOCKER" manifest inspect ${MANIFEST_OPTIONS:-} "$IMAGE"
