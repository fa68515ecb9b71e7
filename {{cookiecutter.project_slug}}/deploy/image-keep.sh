#!/usr/bin/env bash
# Have ECR keep the image: its lifecycle policy recognizes released images by a tag of their environment.
set -euo pipefail
. deploy/common.sh

[[ $IMAGE == *.dkr.ecr.* ]] || exit 0
manifest=$(ask_aws RepositoryNotFoundException ecr batch-get-image --repository-name "$ECR_REPOSITORY" \
  --image-ids "imageTag=$IMAGE_TAG" --query 'images[0].imageManifest')
[ -n "$manifest" ] || exit 0
ask_aws ImageAlreadyExistsException ecr put-image --repository-name "$ECR_REPOSITORY" \
  --image-tag "$ENV-$IMAGE_TAG" --image-manifest "$manifest" --query image.imageId.imageTag >/dev/null
