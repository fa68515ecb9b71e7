"""What the rehearsal has to know of ecs-cli."""

import os
import shutil
from typing import Any

MAKEFILE = "deploy/ecs-cli.mk"
CLUSTER = "{CLUSTER}"
# The caller's settings that find this tool.
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
    "service-up": {"ecs-cli"},
    "smoke": {"ecs-cli"},
    "url": {"ecs-cli"},
    "rollback": {"ecs-cli"},
    "scale": {"ecs-cli"},
    "ps": {"ecs-cli"},
}
MISSING = {"ecs-cli": "ecs-cli is not on PATH, and without it there is no service"}
# What only an account can show.
BEYOND: dict[str, str] = {}


def find_tools() -> set[str]:
    """Which of the tools that only this deploy tool wants are here."""
    return {"ecs-cli"} if shutil.which(os.environ.get("ECS_CLI", "ecs-cli")) else set()


def install(scheduler: Any) -> None:
    """The embedded AWS does all that ecs-cli asks for."""
