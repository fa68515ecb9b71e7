#!/usr/bin/env bash
# Run at least N tasks, and wait until they are running.
set -euo pipefail
. deploy/common.sh
. deploy/tool.sh
[[ ${N:-} =~ ^[1-9][0-9]{0,5}$ ]] || fail "say how many: make scale N=3"
[ "$N" -le "${MAX_TASKS:-20}" ] || fail "$N tasks are more than ${MAX_TASKS:-20}: if you mean it, add MAX_TASKS=$N"
say "scaling $SERVICE to at least $N tasks, until the next 'make deploy': set MinTasks in deploy/$ENV.json to keep it"
deploy/cost.sh "$N"

"$PYTHON" deploy/stack.py scale "$N"
scale_now "$N"
wait_for_rollout
running=$(service_fact runningCount)
[ "${running:-0}" -ge "$N" ] || fail "only $running of $N tasks are running: see 'make ps' and 'make logs'"
say "$running of at least $N tasks are running"
