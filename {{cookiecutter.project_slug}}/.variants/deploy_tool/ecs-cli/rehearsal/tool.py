"""What the rehearsal knows about ecs-cli."""

import os
import shutil
from pathlib import Path
from typing import Any

MAKEFILE = "deploy/ecs-cli.mk"
CLUSTER = "{CLUSTER}"
# Environment variables passed on so that the tool is found.
KEPT = {"ECS_CLI"}

# Tools that a target needs besides the AWS CLI.
NEEDS = {
    "doctor": {"docker", "ecs-cli"},
    "ecr-login": {"registry"},
    "docker-build": {"docker"},
    "docker-push": {"registry"},
    "image-scan": {"registry"},
    "ecs-configure": {"ecs-cli"},
    "cluster-up": {"ecs-cli"},
    "security-group": {"ecs-cli"},
    "gate": {"ecs-cli"},
    "service-up": {"ecs-cli"},
    "smoke": {"ecs-cli"},
    "url": {"ecs-cli"},
    "rollback": {"ecs-cli"},
    "batch-aws": {"ecs-cli"},
    "scale": {"ecs-cli"},
    "ps": {"ecs-cli"},
    "releases": {"ecs-cli"},
}
# Without these no service runs.
MISSING = {
    "ecs-cli": "ecs-cli is not on PATH or in bin/, and without it no service runs: 'make ecs-cli' installs it."
}
# What only an account can show.
BEYOND: dict[str, str] = {}


def find_tools() -> set[str]:
    """Which of the tools that only this deploy tool needs are here."""
    installed = "bin/ecs-cli" if Path("bin/ecs-cli").exists() else "ecs-cli"
    return {"ecs-cli"} if shutil.which(os.environ.get("ECS_CLI", installed)) else set()


def rehearse_more(_: Any, __: list[str], ___: list[str]) -> None:
    """Nothing more."""


def install(scheduler: Any) -> None:
    """The embedded AWS does all that ecs-cli asks for."""
