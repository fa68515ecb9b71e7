#!/usr/bin/env bash
# Test the new tasks of a release at TEST_URL, before any client reaches them.
set -euo pipefail
. deploy/common.sh

if [ -z "$SAMPLE_COMMAND" ]; then
  # A rollback to an earlier image, which worked before: its expected answers are not known here.
  ask "$TEST_URL/v2/health/ready" >/dev/null || fail "$TEST_URL is not ready"
  say "$TEST_URL is ready"
  exit 0
fi
deploy/smoke.sh
deploy/gate.sh
