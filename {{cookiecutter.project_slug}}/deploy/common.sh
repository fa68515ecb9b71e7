# Functions shared by the steps, which source this file. The Makefile sets the variables.
# shellcheck shell=bash

# Without this, bash continues after a Ctrl-C that the command in the foreground survives.
trap 'exit 130' INT

say() {
  echo "${0##*/}: $*" | sed 's/\.sh:/:/'
}

fail() {
  say "$*" >&2
  exit 1
}

# Ask for confirmation before deleting. In bash 3.2 a trapped Ctrl-C would wait for the end of the line.
confirm() {
  local typed
  trap - INT
  read -rp "$2: " typed
  trap 'exit 130' INT
  [ "$typed" = "$1" ] || fail "nothing was deleted"
}

# Join lines: an error of the AWS CLI has several, or is a JSON document.
in_a_line() {
  tr -s '[:space:]' ' ' | sed 's/^ //; s/ $//'
}

# Refuse to work in an account other than the project's.
require_account() {
  local account remedy="run 'aws configure' or 'aws sso login'"
  [ -z "${CI:-}" ] || remedy="check the CI/CD variables, see docs/pipeline.md"
  command -v aws >/dev/null || fail "the AWS CLI is not installed: make doctor names every missing tool"
  if ! account=$(aws sts get-caller-identity --query Account --output text 2>&1); then
    account=$(in_a_line <<<"$account")
    case $account in
      *"SSL validation"*) fail "AWS cannot be reached: AWS_CA_BUNDLE must name your proxy's certificates ($account)" ;;
      *[Cc]onnect* | *[Pp]roxy* | *"Read timeout"*)
        fail "AWS cannot be reached: check the network and your proxy settings ($account)"
        ;;
      *Throttl* | *"command not found"*) fail "could not ask AWS for the account ($account)" ;;
      *) fail "AWS does not accept the credentials in $AWS_REGION: $remedy ($account)" ;;
    esac
  fi
  # The last line: some versions of the AWS CLI print a warning first.
  account=${account##*$'\n'}
  [ "$account" = "$AWS_ACCOUNT_ID" ] ||
    fail "the credentials belong to account $account, but the Makefile says $AWS_ACCOUNT_ID"
}

# The tag of an image contains its commit.
require_commit() {
  local said
  case $IMAGE_TAG in
    dev*)
      # There is no commit yet, or git refuses to read the repository.
      said=$(git rev-parse --verify HEAD 2>&1) || case $said in
        *"not a git repository"* | *"Needed a single revision"*) ;;
        *) fail "git cannot read this repository: $said" ;;
      esac
      fail "there is no commit to name the image after: git init --initial-branch=main && git add . && git commit"
      ;;
    *-dirty*) [ -z "${CI:-}" ] || fail "CI must not deploy uncommitted changes ($IMAGE_TAG)" ;;
  esac
}

# Request a URL, or post JSON to it; sends API_KEY as a header.
ask() {
  "$PYTHON" deploy/ask.py "$@"
}

# For ask_aws, if no error means 'does not exist'.
# shellcheck disable=SC2034 # other scripts read it
NEVER='^$'

# ask_aws ERRORS COMMAND...: print the response of AWS as text, or nothing if it fails with one of the errors (a
# pattern), which mean 'does not exist'. Any other error ends the step: a denied or interrupted call must not be
# mistaken for 'does not exist'.
ask_aws() {
  local absent=$1 errors answer
  shift
  errors=$(mktemp)
  if answer=$(aws "$@" --output text 2>"$errors"); then
    rm "$errors"
    sed '/^None$/d' <<<"$answer"
  else
    answer=$(in_a_line <"$errors")
    rm "$errors"
    [[ $answer =~ $absent ]] || fail "'aws $1 $2' failed ($answer)"
  fi
}

# The status of a stack, or nothing if it does not exist.
stack_status() {
  ask_aws "does not exist" cloudformation describe-stacks --stack-name "$1" --query 'Stacks[0].StackStatus'
}

stack_exists() {
  local status
  status=$(stack_status "$1") || exit 1
  [ -n "$status" ]
}

# Delete a stack, and wait until it is gone.
delete_stack() {
  local cause
  aws cloudformation delete-stack --stack-name "$1"
  aws cloudformation wait stack-delete-complete --stack-name "$1" && return
  cause=$(ask_aws "$NEVER" cloudformation describe-stack-events --stack-name "$1" --max-items 100 --query \
    "StackEvents[?ResourceStatus=='DELETE_FAILED'].[LogicalResourceId, ResourceStatusReason] | [-1]") || exit 1
  fail "stack $1 could not be deleted: $cause"
}

# Delete batch-aws's job queue and its job definitions.
delete_queue() {
  local queue=$FAMILY-batch definitions definition
  stack_exists "$queue" || return 0
  definitions=$(ask_aws "$NEVER" batch describe-job-definitions --job-definition-name "$queue" --status ACTIVE \
    --query 'jobDefinitions[].jobDefinitionArn')
  for definition in $definitions; do
    aws batch deregister-job-definition --job-definition "$definition"
  done
  delete_stack "$queue"
  say "deleted the job queue"
}

# The registered revisions, oldest first.
list_revisions() {
  ask_aws "$NEVER" ecs list-task-definitions --family-prefix "$FAMILY" --query taskDefinitionArns
}

# A property of the service, or nothing if there is no service.
service_fact() {
  ask_aws ClusterNotFoundException ecs describe-services --cluster "$CLUSTER" --services "$SERVICE" \
    --query "services[?status=='ACTIVE'] | [0].$1"
}

require_service() {
  local name
  name=$(service_fact serviceName) || exit 1
  [ -n "$name" ] || fail "there is no service yet: run 'make deploy ENV=$ENV' first"
}

# Wait until the rollout has ended and all tasks are running; report progress.
wait_for_rollout() {
  local facts state running wanted said='' until=$((SECONDS + 900))
  while true; do
    facts=$(service_fact "[deployments[?status=='PRIMARY'] | [0].rolloutState, runningCount, desiredCount]") || exit 1
    read -r state running wanted <<<"$facts"
    if [ "$state" = FAILED ] || { [ "$state" = COMPLETED ] && [ "$running" = "$wanted" ]; }; then
      return 0
    fi
    [ -n "$facts" ] || fail "there is no service yet: run 'make deploy ENV=$ENV' first"
    [ "$facts" = "$said" ] || say "the rollout is $state, $running of $wanted tasks are running ..."
    said=$facts
    [ "$SECONDS" -lt "$until" ] || fail "the rollout has not ended after 15 minutes: see 'make ps' and 'make logs'"
    sleep "${POLL_SECONDS:-3}"
  done
}

# The image that a revision runs.
image_of() {
  aws ecs describe-task-definition --task-definition "$1" --output text \
    --query 'taskDefinition.containerDefinitions[0].image'
}

# last_lines COUNT TASK CONTAINER: the last lines of a task's log, or nothing if it has no log.
last_lines() {
  ask_aws ResourceNotFoundException logs get-log-events --log-group-name "$LOG_GROUP" \
    --log-stream-name "task/$3/${2##*/}" --limit "$1" --query 'events[].[message]'
}

# Export the credentials of the AWS CLI as variables; version 1 of it cannot.
export_credentials() {
  local found
  found=$(aws configure export-credentials --format env) && eval "$found"
}

# Export credentials and certificates for libraries that read s3:// and no profiles.
prepare_s3() {
  [ -z "${AWS_CA_BUNDLE:-}" ] || export SSL_CERT_FILE=$AWS_CA_BUNDLE
  [ -n "${AWS_ACCESS_KEY_ID:-}" ] || export_credentials ||
    fail "s3:// needs credentials: sign in, with version 2 of the AWS CLI, or set AWS_ACCESS_KEY_ID"
}

# The accepted vulnerabilities that have not expired, by id.
accepted() {
  local file=deploy/accepted-vulnerabilities.txt id until reason
  while read -r id until reason || [ -n "$id" ]; do
    [[ -n $id && $id != \#* ]] || continue
    [[ $until =~ ^[0-9]{4}-[0-9]{2}-[0-9]{2}$ && -n $reason ]] ||
      fail "$file: $id needs a last day and a reason, for example: $id 2030-01-31 never called here"
    if [[ $until < $(date +%F) ]]; then
      say "$id is no longer accepted: its last day was $until" >&2
    else
      say "accepting $id until $until: $reason" >&2
      echo "$id"
    fi
  done <"$file"
}
