#!/usr/bin/env bash
# Check the prerequisites of all other steps, without changing anything.
set -euo pipefail
. deploy/common.sh
. deploy/tool.sh
say "checking tools, credentials, account, region and port"

faults=0

fault() {
  say "$*" >&2
  faults=$((faults + 1))
}

# How to install a tool.
remedy() {
  case $1 in
    aws) echo "apt-get install awscli, brew install awscli, or https://aws.amazon.com/cli" ;;
    "$DOCKER") echo "apt-get install docker.io, or https://docs.docker.com/get-docker" ;;
    *) tool_remedy "$1" ;;
  esac
}

for tool in "${TOOLS[@]}"; do
  if ! command -v "$tool" >/dev/null; then
    fault "$tool is not installed: $(remedy "$tool")"
  else
    say "$("$tool" --version 2>&1 | head -n 1)"
  fi
done

if command -v "$DOCKER" >/dev/null && ! "$DOCKER" info >/dev/null 2>&1; then
  fault "$DOCKER does not answer: start it"
fi

if command -v aws >/dev/null; then
  if ! (require_account); then
    faults=$((faults + 1))
  elif ! status=$(ask_aws "$NEVER" ecs describe-capacity-providers --capacity-providers FARGATE \
    --query 'capacityProviders[0].status'); then
    faults=$((faults + 1))
  elif [ "$status" != ACTIVE ]; then
    fault "region $AWS_REGION has no Fargate: generate the project again with another aws_region"
  fi
fi

check_tool
if (exec 3<>"/dev/tcp/127.0.0.1/$SERVICE_PORT") 2>/dev/null; then
  say "note: port $SERVICE_PORT is taken on this machine, so 'make run' needs PORT=N"
fi

(require_commit) || faults=$((faults + 1))

[ "$faults" -eq 0 ] || exit 1
deploy/check-memory.sh
deploy/cost.sh
say "account $AWS_ACCOUNT_ID, region $AWS_REGION, image tag $IMAGE_TAG: ready"
