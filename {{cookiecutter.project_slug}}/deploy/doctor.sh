#!/usr/bin/env bash
# Check, before anything is touched, what every other step takes for granted.
set -euo pipefail

faults=0

fault() {
  echo "doctor: $*" >&2
  faults=$((faults + 1))
}

for tool in aws "${DOCKER:-docker}" "${ECS_CLI:-ecs-cli}"; do
  command -v "$tool" >/dev/null || fault "$tool is not installed: see README.md, 'What you need'"
done

if command -v aws >/dev/null; then
  if account=$(aws sts get-caller-identity --query Account --output text); then
    [ "$account" = "$AWS_ACCOUNT_ID" ] ||
      fault "the credentials are of account $account, the project's is $AWS_ACCOUNT_ID (Makefile)"
  else
    fault "no valid AWS credentials: run 'aws configure' or 'aws sso login'"
  fi
fi

[ "$faults" -eq 0 ] || exit 1
echo "doctor: account $AWS_ACCOUNT_ID, region $AWS_REGION, all tools found"
