#!/usr/bin/env bash
# Check whether the registry has the image. Exits with 0 if it does, 1 if it does not, 2 if AWS does not answer.
set -euo pipefail
. deploy/common.sh

case $IMAGE in
  *.dkr.ecr.*)
    digest=$(ask_aws 'ImageNotFoundException|RepositoryNotFoundException' ecr describe-images \
      --registry-id "$AWS_ACCOUNT_ID" --repository-name "$ECR_REPOSITORY" --image-ids "imageTag=$IMAGE_TAG" \
      --query 'imageDetails[0].imageDigest') || exit 2
    [ -n "$digest" ] || exit 1
    ;;
  *)
    # The registry is not ECR.
    # shellcheck disable=SC2086 # options
    "$DOCKER" manifest inspect ${MANIFEST_OPTIONS:-} "$IMAGE" >/dev/null 2>&1 || exit 1
    ;;
esac
