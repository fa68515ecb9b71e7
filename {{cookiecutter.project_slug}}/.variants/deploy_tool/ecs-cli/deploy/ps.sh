#!/usr/bin/env bash
# List the service's tasks with their addresses and revisions.
set -euo pipefail
. deploy/ecs-cli.sh
export_credentials
"$ECS_CLI" ps --cluster "$CLUSTER" --region "$AWS_REGION"
