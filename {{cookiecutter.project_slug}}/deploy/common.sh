# What several steps need; sourced by them. The variables come from the Makefile.
# shellcheck shell=bash

STACK="amazon-ecs-cli-setup-$CLUSTER"

say() {
  echo "${0##*/}: $*" | sed 's/\.sh:/:/'
}

fail() {
  say "$*" >&2
  exit 1
}

# Nothing is touched in another account than the project's.
require_account() {
  local account
  account=$(aws sts get-caller-identity --query Account --output text 2>&1) ||
    fail "AWS does not accept the credentials in $AWS_REGION:" \
      "run 'aws configure' or 'aws sso login' (${account##*$'\n'})"
  [ "$account" = "$AWS_ACCOUNT_ID" ] ||
    fail "the credentials are of account $account, but the Makefile says $AWS_ACCOUNT_ID"
}

# A policy with the project's names in place of ${...}.
policy() {
  awk '{
    while (match($0, /\$\{[A-Z_]+\}/))
      $0 = substr($0, 1, RSTART - 1) ENVIRON[substr($0, RSTART + 2, RLENGTH - 3)] substr($0, RSTART + RLENGTH)
  } 1' "$1"
}

stack_resource() {
  aws cloudformation describe-stack-resource --stack-name "$STACK" --logical-resource-id "$1" \
    --query StackResourceDetail.PhysicalResourceId --output text 2>/dev/null ||
    fail "there is no network yet: run 'make cluster-up' first"
}

security_group_id() {
  aws ec2 describe-security-groups --query 'SecurityGroups[].GroupId' --output text \
    --filters "Name=group-name,Values=$SERVICE" "Name=vpc-id,Values=$1"
}

# One fact of the service, or nothing where there is no service.
service_fact() {
  local answer
  if answer=$(aws ecs describe-services --cluster "$CLUSTER" --services "$SERVICE" --output text \
    --query "services[?status=='ACTIVE'] | [0].$1" 2>&1); then
    sed '/^None$/d' <<<"$answer"
  elif [[ $answer != *ClusterNotFoundException* ]]; then
    fail "could not ask ECS about the service (${answer##*$'\n'})"
  fi
}

require_service() {
  local name
  name=$(service_fact serviceName)
  [ -n "$name" ] || fail "there is no service yet: run 'make deploy' first"
}

# ecs-cli knows no SSO, and would prefer a profile of its own: give it the credentials that were checked.
export_credentials() {
  [ -n "${AWS_ACCESS_KEY_ID:-}${AWS_WEB_IDENTITY_TOKEN_FILE:-}" ] ||
    eval "$(aws configure export-credentials --format env 2>/dev/null)"
}

# Wait for the end of a rollout that somebody began, or that an interrupted run did.
wait_for_others() {
  local seconds=0 state
  while state=$(service_fact "deployments[?status=='PRIMARY'] | [0].rolloutState"); [ "$state" = IN_PROGRESS ]; do
    [ $seconds -gt 0 ] || say "a rollout is under way, waiting for its end ..."
    [ $((seconds += 3)) -lt 900 ] || break
    sleep 3
  done
}

# Wait until the rollout has ended and all tasks run, and say how it goes.
wait_for_rollout() {
  local facts state running wanted said='' seconds=0
  while true; do
    facts=$(service_fact "[deployments[?status=='PRIMARY'] | [0].rolloutState, runningCount, desiredCount]")
    read -r state running wanted <<<"$facts"
    if [ "$state" = FAILED ] || { [ "$state" = COMPLETED ] && [ "$running" = "$wanted" ]; }; then
      return 0
    fi
    [ -n "$facts" ] || fail "there is no service yet: run 'make deploy' first"
    [ "$facts" = "$said" ] || say "the rollout is $state, $running of $wanted tasks run ..."
    said=$facts
    [ $((seconds += 3)) -lt 900 ] || fail "the rollout has not ended after 15 minutes: see 'make ps' and 'make logs'"
    sleep 3
  done
}

# The latest revision that is registered, or None; the AWS CLI answers with one a page.
newest_revision() {
  aws ecs list-task-definitions --family-prefix "$SERVICE" --output text --query 'taskDefinitionArns[-1]' |
    tail -n 1
}

# The image that a revision runs.
image_of() {
  aws ecs describe-task-definition --task-definition "$1" --output text \
    --query 'taskDefinition.containerDefinitions[0].image'
}

# Run `ecs-cli compose service`; ecs-params.yml is filled from the environment at every call.
compose_service() {
  local vpc
  export_credentials
  vpc=$(stack_resource Vpc)
  SUBNET_1=$(stack_resource PubSubnetAz1)
  SUBNET_2=$(stack_resource PubSubnetAz2)
  SECURITY_GROUP=$(security_group_id "$vpc")
  [ -n "$SECURITY_GROUP" ] || fail "there is no security group yet: run 'make security-group' first"
  export SUBNET_1 SUBNET_2 SECURITY_GROUP
  export EXECUTION_ROLE="$SERVICE-execution"
  export TASK_ROLE="arn:$AWS_PARTITION:iam::$AWS_ACCOUNT_ID:role/$SERVICE-task"
  # ecs-cli would read a developer's .env, too: show it the project without its hidden files.
  local folder status=0
  folder=$(mktemp -d)
  ln -s "$PWD"/* "$folder"
  (cd "$folder" && "$ECS_CLI" compose --cluster "$CLUSTER" --region "$AWS_REGION" --project-name "$SERVICE" \
    --file "$folder/docker-compose.yml" --ecs-params "$folder/ecs-params.yml" service "$@") || status=$?
  rm -r "$folder"
  return "$status"
}
