#!/usr/bin/env bash
# Install an AWS CLI of requirements/aws.txt into .aws-cli, where the one here is missing or does not know what ECS has
# learned lately: Debian's is older.
set -euo pipefail
. deploy/common.sh

if command -v aws >/dev/null; then
  # Without arguments it either misses them or does not know the command.
  if said=$(aws ecs continue-service-deployment 2>&1) || ! grep -q "nvalid choice" <<<"$said"; then
    say "$(aws --version 2>&1) is new enough"
    exit 0
  fi
fi
"$PYTHON" requirements/install.py .aws-cli requirements/aws.txt
say "installed $(aws --version 2>&1)"
