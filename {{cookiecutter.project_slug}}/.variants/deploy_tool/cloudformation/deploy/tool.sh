# The parts of doctor.sh, check-memory.sh and cost.sh that depend on the deploy tool; sourced by them.
# shellcheck shell=bash
. deploy/stacks.sh

check_tool() {
  if ! "$PYTHON" deploy/stack.py size >/dev/null; then
    faults=$((faults + 1))
  elif [ -z "$(parameter CertificateArn)" ] && [ "$(parameter InternalLoadBalancer)" = false ]; then
    say "warning: the service answers $(parameter AllowedCidr) over HTTP, without a key: CertificateArn, ApiKeyArn and" \
      "AllowedCidr in deploy/$ENV.json change that"
  fi
  if [ "$ENV" = production ] && [ -z "$(parameter AlarmTopicArn)" ]; then
    say "warning: nobody hears of the alarms: AlarmTopicArn in deploy/production.json names no topic"
  fi
}

# Whether new tasks are tested before a client reaches them.
tries_new_tasks() {
  local url
  url=$(stack_output TestUrl) || exit 1
  [ -n "$url" ]
}

# Whether clients must sign in to reach the service, because they have no API key.
asks_for_sign_in() {
  local issuer
  issuer=$(stack_output SignIn) || exit 1
  [ -n "$issuer" ] && [ -z "${API_KEY:-}" ]
}

# Scale at once, instead of at the next check of autoscaling, which may have started more tasks.
scale_now() {
  local wanted
  wanted=$(service_fact desiredCount)
  [ "${wanted:-0}" -ge "$1" ] ||
    aws ecs update-service --cluster "$CLUSTER" --service "$SERVICE" --desired-count "$1" >/dev/null
}

# Print the input of the cost estimate, as explained at the top of cost.sh.
size() {
  "$PYTHON" deploy/stack.py size || return
  # The alarms in deploy/service.yml have eight metrics, those of its autoscaling four, and the drift alarm one for each
  # input that the service reports.
  echo balancers 1 alarms 12 metrics 9 inputs 10
}
