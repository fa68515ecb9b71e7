"""Rehearse a deployment on an embedded AWS: ``make rehearse``.

Works on a copy of the project, with a home, credentials and a proxy of its own. Whatever the caller's
environment holds, no account can be reached: every HTTPS request goes to the embedded AWS.
"""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from moto.moto_proxy.proxy3 import CertificateCreator

PROJECT = Path(__file__).parent.parent
BIN = Path(sys.executable).parent

# Tools that a target needs besides the AWS CLI.
NEEDS = {
    "doctor": {"docker", "ecs-cli"},
    "ecr-login": {"registry"},
    "docker-build": {"docker"},
    "docker-push": {"registry"},
    "ecs-configure": {"ecs-cli"},
    "cluster-up": {"ecs-cli"},
    "security-group": {"ecs-cli"},
    "service-up": {"ecs-cli"},
    "smoke": {"ecs-cli"},
    "url": {"ecs-cli"},
    "rollback": {"ecs-cli"},
    "scale": {"ecs-cli"},
}
MISSING = {
    "docker": "no Docker engine answers, so a process of this machine takes the container's place",
    "registry": "REHEARSAL_REGISTRY names no registry that can take ECR's place",
    "ecs-cli": "ecs-cli is not on PATH, and without it there is no service",
}

MAKE_VARIABLE = re.compile(r"^export (\w+) := (.+)$", re.MULTILINE)

# What an account must not hold any more after destroy.
INVENTORY = {
    "clusters": (
        "ecs describe-clusters --clusters {CLUSTER}",
        "clusters[?status=='ACTIVE'].clusterName",
    ),
    "repositories": ("ecr describe-repositories", "repositories[].repositoryName"),
    "roles": ("iam list-roles", "Roles[].RoleName"),
    "log groups": ("logs describe-log-groups", "logGroups[].logGroupName"),
    "stacks": (
        "cloudformation list-stacks",
        "StackSummaries[?StackStatus!='DELETE_COMPLETE'].StackName",
    ),
    "networks": ("ec2 describe-vpcs", "Vpcs[?!IsDefault].VpcId"),
    "security groups": (
        "ec2 describe-security-groups",
        "SecurityGroups[?GroupName!='default'].GroupId",
    ),
    "task definitions": ("ecs list-task-definitions", "taskDefinitionArns"),
}


class Row(NamedTuple):
    """One line of the table."""

    step: str
    result: str
    seconds: float


class Rehearsal:
    """A copy of the project and the environment in which its targets run."""

    def __init__(self, copy: Path, environment: dict[str, str], tools: set[str]) -> None:
        self.copy = copy
        self.answers = dict(MAKE_VARIABLE.findall((copy / "Makefile").read_text()))
        self.environment = environment
        self.tools = tools
        self.rows: list[Row] = []
        self.skipped: dict[str, str] = {}

    def make(self, step: str, *arguments: str, fails: bool = False) -> None:
        """Run targets of the copy's Makefile, less those whose tools are missing."""
        runnable = []
        for argument in arguments:
            missing = NEEDS.get(argument, set()) - self.tools
            if missing:
                self.skipped[argument] = MISSING[min(missing)]
            else:
                runnable.append(argument)
        if not [argument for argument in runnable if "=" not in argument]:
            return
        self.do(step, lambda: self._make(runnable, fails))

    def _make(self, arguments: list[str], fails: bool) -> str:
        result = self.run("make", *arguments)
        if (result.returncode != 0) == fails:
            return "failed, as it must" if fails else "ok"
        print(f"\n{result.stdout}{(self.copy.parent / 'embedded-aws.log').read_text()}")
        return "FAILED" if result.returncode else "SUCCEEDED, but must fail"

    def do(self, step: str, action: Callable[[], str]) -> None:
        """Do one step of the table, saying so before and after."""
        print(f"  {step} ...", end="", flush=True)
        started = time.monotonic()
        row = Row(step, action(), time.monotonic() - started)
        self.rows.append(row)
        print(f" {row.result} ({row.seconds:.1f} s)", flush=True)

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command in the copy; what it prints is kept for the case that it fails."""
        return subprocess.run(
            command,
            cwd=self.copy,
            env=self.environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=120,
        )

    def take_inventory(self) -> str:
        """Name everything that is left in the account."""
        left = []
        for name, (command, query) in INVENTORY.items():
            command = command.format_map(self.answers)
            answer = self.run("aws", *command.split(), "--query", query, "--output", "json")
            left += [f"{name}: {item}" for item in json.loads(answer.stdout) or []]
        return "ok" if not left else f"FAILED, left: {', '.join(left)}"

    @contextlib.contextmanager
    def broken(self) -> Iterator[None]:
        """Let the next release look for a model that is not there."""
        compose = self.copy / "docker-compose.yml"
        text = compose.read_text()
        compose.write_text(
            text.replace("environment:\n", "environment:\n      MODEL_PATH: missing\n")
        )
        yield
        compose.write_text(text)


def rehearse(rehearsal: Rehearsal) -> None:
    """From an empty account to a service, through a bad release, and back to an empty account."""
    deploy = prerequisites(rehearsal.copy, "deploy")
    release = prerequisites(rehearsal.copy, "release")
    rehearsal.make("deploy", *deploy)
    rehearsal.make("deploy again: nothing changes", *deploy)
    rehearsal.make("release of a new tag", *release, "IMAGE_TAG=second")
    if "ecs-cli" in rehearsal.tools:
        with rehearsal.broken():
            rehearsal.make("release that cannot start", *release, "IMAGE_TAG=broken", fails=True)
    rehearsal.make("the release before it still answers", "smoke")
    rehearsal.make("rollback", "rollback")
    rehearsal.make("scale", "scale", "N=3")
    rehearsal.make("destroy", "destroy", "FORCE=1")
    rehearsal.do("the account is empty", rehearsal.take_inventory)


def prerequisites(copy: Path, target: str) -> list[str]:
    """The steps of a target that does nothing but call them."""
    (line,) = re.findall(rf"^{target}: (.+?) ##", (copy / "deploy/ecs-cli.mk").read_text(), re.M)
    return str(line).split()


def find_tools() -> set[str]:
    """Which of the tools that a rehearsal can do without are here."""
    tools = set()
    if shutil.which(os.environ.get("ECS_CLI", "ecs-cli")):
        tools.add("ecs-cli")
    with contextlib.suppress(OSError):
        docker = [os.environ.get("DOCKER", "docker"), "info"]
        if subprocess.run(docker, capture_output=True).returncode == 0:
            tools.add("docker")
            if os.environ.get("REHEARSAL_REGISTRY"):
                tools.add("registry")
    return tools


def copy_project(folder: Path) -> Path:
    """A copy that shares nothing but the installed packages, with one commit."""
    copy = folder / "project"
    ignored = shutil.ignore_patterns(".git", ".venv", ".env", "__pycache__", ".*_cache")
    shutil.copytree(PROJECT, copy, ignore=ignored)
    (copy / ".venv").symlink_to(PROJECT / ".venv")
    git = ["git", "-c", "user.name=rehearsal", "-c", "user.email=rehearsal@localhost"]
    for command in (
        ["init", "--quiet"],
        ["add", "."],
        ["commit", "--quiet", "--message=rehearsal"],
    ):
        subprocess.run([*git, *command], cwd=copy, check=True)
    return copy


def make_environment(home: Path, tools: set[str]) -> dict[str, str]:
    """An environment with none of the caller's settings but those that find tools."""
    home.mkdir()
    kept = {"DOCKER", "DOCKER_HOST", "DOCKER_BUILDKIT", "LANG", "TERM", "TMPDIR"}
    environment = {name: value for name, value in os.environ.items() if name in kept} | {
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(home),
        "AWS_ACCESS_KEY_ID": "rehearsal",
        "AWS_SECRET_ACCESS_KEY": "rehearsal",
        "AWS_CA_BUNDLE": str(CertificateCreator.cacert),
        "AWS_EC2_METADATA_DISABLED": "true",
        "HTTPS_PROXY": "http://127.0.0.1:1",
    }
    if "docker" not in tools:
        environment["SAMPLE"] = ".venv/bin/python -m inference.sample"
    if "registry" in tools:
        environment["ECR_REGISTRY"] = os.environ["REHEARSAL_REGISTRY"]
    return environment


@contextlib.contextmanager
def embedded_aws(rehearsal: Rehearsal) -> Iterator[None]:
    """Run the embedded AWS, and let the rehearsal's environment point to it."""
    copy, environment, answers = rehearsal.copy, rehearsal.environment, rehearsal.answers
    containers = ["--containers"] if "docker" in rehearsal.tools else []
    settings = {
        "MOTO_ACCOUNT_ID": answers["AWS_ACCOUNT_ID"],
        "MOTO_IAM_LOAD_MANAGED_POLICIES": "true",
    }
    log = (copy.parent / "embedded-aws.log").open("w")
    server = subprocess.Popen(
        [sys.executable, "-m", "rehearsal.embedded_aws", *containers],
        cwd=copy,
        env=environment | settings,
        text=True,
        stdout=subprocess.PIPE,
        stderr=log,
    )
    try:
        port = server.stdout.readline().strip() if server.stdout else ""
        if not port:
            sys.exit(
                f"The embedded AWS did not start:\n{(copy.parent / 'embedded-aws.log').read_text()}"
            )
        environment |= {
            "HTTPS_PROXY": f"http://127.0.0.1:{port}",
            "AWS_DEFAULT_REGION": answers["AWS_REGION"],
        }
        for kind in ("service", "task", "containerInstance"):
            # As it is in every real account; ecs-cli asks.
            setting = ["--name", f"{kind}LongArnFormat", "--value", "enabled"]
            command = ["aws", "ecs", "put-account-setting", *setting]
            subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
        yield
    finally:
        server.terminate()
        server.wait()
        log.close()


def main() -> int:
    """Rehearse and print the table; return 1 when a step went wrong."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    tools = find_tools()
    print("Rehearsing on an embedded AWS; no account is touched.", flush=True)
    with tempfile.TemporaryDirectory(prefix="rehearsal-") as folder:
        copy = copy_project(Path(folder))
        environment = make_environment(Path(folder) / "home", tools)
        rehearsal = Rehearsal(copy, environment, tools)
        with embedded_aws(rehearsal):
            rehearse(rehearsal)
    width = max(len(row.step) for row in rehearsal.rows)
    print(f"\n{'step':{width}}  seconds  result")
    for row in rehearsal.rows:
        print(f"{row.step:{width}}  {row.seconds:7.1f}  {row.result}")
    if rehearsal.skipped:
        print("\nNot rehearsed:")
        for target, reason in rehearsal.skipped.items():
            print(f"  {target}: {reason}")
    return any(row.result[0].isupper() for row in rehearsal.rows)


if __name__ == "__main__":
    sys.exit(main())
