#!/usr/bin/env bash
# Assume the role of a pipeline job, with the token that GitLab issued.
set -euo pipefail
. deploy/common.sh

[ -n "${AWS_ROLE_ARN:-}" ] || fail "set the CI/CD variable AWS_ROLE_ARN to the role that trusts this project;" \
  "a protected one reaches only protected branches"
[ -n "${AWS_ID_TOKEN:-}" ] || fail "GitLab gave the job no AWS_ID_TOKEN: it needs id_tokens, see .aws in .gitlab-ci.yml"
say "assuming the role $AWS_ROLE_ARN"
(umask 077 && printf '%s' "$AWS_ID_TOKEN" >"$AWS_WEB_IDENTITY_TOKEN_FILE")
require_account
require_commit
say "the role belongs to account $AWS_ACCOUNT_ID, and accepts the token"
