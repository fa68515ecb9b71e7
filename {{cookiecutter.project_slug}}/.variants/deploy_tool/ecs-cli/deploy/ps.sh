#!/usr/bin/env bash
# List the cluster's tasks, also those of other services, with their addresses and revisions. Explain the last one of
# this service that crashed.
set -euo pipefail
. deploy/ecs-cli.sh
deploy/explain.sh
prepare_ecs_cli
"$ECS_CLI" ps --cluster "$CLUSTER" --region "$AWS_REGION"
