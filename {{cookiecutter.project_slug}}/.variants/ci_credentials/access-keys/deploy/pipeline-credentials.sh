#!/usr/bin/env bash
# Check the access keys of a pipeline job.
set -euo pipefail
. deploy/common.sh
say "checking the keys for account $AWS_ACCOUNT_ID"

for name in AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY; do
  [ -n "${!name:-}" ] || fail "set the CI/CD variable $name, masked; a protected one reaches only protected branches"
done
require_account
require_commit
say "the keys belong to account $AWS_ACCOUNT_ID"
