"""Rehearsal settings for ecs-cli."""

import os
import shutil
from pathlib import Path
from typing import Any

MAKEFILE = "deploy/ecs-cli.mk"
CLUSTER = "{CLUSTER}"
# Environment variables passed through to locate the tool.
KEPT = {"ECS_CLI"}
# Environment variables of the steps if no registry stands in for ECR.
NO_REGISTRY: dict[str, str] = {}

# Tools that targets need in addition to the AWS CLI.
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
# Tools without which no service can run.
MISSING = {
    "ecs-cli": "ecs-cli is not on PATH or in bin/, and without it no service runs: 'make ecs-cli' installs it."
}
# What can only be tested in an account.
BEYOND: dict[str, str] = {}


def find_tools() -> set[str]:
    """Return the installed tools that only this deploy tool needs."""
    installed = "bin/ecs-cli" if Path("bin/ecs-cli").exists() else "ecs-cli"
    return {"ecs-cli"} if shutil.which(os.environ.get("ECS_CLI", installed)) else set()


def rehearse_more(_: Any, __: list[str], ___: list[str]) -> None:
    """Rehearse nothing more."""


def install(scheduler: Any) -> None:
    """Do nothing: the embedded AWS supports everything that ecs-cli calls."""
