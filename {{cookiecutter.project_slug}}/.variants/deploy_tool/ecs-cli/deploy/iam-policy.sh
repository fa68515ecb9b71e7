#!/usr/bin/env bash
# Print the IAM policy needed to run `make deploy` and `make destroy`; with FOR=release the one of the pipeline, with
# FOR=batch the additional one for array jobs of AWS Batch. Each is limited to these actions on this service.
set -euo pipefail
. deploy/ecs-cli.sh

case ${FOR:=deployer} in
  deployer | release | batch) ;;
  *) fail "FOR=$FOR must be release or batch, or be left out" ;;
esac
policy "deploy/$FOR-policy.json" | "$PYTHON" -c '
import json, os, sys
document = json.load(sys.stdin)
for statement in document["Statement"]:
    # IAM takes 6,144 characters; the names would not fit with long ones of service and cluster.
    name = statement.pop("Sid")
    if name == "BoundRoles" and not os.environ["PERMISSIONS_BOUNDARY"]:
        del statement["Condition"]
print(json.dumps(document, indent=2))'
