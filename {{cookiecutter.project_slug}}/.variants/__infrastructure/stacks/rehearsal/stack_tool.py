"""What the rehearsal knows about a tool that deploys by stacks of CloudFormation."""

MAKEFILE = "deploy/stacks.mk"
CLUSTER = "{CLUSTER}-staging"
# Environment variables passed on so that the tool is found.
KEPT: set[str] = set()

# Tools that a target needs besides the AWS CLI.
NEEDS = {
    "doctor": {"docker"},
    "ecr-login": {"registry"},
    "docker-build": {"docker"},
    "docker-push": {"registry"},
    "image-scan": {"registry"},
}
# Without these no service runs.
MISSING: dict[str, str] = {}


def find_tools() -> set[str]:
    """Which of the tools that only this deploy tool needs are here: it needs none."""
    return set()
