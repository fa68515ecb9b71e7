# What several steps need; sourced by them. The variables come from the Makefile.
# shellcheck shell=bash

# Without this, bash goes on after a Ctrl-C that the command it waited for did not die of.
trap 'exit 130' INT

say() {
  echo "${0##*/}: $*" | sed 's/\.sh:/:/'
}

fail() {
  say "$*" >&2
  exit 1
}

# Ask for a word before something is deleted. Bash 3.2 would let a trapped Ctrl-C wait for the end of the line.
confirm() {
  local typed
  trap - INT
  read -rp "$2: " typed
  trap 'exit 130' INT
  [ "$typed" = "$1" ] || fail "nothing was deleted"
}

# Nothing is touched in another account than the project's.
require_account() {
  local account remedy="run 'aws configure' or 'aws sso login'"
  [ -z "${CI:-}" ] || remedy="check the CI/CD variables, see 'The pipeline' in README.md"
  account=$(aws sts get-caller-identity --query Account --output text 2>&1) ||
    fail "AWS does not accept the credentials in $AWS_REGION: $remedy (${account##*$'\n'})"
  [ "$account" = "$AWS_ACCOUNT_ID" ] ||
    fail "the credentials are of account $account, but the Makefile says $AWS_ACCOUNT_ID"
}

# An image is named by its commit.
require_commit() {
  local said
  case $IMAGE_TAG in
    dev*)
      # No commit yet, or a repository that git refuses to read.
      said=$(git rev-parse --verify HEAD 2>&1) || case $said in
        *"not a git repository"* | *"Needed a single revision"*) ;;
        *) fail "git does not read this repository: $said" ;;
      esac
      fail "there is no commit to name the image by: git init && git add . && git commit"
      ;;
    *-dirty*) [ -z "${CI:-}" ] || fail "CI must not deploy uncommitted changes ($IMAGE_TAG)" ;;
  esac
}

# Ask a URL, with JSON to post or without; API_KEY goes along in a header.
ask() {
  "$PYTHON" deploy/ask.py "$@"
}

# Whether there is a stack of this name; no answer is no reason to think that there is none.
stack_exists() {
  local answer
  answer=$(aws cloudformation describe-stacks --stack-name "$1" 2>&1) && return 0
  [[ $answer == *"does not exist"* ]] || fail "could not ask CloudFormation about $1 (${answer##*$'\n'})"
  return 1
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

# Wait until the rollout has ended and all tasks run, and say how it goes.
wait_for_rollout() {
  local facts state running wanted said='' until=$((SECONDS + 900))
  while true; do
    facts=$(service_fact "[deployments[?status=='PRIMARY'] | [0].rolloutState, runningCount, desiredCount]")
    read -r state running wanted <<<"$facts"
    if [ "$state" = FAILED ] || { [ "$state" = COMPLETED ] && [ "$running" = "$wanted" ]; }; then
      return 0
    fi
    [ -n "$facts" ] || fail "there is no service yet: run 'make deploy' first"
    [ "$facts" = "$said" ] || say "the rollout is $state, $running of $wanted tasks run ..."
    said=$facts
    [ "$SECONDS" -lt "$until" ] || fail "the rollout has not ended after 15 minutes: see 'make ps' and 'make logs'"
    sleep "${POLL_SECONDS:-3}"
  done
}

# The latest revision that is registered, or None; the AWS CLI answers with one a page.
newest_revision() {
  aws ecs list-task-definitions --family-prefix "$FAMILY" --output text --query 'taskDefinitionArns[-1]' |
    tail -n 1
}

# The image that a revision runs.
image_of() {
  aws ecs describe-task-definition --task-definition "$1" --output text \
    --query 'taskDefinition.containerDefinitions[0].image'
}
