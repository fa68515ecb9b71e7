"""What the rehearsal knows about CloudFormation."""

import json
from pathlib import Path
from typing import Any

from rehearsal.changes import new_tag, other_answers
from rehearsal.stack_tool import CLUSTER, KEPT, MAKEFILE, MISSING, NEEDS, find_tools

__all__ = ["CLUSTER", "KEPT", "MAKEFILE", "MISSING", "NEEDS", "find_tools"]

# What only an account can show.
BEYOND = {
    "rights": "the embedded AWS allows everything; the tests hold the role's policy against what is called",
    "HTTPS and DNS": "no certificate is issued, no name resolved",
    "autoscaling and alarms": "they are checked in the template, but nothing measures here; a release goes back "
    "where an alarm is set off by hand",
    "an update of network, load balancer or roles": "only task definition and service change here",
    "private subnets, endpoints, web ACL, access logs, sign-in": "the load balancer is this machine's",
    "office hours": "no clock scales the service",
    "exec": "there is no session to open",
}


# A minute lasts a second here.
IN_STEPS = {
    "DeploymentStrategy": "CANARY",
    "StepMinutes": "2",
    "BakeMinutes": "1",
    "TestBeforeTraffic": "true",
}


def rehearse_more(rehearsal: Any, deploy: list[str], release: list[str]) -> None:
    """Releases whose tasks are tried before any client reaches them, and get their requests in steps."""
    copy: Path = rehearsal.stage.copy
    file = copy / "deploy/staging.json"
    parameters = json.loads(file.read_text())["Parameters"]
    file.write_text(json.dumps({"Parameters": parameters | IN_STEPS}))
    rehearsal.make("canary from now on", *deploy, new_tag("steps"))
    rehearsal.make("canary that is tried and goes on", *release, new_tag("canary"))
    with other_answers(copy):
        rehearsal.make("canary that answers otherwise", *release, new_tag("worse"), fails=True)
    rehearsal.make("the canary before it still answers", "smoke")


def install(scheduler: Any) -> None:
    """Make the embedded AWS's CloudFormation keep what it promises."""
    from rehearsal import deployments, stacks

    stacks.install(scheduler)
    deployments.install(scheduler)
