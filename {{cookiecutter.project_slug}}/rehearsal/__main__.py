"""Rehearse a deployment on an embedded AWS: ``make rehearse``.

The steps run on a copy of the project, with a separate home, credentials and proxy. Whatever the
caller's environment contains, no account can be reached: HTTPS requests go to the embedded AWS.

Exits with 0 after a complete rehearsal, 1 if a step failed, 3 if no service could run because a tool
is missing, and 130 after Ctrl-C. V=1 shows the output of the steps as they run.
"""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, NamedTuple

from rehearsal import stage, tool
from rehearsal.changes import broken_service, new_tag, other_answers
from rehearsal.stage import Stage

# Lines in which the scripts of the steps report progress.
REPORT = re.compile(r"(?!make: )[a-z-]+: |  |http:")
LOG = stage.PROJECT / "rehearsal.log"
NOT_REHEARSED = 3
INTERRUPTS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
WIDTH = len("the release before it still answers")
IS_VERBOSE = os.environ.get("V") == "1"
IS_TERMINAL = sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
# Why targets are skipped without an optional tool, and how to get it.
OPTIONAL = {
    "docker": "no Docker engine answers; start Docker to rehearse with containers in place of processes",
    "registry": "no registry stands in for ECR; start one with 'docker run --detach --publish "
    "127.0.0.1:5001:5000 registry:2' and set REHEARSAL_REGISTRY=127.0.0.1:5001",
}

# Resources that must not be left in the account after destroy.
INVENTORY = {
    "clusters": (
        f"ecs describe-clusters --clusters {tool.CLUSTER}",
        "clusters[?status=='ACTIVE'].clusterName",
    ),
    "repositories": ("ecr describe-repositories", "repositories[].repositoryName"),
    # Except service-linked roles, which the account shares.
    "roles": (
        "iam list-roles",
        "Roles[?!starts_with(Path, '/aws-service-role/')].RoleName",
    ),
    "log groups": ("logs describe-log-groups", "logGroups[].logGroupName"),
    "stacks": (
        "cloudformation list-stacks",
        "StackSummaries[?StackStatus!='DELETE_COMPLETE'].StackName",
    ),
    "buckets": ("s3api list-buckets", "Buckets[].Name"),
    "networks": ("ec2 describe-vpcs", "Vpcs[?!IsDefault].VpcId"),
    "security groups": (
        "ec2 describe-security-groups",
        "SecurityGroups[?GroupName!='default'].GroupId",
    ),
    "dashboards": ("cloudwatch list-dashboards", "DashboardEntries[].DashboardName"),
    "alarms": ("cloudwatch describe-alarms", "MetricAlarms[].AlarmName"),
    "load balancers": ("elbv2 describe-load-balancers", "LoadBalancers[].LoadBalancerName"),
    "target groups": ("elbv2 describe-target-groups", "TargetGroups[].TargetGroupName"),
    "policies": ("iam list-policies --scope Local", "Policies[].PolicyName"),
    "job queues": ("batch describe-job-queues", "jobQueues[].jobQueueName"),
    "compute environments": (
        "batch describe-compute-environments",
        "computeEnvironments[].computeEnvironmentName",
    ),
    "job definitions": (
        "batch describe-job-definitions --status ACTIVE",
        "jobDefinitions[].jobDefinitionArn",
    ),
    "task definitions": ("ecs list-task-definitions", "taskDefinitionArns"),
}


class Row(NamedTuple):
    """One line of the table."""

    step: str
    result: str
    seconds: float


class Rehearsal:
    """Runs targets on a stage and records the table."""

    def __init__(self, stage: Stage, tools: set[str]) -> None:
        self.stage = stage
        self.tools = tools
        self.rows: list[Row] = []
        # The targets skipped for each missing tool, in order.
        self.skipped: dict[str, dict[str, None]] = {}

    def make(
        self, step: str, *arguments: str, fails: bool = False, same_tasks: bool = False
    ) -> None:
        """Run targets of the copy's Makefile, except those whose tools are missing.

        ``fails``: they must fail. ``same_tasks``: they must not replace the running tasks.
        """
        runnable, without = [], set()
        for argument in arguments:
            missing = tool.NEEDS.get(argument, set()) - self.tools
            if missing:
                self.skipped.setdefault(min(missing), {})[argument] = None
                without |= missing & tool.MISSING.keys()
            else:
                runnable.append(argument)

        def run() -> str:
            if (fails and without) or all("=" in argument for argument in runnable):
                return "not rehearsed"
            tasks = self.tasks() if same_tasks else []
            result = self._make(step, runnable, fails)
            if result == "ok" and without:
                return f"in part, without {', '.join(without)}"
            if result == "ok" and same_tasks and self.tasks() != tasks:
                return "FAILED, it replaced the tasks"
            return result

        self.do(step, run)

    def _make(self, step: str, arguments: list[str], fails: bool) -> str:
        """Run make; show what the steps report, and write all output to the log."""
        command = ["make", "--no-print-directory", *arguments]
        lines = []
        with LOG.open("a", encoding="utf-8") as log:
            log.write(f"\n== {step}: make {' '.join(arguments)}\n")
            with running(command, self.stage, log) as make:
                for line in make.stdout or []:
                    lines.append(line)
                    log.write(line)
                    log.flush()
                    if REPORT.match(line):
                        show(step, line)
        if (make.returncode != 0) == fails:
            return "failed, as expected" if fails else "ok"
        clear_line()
        print(f"{step}: the last lines:\n  {'  '.join(lines[-20:])}")
        return "FAILED" if make.returncode else "SUCCEEDED, but must fail"

    def do(self, step: str, action: Callable[[], str]) -> None:
        """Run one step, and print its row of the table."""
        show(step, "...")
        started = time.monotonic()
        row = Row(step, action(), time.monotonic() - started)
        self.rows.append(row)
        clear_line()
        print(f"{row.step:{WIDTH}}  {row.seconds:7.1f}  {row.result}", flush=True)

    def tasks(self) -> list[str]:
        """Return the running tasks."""
        cluster = tool.CLUSTER.format_map(self.stage.answers)
        with contextlib.suppress(subprocess.CalledProcessError):
            return self.ask_aws(f"ecs list-tasks --cluster {cluster}", "taskArns")
        return []

    def ask_aws(self, command: str, query: str) -> list[str]:
        """Run a command of the AWS CLI on the embedded AWS, and return the queried part of its response."""
        answer = subprocess.run(
            ["aws", *command.split(), "--query", query, "--output", "json"],
            cwd=self.stage.copy,
            env=self.stage.environment,
            check=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        return json.loads(answer.stdout) or []

    def take_inventory(self) -> str:
        """Return 'ok', or the names of all resources left in the account."""
        left = []
        for name, (command, query) in INVENTORY.items():
            items = self.ask_aws(command.format_map(self.stage.answers), query)
            left += [f"{name}: {item}" for item in items]
        return "ok" if not left else f"FAILED, left: {', '.join(left)}"


def rehearse(rehearsal: Rehearsal) -> None:
    """Go from an empty account to a service, through bad releases, and back to an empty account."""
    deploy = prerequisites(rehearsal.stage.copy, "deploy")
    release = prerequisites(rehearsal.stage.copy, "release")
    rehearsal.make("deploy", *deploy)
    rehearsal.make("deploy again: nothing changes", *deploy, same_tasks=True)
    second, broken, other = map(new_tag, ("second", "broken", "other"))
    rehearsal.make("release of a new tag", *release, second)
    with broken_service(rehearsal.stage.copy):
        rehearsal.make("release that cannot start", *release, broken, fails=True)
    rehearsal.make("the release before it still answers", "smoke")
    with other_answers(rehearsal.stage.copy):
        rehearsal.make("release with different answers", *release, other, fails=True)
    rehearsal.make("rollback", "rollback")
    tool.rehearse_more(rehearsal, deploy, release)
    with files_in_s3(rehearsal) as (given, expected):
        task = ["batch-aws", f"IN={given}/0.jsonl", f"OUT={given}-0.jsonl"]
        rehearsal.make("file in S3, by a task of its own", *task)
        jobs = ["batch-aws", f"IN={given}/", f"OUT={given}-scores/", "PARTS=2"]
        rehearsal.make("files in S3, by jobs of AWS Batch", *jobs)
        places = [f"{given}-0.jsonl", *(f"{given}-scores/{name}.jsonl" for name in range(FILES))]
        rehearsal.do(
            "their answers match this machine's", lambda: compare(rehearsal, places, expected)
        )
    rehearsal.make("scale", "scale", "N=3", "ps", "releases")
    rehearsal.make("destroy", "destroy", "FORCE=1")
    rehearsal.do("the account is empty", rehearsal.take_inventory)


BUCKET = "s3://rehearsal-of-files"
ROWS = 2000
FILES = 3


@contextlib.contextmanager
def files_in_s3(rehearsal: Rehearsal) -> Iterator[tuple[str, str]]:
    """Yield a folder of identical files in a bucket, and the expected predictions for each."""
    copy, environment = rehearsal.stage.copy, rehearsal.stage.environment

    def run(*command: str) -> str:
        options = {"cwd": copy, "env": environment, "text": True, "check": True}
        # A job's progress is not for this terminal.
        with LOG.open("ab") as log:
            return subprocess.run(command, stdout=subprocess.PIPE, stderr=log, **options).stdout

    python = copy / ".venv/bin/python"
    sample = json.loads(run(str(python), "-m", "inference.expected").splitlines()[4])["instances"]
    lines = [json.dumps(instance) for instance in sample] * (ROWS // len(sample) + 1)
    (copy / "rows.jsonl").write_text("\n".join(lines))
    run(str(python), "-m", "inference", "batch", "rows.jsonl", "expected.jsonl")
    run("aws", "s3", "mb", BUCKET)
    for name in range(FILES):
        run("aws", "s3", "cp", "rows.jsonl", f"{BUCKET}/rows/{name}.jsonl")
    try:
        yield f"{BUCKET}/rows", (copy / "expected.jsonl").read_text()
    finally:
        run("aws", "s3", "rb", "--force", BUCKET)
        for name in ("rows.jsonl", "expected.jsonl"):
            (copy / name).unlink()


def compare(rehearsal: Rehearsal, places: list[str], expected: str) -> str:
    """Return 'ok' if files in S3 have the expected content."""
    if "batch-aws" in {target for left in rehearsal.skipped.values() for target in left}:
        return "not rehearsed"
    for place in places:
        answer = subprocess.run(
            ["aws", "s3", "cp", place, "-"],
            cwd=rehearsal.stage.copy,
            env=rehearsal.stage.environment,
            stdout=subprocess.PIPE,
            text=True,
        )
        if answer.stdout.split() != expected.split():
            return f"FAILED, {place} differs"
    return "ok"


def prerequisites(copy: Path, target: str) -> list[str]:
    """Return the prerequisites of a target that has no recipe."""
    (line,) = re.findall(rf"^{target}: (.+?) ##", (copy / tool.MAKEFILE).read_text(), re.M)
    return str(line).split()


@contextlib.contextmanager
def running(command: list[str], stage: Stage, log: IO[str]) -> Iterator[subprocess.Popen[str]]:
    """Run a command on the stage in its own process group, all of which ends on an interrupt."""
    process = None
    try:
        with late_interrupt():
            process = subprocess.Popen(
                command,
                cwd=stage.copy,
                env=stage.environment,
                encoding="utf-8",
                errors="replace",
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        yield process
        process.wait()
    except BaseException:
        if process:
            log.write(end_group(process))
        raise


def end_group(leader: subprocess.Popen[str]) -> str:
    """Interrupt a process group, and kill it after 5 s; return its output meanwhile."""
    output = ""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(leader.pid, signal.SIGINT)
    with contextlib.suppress(subprocess.TimeoutExpired):
        output = leader.communicate(timeout=5)[0]
    with contextlib.suppress(ProcessLookupError):
        os.killpg(leader.pid, signal.SIGKILL)
    leader.wait()
    return output


@contextlib.contextmanager
def late_interrupt() -> Iterator[None]:
    """Defer signals to the end: a process interrupted while starting could not be ended afterwards."""
    came: list[int] = []
    before = {n: signal.signal(n, lambda number, _: came.append(number)) for n in INTERRUPTS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if came:
        signal.raise_signal(came[0])


def show(step: str, line: str) -> None:
    """Show the progress of a step: on the terminal's last line, or as separate lines with V=1."""
    if IS_VERBOSE:
        print(f"{step} ..." if line == "..." else f"    {line.rstrip()}", flush=True)
    elif IS_TERMINAL:
        columns = shutil.get_terminal_size().columns - 1
        print(f"\r\x1b[K{f'{step:{WIDTH}}  {line.strip()}'[:columns]}", end="", flush=True)


def clear_line() -> None:
    """Clear the progress line before printing a permanent line."""
    if IS_TERMINAL and not IS_VERBOSE:
        print("\r\x1b[K", end="")


def report(rehearsal: Rehearsal) -> int:
    """Print skipped targets and the result; return the exit code."""
    skipped = rehearsal.skipped
    if optional := [name for name in OPTIONAL if name in skipped]:
        print("\nSkipped, because these tools are optional and missing:")
        for name in optional:
            print(f"  {', '.join(skipped[name])}: {OPTIONAL[name]}")
    if tool.BEYOND:
        print("\nCan only be tested in an account:")
        for what, reason in tool.BEYOND.items():
            print(f"  {what}: {reason}")
    print(f"\nOutput of the steps: {LOG.name}. Their calls to AWS: {stage.LOG.name}.")
    failed = [row.step for row in rehearsal.rows if row.result[0].isupper()]
    if failed:
        print(f"failed: {', '.join(failed)}")
        return 1
    for name in skipped.keys() & tool.MISSING.keys():
        print(f"not rehearsed: {', '.join(skipped[name])}; {tool.MISSING[name]}")
        return NOT_REHEARSED
    print("rehearsed: every step ended as expected")
    return 0


def interrupt(number: int, _: object) -> None:
    """Raise KeyboardInterrupt with the signal's number, and ignore further signals during cleanup."""
    for each in INTERRUPTS:
        signal.signal(each, signal.SIG_IGN)
    raise KeyboardInterrupt(number)


def main() -> int:
    """Rehearse and print the table; return the exit code."""
    if missing := stage.missing_tools():
        print("A rehearsal needs", *missing, sep="\n  ", file=sys.stderr)
        return 1
    tools = stage.find_tools()
    LOG.write_text("")
    print("Rehearsing on an embedded AWS; no account is touched.", flush=True)
    for name in sorted(tool.MISSING.keys() - tools):
        print(tool.MISSING[name], flush=True)
    with stage.set_up(tools) as scene:
        rehearsal = Rehearsal(scene, tools)
        print(f"\n{'step':{WIDTH}}  seconds  result")
        rehearse(rehearsal)
    return report(rehearsal)


if __name__ == "__main__":
    for number in INTERRUPTS:
        signal.signal(number, interrupt)
    try:
        sys.exit(main())
    except KeyboardInterrupt as interruption:
        (signal_number,) = interruption.args
        clear_line()
        # The sender of another signal needs no message.
        if signal_number == signal.SIGINT:
            print(f"Stopped; nothing is left but {LOG.name} and {stage.LOG.name}.")
        sys.exit(128 + signal_number)
