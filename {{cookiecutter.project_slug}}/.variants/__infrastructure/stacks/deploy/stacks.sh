# More functions, for the steps of tools that deploy stacks; sourced by them.
# shellcheck shell=bash
. deploy/common.sh

# shellcheck disable=SC2034 # doctor.sh reads it
TOOLS=(aws "$DOCKER" "$PYTHON")

# Where the memory of a task is set.
# shellcheck disable=SC2034 # check-memory.sh reads it
MEMORY_SETTING="Memory in deploy/$ENV.json"

tool_remedy() {
  echo "apt-get install $1"
}

# A parameter of ENV.
parameter() {
  "$PYTHON" deploy/stack.py parameter "$1"
}

# An output of the stack, or nothing if it does not exist.
stack_output() {
  ask_aws "does not exist" cloudformation describe-stacks --stack-name "$STACK" \
    --query "Stacks[0].Outputs[?OutputKey=='$1'].OutputValue"
}
