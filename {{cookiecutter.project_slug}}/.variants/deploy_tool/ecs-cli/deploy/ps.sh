#!/usr/bin/env bash
# List the cluster's tasks, also those of other services, with their addresses and revisions.
set -euo pipefail
. deploy/ecs-cli.sh
prepare_ecs_cli
"$ECS_CLI" ps --cluster "$CLUSTER" --region "$AWS_REGION"
