#!/usr/bin/env bash
# Print the IAM policy of whoever runs `make deploy` or `make destroy`: these actions, on this service.
set -euo pipefail
. deploy/ecs-cli.sh

policy deploy/iam-policy.json
