# More functions, for the steps that use ecs-cli; sourced by them.
# shellcheck shell=bash
. deploy/common.sh

STACK="amazon-ecs-cli-setup-$CLUSTER"
CREATED_BY="make ecr-create"
# shellcheck disable=SC2034 # cluster-up.sh and destroy.sh read it
CLUSTER_MADE_BY="make cluster-up"
LOG_GROUP_ARN="arn:$AWS_PARTITION:logs:$AWS_REGION:$AWS_ACCOUNT_ID:log-group:$LOG_GROUP"

# Print a policy with ${...} replaced by the project's names.
policy() {
  awk '{
    while (match($0, /\$\{[A-Z_]+\}/))
      $0 = substr($0, 1, RSTART - 1) ENVIRON[substr($0, RSTART + 2, RLENGTH - 3)] substr($0, RSTART + RLENGTH)
  } 1' "$1"
}

# delete WHAT COMMAND...: run a command that deletes something, which may be gone already.
delete() {
  local what=$1 answer
  shift
  if answer=$("$@" 2>&1); then
    say "deleted $what"
  elif [[ $answer != *NotFound* && $answer != *NoSuchEntity* ]]; then
    fail "could not delete $what ($(in_a_line <<<"$answer"))"
  fi
}

# Whether `make ecr-create` created the repository, which may have existed before.
created_repository() {
  local by
  by=$(ask_aws RepositoryNotFoundException ecr list-tags-for-resource --query "tags[?Key=='created-by'].Value" \
    --resource-arn "arn:$AWS_PARTITION:ecr:$AWS_REGION:$AWS_ACCOUNT_ID:repository/$ECR_REPOSITORY") || exit 1
  [ "$by" = "$CREATED_BY" ]
}

# A property of the cluster, or nothing if there is no cluster.
cluster_fact() {
  ask_aws ClusterNotFoundException ecs describe-clusters --clusters "$CLUSTER" --include TAGS \
    --query "clusters[?status=='ACTIVE'] | [0].$1"
}

# Set SUBNET_1, SUBNET_2 and VPC to what `ecs-cli up` created; those that do not exist are empty.
look_for_network() {
  local names="['PubSubnetAz1', 'PubSubnetAz2', 'Vpc']" found
  found=$(ask_aws "does not exist" cloudformation describe-stack-resources --stack-name "$STACK" --query \
    "sort_by(StackResources[?contains($names, LogicalResourceId)], &LogicalResourceId)[].PhysicalResourceId") || exit 1
  read -r SUBNET_1 SUBNET_2 VPC <<<"$found"
  export SUBNET_1 SUBNET_2
}

find_network() {
  look_for_network
  [ -n "$VPC" ] || fail "there is no network yet: run 'make cluster-up' first"
}

# The id and the owner of the security group.
security_group() {
  ask_aws "$NEVER" ec2 describe-security-groups --filters "Name=group-name,Values=$SERVICE" "Name=vpc-id,Values=$VPC" \
    --query "SecurityGroups[0].[GroupId, Tags[?Key=='service'] | [0].Value]"
}

# The name and the owner of a role, or nothing if it does not exist.
role_facts() {
  ask_aws NoSuchEntity iam get-role --role-name "$1" --query "Role.[RoleName, Tags[?Key=='service'] | [0].Value]"
}

# The name, the retention in days and the owner of the log group, or nothing if it does not exist.
log_facts() {
  local facts owner
  facts=$(ask_aws "$NEVER" logs describe-log-groups --log-group-name-prefix "$LOG_GROUP" \
    --query "logGroups[?logGroupName=='$LOG_GROUP'] | [0].[logGroupName, retentionInDays]") || exit 1
  [ -n "$facts" ] || return 0
  owner=$(ask_aws "$NEVER" logs list-tags-for-resource --query 'tags.service' \
    --resource-arn "$LOG_GROUP_ARN") || exit 1
  echo "$facts ${owner:-None}"
}

# The steps tag everything that they create for this service with service=$SERVICE; anything without that tag existed
# before and is not theirs to change. require_ours OWNER WHAT COMMAND: fail if it is not theirs; COMMAND hands it over.
require_ours() {
  [ "$1" = "$SERVICE" ] || fail "$2 was not created by this project's steps, so it stays unchanged: delete it, or" \
    "hand it over with '$3'"
}

# ecs-cli does not support SSO, and prefers profiles to keys: pass it the checked credentials, and no profile.
prepare_ecs_cli() {
  unset ECS_PROFILE
  if [ -z "${AWS_ACCESS_KEY_ID:-}${AWS_WEB_IDENTITY_TOKEN_FILE:-}" ] && ! export_credentials 2>/dev/null; then
    # ecs-cli finds the same by itself, unless it has credentials of its own.
    [ ! -e ~/.ecs/credentials ] ||
      fail "ecs-cli would use ~/.ecs/credentials: export AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
    return 0
  fi
  unset AWS_PROFILE AWS_DEFAULT_PROFILE
}

# Wait for the end of a rollout that another user or an interrupted run started.
wait_for_others() {
  local state said='' until=$((SECONDS + 900))
  while
    state=$(service_fact "deployments[?status=='PRIMARY'] | [0].rolloutState") || exit 1
    [ "$state" = IN_PROGRESS ]
  do
    [ -n "$said" ] || say "a rollout is in progress, waiting for it to end ..."
    said=yes
    [ "$SECONDS" -lt "$until" ] || break
    sleep "${POLL_SECONDS:-3}"
  done
}

# Run `ecs-cli compose service`; ecs-params.yml is filled from the environment at every call.
compose_service() {
  prepare_ecs_cli
  export EXECUTION_ROLE="$SERVICE-execution"
  export TASK_ROLE="arn:$AWS_PARTITION:iam::$AWS_ACCOUNT_ID:role/$SERVICE-task"
  # On Fargate the host's port equals the container's.
  unset PORT
  # ecs-cli would read a developer's .env, too: show it the project without its hidden files.
  local folder status=0
  folder=$(mktemp -d)
  ln -s "$PWD"/* "$folder"
  (cd "$folder" && "$ECS_CLI" compose --cluster "$CLUSTER" --region "$AWS_REGION" --project-name "$SERVICE" \
    --file "$folder/docker-compose.yml" --ecs-params "$folder/ecs-params.yml" service "$@") || status=$?
  rm -r "$folder"
  return "$status"
}
