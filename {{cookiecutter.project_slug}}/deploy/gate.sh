#!/usr/bin/env bash
# Stop a release whose model is worse than the running one, or answers differently.
set -euo pipefail
. deploy/common.sh
. deploy/tool.sh

case $MODEL_GATE in
  on) ;;
  off)
    say "MODEL_GATE is off: the model is not compared with the running one"
    exit 0
    ;;
  *) fail "MODEL_GATE is $MODEL_GATE, and must be on or off" ;;
esac
if asks_for_sign_in; then
  say "the service asks people to sign in: its model cannot be compared without a key (API_KEY)"
  exit 0
fi
if [ -z "${TEST_URL:-}" ]; then
  name=$(service_fact serviceName) || exit 1
  if [ -z "$name" ]; then
    say "no service is running yet: there is no model to compare with"
    exit 0
  fi
  if tries_new_tasks; then
    say "the new tasks will be compared with the running ones, before any client reaches them"
    exit 0
  fi
fi
deploy/compare.sh || fail "the release stops here; MODEL_GATE=off releases it anyway"
