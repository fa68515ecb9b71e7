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

# CPU units and MiB of a task; the least and the most tasks; the number of load balancers and of alarms' metrics.
size() {
  "$PYTHON" deploy/stack.py size
  # The alarms of deploy/service.yml have eight, those of its autoscaling four.
  echo 1 12
}
