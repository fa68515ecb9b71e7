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

# Whether new tasks are tried before a client reaches them.
tries_new_tasks() {
  local url
  url=$(stack_output TestUrl) || exit 1
  [ -n "$url" ]
}

# Whether people sign in before they reach the service, and nobody else does.
asks_for_sign_in() {
  local issuer
  issuer=$(stack_output SignIn) || exit 1
  [ -n "$issuer" ] && [ -z "${API_KEY:-}" ]
}

# At once, and not when the autoscaling next looks.
scale_now() {
  aws ecs update-service --cluster "$CLUSTER" --service "$SERVICE" --desired-count "$1" >/dev/null
}

# What the estimate of costs takes: the head of cost.sh names it.
size() {
  "$PYTHON" deploy/stack.py size
  # The alarms of deploy/service.yml have eight metrics, those of its autoscaling four, and that of drift one for each
  # of the inputs that the service tells of.
  echo balancers 1 alarms 12 metrics 9 inputs 10
}
