#!/usr/bin/env bash
# Fail if the credentials belong to an account other than the project's.
set -euo pipefail
. deploy/common.sh
require_account
