#!/usr/bin/env bash
# Install the AWS CLI of requirements/aws.txt into .aws-cli, if the installed one is missing or too old for the ECS
# features that the steps use, like Debian's.
set -euo pipefail
. deploy/common.sh

if version=$(aws --version 2>&1); then
  # Without arguments, it complains that they are missing, or that it does not know the command.
  if said=$(aws ecs continue-service-deployment 2>&1) || ! grep -q "nvalid choice" <<<"$said"; then
    say "$version is new enough"
    exit 0
  fi
fi
"$PYTHON" requirements/install.py .aws-cli requirements/aws.txt
say "installed $(aws --version 2>&1)"
