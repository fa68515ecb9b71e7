# What doctor.sh, memory.sh and cost.sh ask of the deploy tool; sourced by them.
# shellcheck shell=bash

# shellcheck disable=SC2034 # doctor.sh reads it
TOOLS=(aws "$DOCKER" "$PYTHON")

# Where the memory of a task is set.
# shellcheck disable=SC2034 # memory.sh reads it
MEMORY_SETTING="Memory in deploy/$ENV.json"

tool_remedy() {
  echo "apt-get install $1"
}

check_tool() {
  "$PYTHON" deploy/stack.py size >/dev/null || faults=$((faults + 1))
}

# CPU units and MiB of a task, the number of tasks, and of load balancers.
size() {
  "$PYTHON" deploy/stack.py size
  echo 1
}
