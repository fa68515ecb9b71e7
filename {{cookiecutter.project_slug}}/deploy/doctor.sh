#!/usr/bin/env bash
# Check, before anything is touched, what every other step takes for granted.
set -euo pipefail
. deploy/common.sh

faults=0

fault() {
  say "$*" >&2
  faults=$((faults + 1))
}

for tool in aws curl "$DOCKER" "$ECS_CLI"; do
  command -v "$tool" >/dev/null || fault "$tool is not installed: see 'Deployment' in README.md"
done

if command -v "$ECS_CLI" >/dev/null && ! "$ECS_CLI" --version | grep -q " $ECS_CLI_VERSION "; then
  fault "$("$ECS_CLI" --version) is not version $ECS_CLI_VERSION: run 'make ecs-cli'"
fi
if command -v "$DOCKER" >/dev/null && ! "$DOCKER" info >/dev/null 2>&1; then
  fault "$DOCKER does not answer: start it"
fi

! command -v aws >/dev/null || (require_account) || faults=$((faults + 1))

case $IMAGE_TAG in
  dev*) fault "there is no commit to name the image by: git init && git add . && git commit" ;;
  *-dirty*) [ -z "${CI:-}" ] || fault "CI must not deploy uncommitted changes ($IMAGE_TAG)" ;;
esac

[ "$faults" -eq 0 ] || exit 1
say "account $AWS_ACCOUNT_ID, region $AWS_REGION, image tag $IMAGE_TAG; all tools are here"
