#!/usr/bin/env bash
# Check whether the registry has the image. Exits with 0 if it does, 1 if it does not, 2 if it does not say.
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
    if ! said=$("$DOCKER" manifest inspect ${MANIFEST_OPTIONS:-} "$IMAGE" 2>&1 >/dev/null); then
      case $said in
        *"no such manifest"* | *"manifest unknown"* | *"name unknown"*) exit 1 ;;
        *) (fail "the registry does not say whether it has $IMAGE ($said)") || exit 2 ;;
      esac
    fi
    ;;
esac
