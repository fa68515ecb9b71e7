#!/usr/bin/env bash
# Print the IAM policy of whoever runs `make deploy` or `make destroy`, with FOR=release that of the pipeline, with
# FOR=batch what jobs of AWS Batch need besides: these actions, on this service.
set -euo pipefail
. deploy/ecs-cli.sh

policy "deploy/${FOR:+$FOR-}policy.json" | "$PYTHON" -c '
import json, os, sys
document = json.load(sys.stdin)
for statement in document["Statement"]:
    if statement["Sid"] == "BoundRoles" and not os.environ["PERMISSIONS_BOUNDARY"]:
        del statement["Condition"]
print(json.dumps(document, indent=2))'
