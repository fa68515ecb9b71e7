"""Rehearsal settings for CloudFormation."""

import json
from pathlib import Path
from typing import Any

from rehearsal.changes import new_tag, other_answers
from rehearsal.stack_tool import CLUSTER, KEPT, MAKEFILE, MISSING, NEEDS, NO_REGISTRY, find_tools

__all__ = ["CLUSTER", "KEPT", "MAKEFILE", "MISSING", "NEEDS", "NO_REGISTRY", "find_tools"]

# What can only be tested in an account.
BEYOND = {
    "rights": "the embedded AWS allows everything; the tests compare the role's policy with the called actions",
    "HTTPS and DNS": "no certificates are issued, and no names resolved",
    "autoscaling and alarms": "the template is checked, but no metrics are measured here; a release is rolled back "
    "if an alarm is set off by hand",
    "an update of network, load balancer or roles": "only task definition and service change here",
    "private subnets, endpoints, web ACL, access logs, sign-in": "the load balancer runs on this machine",
    "office hours": "no clock scales the service",
    "exec": "there is no session to open",
}


# In a rehearsal, a minute lasts a second.
IN_STEPS = {
    "DeploymentStrategy": "CANARY",
    "StepMinutes": "2",
    "BakeMinutes": "1",
    "TestBeforeTraffic": "true",
}


def rehearse_more(rehearsal: Any, deploy: list[str], release: list[str]) -> None:
    """Rehearse releases whose tasks are tested before clients reach them, and get requests in steps."""
    copy: Path = rehearsal.stage.copy
    file = copy / "deploy/staging.json"
    parameters = json.loads(file.read_text())["Parameters"]
    file.write_text(json.dumps({"Parameters": parameters | IN_STEPS}))
    rehearsal.make("canary from now on", *deploy, new_tag("steps"))
    rehearsal.make("canary that is tried and goes on", *release, new_tag("canary"))
    with other_answers(copy):
        rehearsal.make("canary with different answers", *release, new_tag("worse"), fails=True)
    rehearsal.make("the canary before it still answers", "smoke")


def install(scheduler: Any) -> None:
    """Make the embedded AWS's CloudFormation behave like the real one."""
    from rehearsal import deployments, stacks

    stacks.install(scheduler)
    deployments.install(scheduler)
