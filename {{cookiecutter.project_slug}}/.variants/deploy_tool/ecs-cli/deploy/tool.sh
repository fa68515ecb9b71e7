# What doctor.sh, memory.sh and cost.sh ask of the deploy tool; sourced by them.
# shellcheck shell=bash

# shellcheck disable=SC2034 # doctor.sh reads it
TOOLS=(aws "$DOCKER" "$ECS_CLI" "$PYTHON")

# Where the memory of a task is set.
# shellcheck disable=SC2034 # memory.sh reads it
MEMORY_SETTING="mem_limit in ecs-params.yml"

tool_remedy() {
  [ "$1" = "$ECS_CLI" ] && echo "make ecs-cli" || echo "apt-get install $1"
}

check_tool() {
  if command -v "$ECS_CLI" >/dev/null && ! "$ECS_CLI" --version | grep -q " $ECS_CLI_VERSION "; then
    fault "$("$ECS_CLI" --version) is not version $ECS_CLI_VERSION: run 'make ecs-cli'"
  fi
  grep -qF "\${PORT:-$SERVICE_PORT}:$SERVICE_PORT\"" docker-compose.yml ||
    fault "docker-compose.yml does not publish port $SERVICE_PORT, which the Makefile says"
}

# CPU units and MiB of a task; the least and the most tasks; the number of load balancers and of alarms' metrics.
size() {
  sed -nE 's/^ *(cpu|mem)_limit: "?([0-9]+)"? *$/\2/p' ecs-params.yml
  echo 1 1 0 0
}
