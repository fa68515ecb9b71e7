#!/usr/bin/env bash
# Create the ECR repository with immutable tags and scan on push, unless it exists.
set -euo pipefail

if aws ecr describe-repositories --repository-names "$ECR_REPOSITORY" >/dev/null 2>&1; then
  echo "ecr-create: repository $ECR_REPOSITORY exists"
  exit 0
fi
aws ecr create-repository --repository-name "$ECR_REPOSITORY" \
  --image-tag-mutability IMMUTABLE --image-scanning-configuration scanOnPush=true >/dev/null
echo "ecr-create: created repository $ECR_REPOSITORY"
