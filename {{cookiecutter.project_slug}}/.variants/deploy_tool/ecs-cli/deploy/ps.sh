#!/usr/bin/env bash
# Show the tasks of the service, their addresses and revisions.
set -euo pipefail
. deploy/ecs-cli.sh
export_credentials
"$ECS_CLI" ps --cluster "$CLUSTER" --region "$AWS_REGION"
