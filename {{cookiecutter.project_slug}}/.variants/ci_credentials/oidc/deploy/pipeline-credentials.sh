#!/usr/bin/env bash
# Assume the role of a pipeline job, with the token that GitLab issued.
set -euo pipefail
. deploy/common.sh

[ -n "${AWS_ROLE_ARN:-}" ] || fail "set the CI/CD variable AWS_ROLE_ARN to the role that trusts this project;" \
  "one that is protected reaches protected branches only"
[ -n "${AWS_ID_TOKEN:-}" ] || fail "GitLab gave this job no AWS_ID_TOKEN: it wants id_tokens, see .aws in .gitlab-ci.yml"
say "taking the role $AWS_ROLE_ARN"
(umask 077 && printf '%s' "$AWS_ID_TOKEN" >"$AWS_WEB_IDENTITY_TOKEN_FILE")
require_account
require_commit
say "the role is of account $AWS_ACCOUNT_ID, and takes the token"
