#!/usr/bin/env bash
# Test the new tasks of a release at TEST_URL, before any client reaches them.
set -euo pipefail
. deploy/common.sh

if [ -z "$SAMPLE_COMMAND" ]; then
  # An image of before, that answered once: nothing here tells what it must answer.
  ask "$TEST_URL/v2/health/ready" >/dev/null || fail "$TEST_URL is not ready"
  say "$TEST_URL is ready"
  exit 0
fi
deploy/smoke.sh
deploy/gate.sh
