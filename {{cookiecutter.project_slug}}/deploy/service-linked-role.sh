#!/usr/bin/env bash
# Create ECS's service-linked role, if it is missing. AWS creates it with an account's first cluster, and a cluster or
# service that is created at the same moment may fail because the role does not exist yet:
# https://github.com/aws-cloudformation/cloudformation-coverage-roadmap/issues/818
set -euo pipefail
. deploy/common.sh

found=$(ask_aws NoSuchEntity iam get-role --role-name AWSServiceRoleForECS --query Role.RoleName)
if [ -z "$found" ]; then
  # Another run may have created it in the meantime.
  ask_aws 'has been taken|EntityAlreadyExists' iam create-service-linked-role --aws-service-name ecs.amazonaws.com \
    --query Role.RoleName >/dev/null
  say "created role AWSServiceRoleForECS, which the account shares; waiting until AWS knows it ..."
  sleep "${POLL_SECONDS:-15}"
fi
