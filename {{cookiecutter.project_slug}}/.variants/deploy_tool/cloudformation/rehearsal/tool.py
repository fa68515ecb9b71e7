"""What the rehearsal knows about CloudFormation."""

from typing import Any

MAKEFILE = "deploy/cloudformation.mk"
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
# What only an account can show.
BEYOND = {
    "rights": "the embedded AWS allows everything; the tests hold the role's policy against what is called",
    "HTTPS and DNS": "no certificate is issued, no name resolved",
    "autoscaling and alarms": "they are checked in the template, but nothing measures here; a release goes back "
    "where an alarm is set off by hand",
    "an update of network, load balancer or roles": "only task definition and service change here",
    "exec": "there is no session to open",
}


def find_tools() -> set[str]:
    """Which of the tools that only this deploy tool needs are here: it needs none."""
    return set()


def install(scheduler: Any) -> None:
    """Make the embedded AWS's CloudFormation keep what it promises."""
    from rehearsal import deployments, stacks

    stacks.install(scheduler)
    deployments.install(scheduler)
