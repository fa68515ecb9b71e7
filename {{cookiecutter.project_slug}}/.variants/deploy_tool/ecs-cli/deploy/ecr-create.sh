#!/usr/bin/env bash
# Create the ECR repository, if it is missing; set immutable tags, scan on push and a lifecycle policy.
set -euo pipefail
. deploy/ecs-cli.sh
say "checking repository $ECR_REPOSITORY"

found=$(ask_aws RepositoryNotFoundException ecr describe-repositories --repository-names "$ECR_REPOSITORY" \
  --query 'repositories[0].repositoryName')
if [ -n "$found" ]; then
  say "repository $ECR_REPOSITORY exists"
  if ! created_repository; then
    say "it was not created by this step, so its settings and images stay unchanged"
    exit 0
  fi
else
  aws ecr create-repository --repository-name "$ECR_REPOSITORY" \
    --tags "Key=created-by,Value=$CREATED_BY" "Key=project,Value=$ECR_REPOSITORY" >/dev/null
  say "created repository $ECR_REPOSITORY"
fi
aws ecr put-image-tag-mutability --repository-name "$ECR_REPOSITORY" \
  --image-tag-mutability IMMUTABLE >/dev/null
aws ecr put-image-scanning-configuration --repository-name "$ECR_REPOSITORY" \
  --image-scanning-configuration scanOnPush=true >/dev/null
aws ecr put-lifecycle-policy --repository-name "$ECR_REPOSITORY" \
  --lifecycle-policy-text file://deploy/ecr-lifecycle-policy.json >/dev/null
say "tags are immutable, images are scanned, the last 200 of each environment are kept"
