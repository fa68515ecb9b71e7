# The parts of doctor.sh, check-memory.sh and cost.sh that depend on the deploy tool; sourced by them.
# shellcheck shell=bash

# shellcheck disable=SC2034 # doctor.sh reads it
TOOLS=(aws "$DOCKER" "$ECS_CLI" "$PYTHON")

# Where the memory of a task is set.
# shellcheck disable=SC2034 # check-memory.sh reads it
MEMORY_SETTING="mem_limit in ecs-params.yml"

tool_remedy() {
  [ "$1" = "$ECS_CLI" ] && echo "make ecs-cli" || echo "apt-get install $1"
}

check_tool() {
  if command -v "$ECS_CLI" >/dev/null && ! "$ECS_CLI" --version | grep -q " $ECS_CLI_VERSION "; then
    fault "$("$ECS_CLI" --version) is not version $ECS_CLI_VERSION: run 'make ecs-cli'"
  fi
  grep -qF "\${PORT:-$SERVICE_PORT}:$SERVICE_PORT\"" docker-compose.yml ||
    fault "docker-compose.yml does not publish port $SERVICE_PORT, the one in the Makefile"
  compare ecs-trust-policy.json account "$AWS_ACCOUNT_ID" \
    's/.*"aws:SourceAccount": *"([^"]*)".*/\1/p; s/.*"arn:[^:]*:ecs:[^:]*:([^:]*):.*/\1/p'
  compare ecs-trust-policy.json region "$AWS_REGION" 's/.*"arn:[^:]*:ecs:([^:]*):.*/\1/p'
  compare docker-compose.yml region "$AWS_REGION" 's/^ *awslogs-region: *"?([^" ]*)"? *$/\1/p'
}

# compare FILE WHAT VALUE SCRIPT: report the values that sed's SCRIPT finds in FILE, unless they are the Makefile's VALUE.
compare() {
  local found
  while read -r found; do
    [ "$found" = "$3" ] || fault "$1 has $2 $found, but the Makefile says $3: correct one of them"
  done < <(sed -nE "$4" "$1" | sort -u)
}

# Whether new tasks are tested before a client reaches them: there is no address for that.
tries_new_tasks() {
  false
}

# Whether people sign in before they reach the service: this deploy tool has no sign-in.
asks_for_sign_in() {
  false
}

# number NAME FILE: print the first setting of that name, if it is a number and not 0.
number() {
  sed -nE "/^ *$1:/{s/^[^:]*: *[\"']?([1-9][0-9]*)[\"']? *(#.*)?\$/\1/p;q;}" "$2"
}

# Print the input of the cost estimate, as explained at the top of cost.sh.
size() {
  local cpu memory workers
  cpu=$(number cpu_limit ecs-params.yml)
  memory=$(number mem_limit ecs-params.yml)
  [[ -n $cpu && -n $memory ]] ||
    fail "cpu_limit and mem_limit in ecs-params.yml must be plain numbers, of CPU units and MiB"
  workers=$(number WORKERS docker-compose.yml)
  printf '%s %s\n' cpu "$cpu" memory "$memory" ${workers:+workers "$workers"}
  echo least 1 most 1 addresses-of-tasks 1
}
