#!/usr/bin/env bash
# Print the IAM policy of whoever runs `make deploy` or `make destroy`, or with FOR=release that of the pipeline: these
# actions, on this service.
set -euo pipefail
. deploy/ecs-cli.sh

policy "deploy/${FOR:+$FOR-}policy.json"
