"""What the rehearsal knows about ECS Express Mode."""

from typing import Any

from rehearsal.changes import failing_requests, new_tag
from rehearsal.stack_tool import CLUSTER, KEPT, MAKEFILE, MISSING, NEEDS, find_tools

__all__ = ["CLUSTER", "KEPT", "MAKEFILE", "MISSING", "NEEDS", "find_tools"]

# What only an account can show.
BEYOND = {
    "rights": "the embedded AWS allows everything; the tests hold the role's policy against what is called",
    "ECS Express Mode": "its operations, their order and a release by canary are emulated here by what AWS documents; a "
    "minute lasts a second; requests that fail are counted by the front of this machine",
    "certificate and DNS": "the address is answered by the rehearsal's own proxy and certificate",
    "load balancer, security groups and autoscaling": "ECS makes and deletes them; here is a front, and nothing measures",
    "an update of roles": "only task definition and service change here",
}


def rehearse_more(rehearsal: Any, deploy: list[str], release: list[str]) -> None:
    """A release whose requests fail: the canary that has 5 % of them is rolled back."""
    with failing_requests(rehearsal.stage.copy), rehearsal.requests():
        rehearsal.make("canary whose requests fail", *release, new_tag("failing"), fails=True)
    rehearsal.make("the release before it answers", "smoke")


def install(scheduler: Any) -> None:
    """Make the embedded AWS's CloudFormation keep what it promises, and let it know Express Mode."""
    from rehearsal import deployments, express, stacks

    stacks.install(scheduler)
    deployments.install(scheduler)
    express.install(scheduler)
