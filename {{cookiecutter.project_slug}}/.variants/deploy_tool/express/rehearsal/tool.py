"""Rehearsal settings for ECS Express Mode."""

from typing import Any

from rehearsal.changes import failing_requests, new_tag
from rehearsal.stack_tool import CLUSTER, KEPT, MAKEFILE, MISSING, NEEDS, find_tools

__all__ = ["CLUSTER", "KEPT", "MAKEFILE", "MISSING", "NEEDS", "find_tools"]

# What can only be tested in an account.
BEYOND = {
    "rights": "the embedded AWS allows everything; the tests compare the role's policy with the called actions",
    "ECS Express Mode": "its operations, their order and canary releases are emulated as AWS documents them; a "
    "minute lasts a second; failed requests are counted by a front on this machine",
    "certificate and DNS": "the rehearsal's proxy serves the address, with its own certificate",
    "load balancer, security groups and autoscaling": "ECS creates and deletes them; here is a front without metrics",
    "an update of roles": "only task definition and service change here",
}


def rehearse_more(rehearsal: Any, deploy: list[str], release: list[str]) -> None:
    """Rehearse a release whose requests fail: its canary, which gets 5 % of them, is rolled back."""
    with failing_requests(rehearsal.stage.copy), rehearsal.requests():
        rehearsal.make("canary whose requests fail", *release, new_tag("failing"), fails=True)
    rehearsal.make("the release before it answers", "smoke")


def install(scheduler: Any) -> None:
    """Make the embedded AWS's CloudFormation behave like the real one, and add Express Mode."""
    from rehearsal import deployments, express, stacks

    stacks.install(scheduler)
    deployments.install(scheduler)
    express.install(scheduler)
