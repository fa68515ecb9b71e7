#!/usr/bin/env bash
# Fail where the credentials are of another account than the project's.
set -euo pipefail
. deploy/common.sh
require_account
