# The parts of doctor.sh, check-memory.sh and cost.sh that depend on the deploy tool; sourced by them.
# shellcheck shell=bash
. deploy/stacks.sh

check_tool() {
  local vpc
  if ! "$PYTHON" deploy/stack.py size >/dev/null; then
    faults=$((faults + 1))
  elif [ -z "$(parameter SubnetIds)" ] && command -v aws >/dev/null; then
    if ! vpc=$(ask_aws "$NEVER" ec2 describe-vpcs --filters Name=is-default,Values=true --query 'Vpcs[].VpcId'); then
      faults=$((faults + 1))
    elif [ -z "$vpc" ]; then
      fault "region $AWS_REGION has no default network: 'aws ec2 create-default-vpc' creates one, or set SubnetIds in" \
        "deploy/$ENV.json"
    fi
  fi
}

# Whether new tasks are tested before a client reaches them: Express Mode has no address for that.
tries_new_tasks() {
  false
}

# Whether people sign in before they reach the service: this deploy tool has no sign-in.
asks_for_sign_in() {
  false
}

# Autoscaling starts the tasks.
scale_now() {
  :
}

# Print the input of the cost estimate, as explained at the top of cost.sh.
size() {
  "$PYTHON" deploy/stack.py size || return
  # ECS's load balancer has an address in each zone of the default network: three in most regions. The error alarm has
  # two metrics, ECS's alarm for releases two more, those of autoscaling two, and the drift alarm one for each input
  # that the service reports.
  echo balancers 1 addresses 3 alarms 6 metrics 10 inputs 10
}
