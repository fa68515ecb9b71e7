"""Rehearse a deployment on an embedded AWS: ``make rehearse``.

The steps run on a copy of the project, with a home, credentials and a proxy of their own. Whatever
the caller's environment holds, no account can be reached: HTTPS requests go to the embedded AWS.
"""

import contextlib
import json
import re
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from rehearsal import stage, tool
from rehearsal.stage import Stage

# What the scripts of the steps say of themselves.
SAID = re.compile(r"(?!make: )[a-z-]+: |  |http:")
LOG = stage.PROJECT / "rehearsal.log"
MISSING = {
    "docker": "no Docker engine answers, so a process of this machine takes the container's place",
    "registry": "REHEARSAL_REGISTRY names no registry that can take ECR's place "
    "(docker run --detach --publish 127.0.0.1:5001:5000 registry:2 starts one)",
    **tool.MISSING,
}

# What an account must not hold any more after destroy.
INVENTORY = {
    "clusters": (
        f"ecs describe-clusters --clusters {tool.CLUSTER}",
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
    "load balancers": ("elbv2 describe-load-balancers", "LoadBalancers[].LoadBalancerName"),
    "target groups": ("elbv2 describe-target-groups", "TargetGroups[].TargetGroupName"),
    "policies": ("iam list-policies --scope Local", "Policies[].PolicyName"),
    "task definitions": ("ecs list-task-definitions", "taskDefinitionArns"),
}


class Row(NamedTuple):
    """One line of the table."""

    step: str
    result: str
    seconds: float


class Rehearsal:
    """Runs targets on a stage and keeps the table."""

    def __init__(self, stage: Stage, tools: set[str]) -> None:
        self.stage = stage
        self.tools = tools
        self.rows: list[Row] = []
        self.skipped: dict[str, str] = {}

    def make(
        self, step: str, *arguments: str, fails: bool = False, same_tasks: bool = False
    ) -> None:
        """Run targets of the copy's Makefile, less those whose tools are missing.

        ``fails``: they must fail. ``same_tasks``: the tasks that ran before must run afterwards.
        """
        runnable = []
        for argument in arguments:
            missing = tool.NEEDS.get(argument, set()) - self.tools
            if missing:
                self.skipped[argument] = MISSING[min(missing)]
            else:
                runnable.append(argument)
        if not [argument for argument in runnable if "=" not in argument]:
            return
        tasks = self.tasks() if same_tasks else []
        self.do(step, lambda: self._make(step, runnable, fails))
        if same_tasks and self.tasks() != tasks:
            self.rows[-1] = self.rows[-1]._replace(result="FAILED, it replaced the tasks")

    def _make(self, step: str, arguments: list[str], fails: bool) -> str:
        """Run make; show what the steps say of themselves, keep the rest for the log."""
        with LOG.open("a") as log:
            log.write(f"\n== {step}: make {' '.join(arguments)}\n")
            make = subprocess.Popen(
                ["make", "--no-print-directory", *arguments],
                cwd=self.stage.copy,
                env=self.stage.environment,
                text=True,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
            )
            lines = []
            for line in make.stdout or []:
                lines.append(line)
                log.write(line)
                log.flush()
                if SAID.match(line):
                    print(f"    {line}", end="", flush=True)
        if (make.wait() != 0) == fails:
            return "failed, as it must" if fails else "ok"
        print(f"\nThe last lines of this step:\n{''.join(lines[-20:])}")
        return "FAILED" if make.returncode else "SUCCEEDED, but must fail"

    def do(self, step: str, action: Callable[[], str]) -> None:
        """Do one step of the table, saying so before and after."""
        print(f"\n{step}", flush=True)
        started = time.monotonic()
        row = Row(step, action(), time.monotonic() - started)
        self.rows.append(row)
        print(f"  {row.result} ({row.seconds:.1f} s)", flush=True)

    def tasks(self) -> list[str]:
        """The tasks that run."""
        cluster = tool.CLUSTER.format_map(self.stage.answers)
        with contextlib.suppress(subprocess.CalledProcessError):
            return self.ask_aws(f"ecs list-tasks --cluster {cluster}", "taskArns")
        return []

    @property
    def has_service(self) -> bool:
        """Whether the tools are there that a service wants."""
        return tool.NEEDS.get("service-up", set()) <= self.tools

    def ask_aws(self, command: str, query: str) -> list[str]:
        """The answer of the embedded AWS to a command of the AWS CLI."""
        answer = subprocess.run(
            ["aws", *command.split(), "--query", query, "--output", "json"],
            cwd=self.stage.copy,
            env=self.stage.environment,
            check=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        return json.loads(answer.stdout) or []

    def take_inventory(self) -> str:
        """Name everything that is left in the account."""
        left = []
        for name, (command, query) in INVENTORY.items():
            items = self.ask_aws(command.format_map(self.stage.answers), query)
            left += [f"{name}: {item}" for item in items]
        return "ok" if not left else f"FAILED, left: {', '.join(left)}"


def rehearse(rehearsal: Rehearsal) -> None:
    """From an empty account to a service, through a bad release, and back to an empty account."""
    deploy = prerequisites(rehearsal.stage.copy, "deploy")
    release = prerequisites(rehearsal.stage.copy, "release")
    rehearsal.make("deploy", *deploy)
    rehearsal.make("deploy again: nothing changes", *deploy, same_tasks=True)
    # Tags of this rehearsal's own: a registry may hold those of others.
    second, broken = (f"IMAGE_TAG={name}-{secrets.token_hex(4)}" for name in ("second", "broken"))
    rehearsal.make("release of a new tag", *release, second)
    if rehearsal.has_service:
        with broken_service(rehearsal.stage.copy):
            rehearsal.make("release that cannot start", *release, broken, fails=True)
    rehearsal.make("the release before it still answers", "smoke")
    rehearsal.make("rollback", "rollback")
    rehearsal.make("scale", "scale", "N=3", "ps")
    rehearsal.make("destroy", "destroy", "FORCE=1")
    rehearsal.do("the account is empty", rehearsal.take_inventory)


@contextlib.contextmanager
def broken_service(copy: Path) -> Iterator[None]:
    """Let the service of the next release end at once."""
    entry = copy / "inference/__main__.py"
    text = entry.read_text()
    entry.write_text('raise SystemExit("broken, for the rehearsal")\n')
    try:
        yield
    finally:
        entry.write_text(text)


def prerequisites(copy: Path, target: str) -> list[str]:
    """The steps of a target that does nothing but call them."""
    (line,) = re.findall(rf"^{target}: (.+?) ##", (copy / tool.MAKEFILE).read_text(), re.M)
    return str(line).split()


def main() -> int:
    """Rehearse and print the table; return 1 when a step went wrong."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    tools = stage.find_tools()
    LOG.write_text("")
    print("Rehearsing on an embedded AWS; no account is touched.", flush=True)
    with stage.set_up(tools) as scene:
        rehearsal = Rehearsal(scene, tools)
        rehearse(rehearsal)
    width = max(len(row.step) for row in rehearsal.rows)
    print(f"\n{'step':{width}}  seconds  result")
    for row in rehearsal.rows:
        print(f"{row.step:{width}}  {row.seconds:7.1f}  {row.result}")
    print(f"\nWhat the steps printed: {LOG.name}. What they asked of AWS: {stage.LOG.name}.")
    if left_out := rehearsal.skipped | tool.BEYOND:
        print("\nNot rehearsed:")
        for what, reason in left_out.items():
            print(f"  {what}: {reason}")
    return any(row.result[0].isupper() for row in rehearsal.rows)


if __name__ == "__main__":
    sys.exit(main())
