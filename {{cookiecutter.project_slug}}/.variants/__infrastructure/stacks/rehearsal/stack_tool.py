"""Rehearsal settings for tools that deploy CloudFormation stacks."""

MAKEFILE = "deploy/stacks.mk"
CLUSTER = "{CLUSTER}-staging"
# Environment variables passed through to locate the tool.
KEPT: set[str] = set()
# Environment variables of the steps if no registry stands in for ECR.
NO_REGISTRY = {"IMAGE_CHECK": "true"}

# Tools that targets need in addition to the AWS CLI.
NEEDS = {
    "doctor": {"docker"},
    "ecr-login": {"registry"},
    "docker-build": {"docker"},
    "docker-push": {"registry"},
    "image-scan": {"registry"},
}
# Tools without which no service can run.
MISSING: dict[str, str] = {}


def find_tools() -> set[str]:
    """Return the installed tools that only this deploy tool needs: there are none."""
    return set()
