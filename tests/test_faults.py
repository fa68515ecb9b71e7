"""Failing AWS calls and interrupted runs: nothing is assumed, nothing is left behind."""

import contextlib
import functools
import itertools
import os
import random
import re
import signal
import socket
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from conftest import IN_CI
from denials import ERRORS, Denials, is_question
from test_deploy import NETWORK, SERVICE, STEPS, open_account, put_image, wait_for_line
from test_stacks import REGION, STACK, parameters, stacks
from test_stacks import STEPS as STACK_STEPS

pytestmark = pytest.mark.slow

# The number of runs of each tool that are killed, at moments that this seed determines.
KILLS = int(os.environ.get("KILLS", "3"))
SEED = int(os.environ.get("SEED", "18"))
# The first deploy is killed where it once left what the next one did not set right.
FIRST_KILL = {"ecs-cli": "created the service"}


class Tool:
    """A deploy tool with its account, what it creates, and how to inspect the result."""

    def __init__(self, name, account, everything):
        self.name = name
        self.account = account
        self.everything = everything

    def state(self):
        """Return what a person would look at after a deploy."""
        services = self.account.aws(
            *("ecs", "describe-services", "--services", SERVICE),
            *("--cluster", self.account.cluster),
        )["services"]
        (service,) = [one for one in services if one["status"] == "ACTIVE"]
        groups = self.account.aws("logs", "describe-log-groups")["logGroups"]
        group = {"logGroupName": None, "retentionInDays": None}
        return {
            "tasks": (service["desiredCount"], service["runningCount"]),
            "rollouts": [one["rolloutState"] for one in service["deployments"]],
            "breaker": service["deploymentConfiguration"]["deploymentCircuitBreaker"],
            "logs": [{key: one.get(key) for key in group} for one in groups],
            "roles": sorted(self.account.roles()),
            # Whether it was updated since does not matter.
            "stacks": {
                name: re.sub("^(CREATE|UPDATE(_ROLLBACK)?)_COMPLETE$", "stands", status)
                for name, status in stacks(self.account).items()
            },
            "images": [
                repository["imageTagMutability"]
                for repository in self.account.aws("ecr", "describe-repositories")["repositories"]
            ],
        }

    def left(self):
        """Return what destroy must not leave behind."""
        aws = self.account.aws
        names = aws("ecs", "list-clusters")["clusterArns"] or ["none"]
        clusters = aws("ecs", "describe-clusters", "--clusters", *names)["clusters"]
        return [
            *(one["clusterName"] for one in clusters if one["status"] == "ACTIVE"),
            *self.account.roles(),
            *(one["logGroupName"] for one in aws("logs", "describe-log-groups")["logGroups"]),
            *stacks(self.account),
            *aws("ecr", "describe-repositories")["repositories"],
            *aws("ecs", "list-task-definitions")["taskDefinitionArns"],
            *aws("batch", "describe-job-queues")["jobQueues"],
            *aws("batch", "describe-compute-environments")["computeEnvironments"],
            *aws("batch", "describe-job-definitions", "--status", "ACTIVE")["jobDefinitions"],
        ]


@pytest.fixture(scope="session")
def open_tool(installed, train, ecs_cli):
    """Open an account for a deploy tool."""

    @contextlib.contextmanager
    def open_tool(name, **variables):
        if name == "ecs-cli":
            with open_account(installed, "ecs-cli", ECS_CLI=ecs_cli, **variables) as account:
                yield Tool(name, account, ("ecr-create", *STEPS))
        else:
            project = train(rehearses=True, deploy_tool=name, aws_region=REGION)
            with open_account(project, cluster=STACK, **variables) as account:
                yield Tool(name, account, STACK_STEPS)

    return open_tool


@pytest.fixture(scope="module")
def tools(open_tool):
    """Each deploy tool by its name, with a running service that was released twice."""
    with contextlib.ExitStack() as stack:

        @functools.cache
        def make(name):
            tool = stack.enter_context(open_tool(name))
            tool.account.make(*tool.everything)
            put_image(tool.account, "scanned")
            put_rows(tool.account)
            tool.account.make(RELEASE[name], IMAGE_TAG="scanned")
            return tool

        yield make


@pytest.fixture
def tool(request, tools):
    """The deploy tool that a test names; shared, since pytest would create one for each test."""
    return tools(request.param)


RELEASE = {"ecs-cli": "service-up", "cloudformation": "service-release"}
# Each target, and what must be done before it is made again.
TARGETS = {
    "ecs-cli": {
        **dict.fromkeys(NETWORK[1:], ""),
        **dict.fromkeys(("ecr-create", "url", "smoke", "scale", "releases", "image-scan"), ""),
        **dict.fromkeys(("service-up", "batch-aws", "batch-aws PARTS=2"), ""),
        "rollback": "service-up",
    },
    "cloudformation": {
        **dict.fromkeys(("bootstrap", "diff", "url", "smoke", "scale", "ps", "releases"), ""),
        **dict.fromkeys(("image-scan", "service-up", "configure", "service-release"), ""),
        "batch-aws": "",
        "batch-aws PARTS=2": "",
        "rollback": "service-release",
    },
}
BUCKET = "s3://files-of-faults"
FILE = {"IN": f"{BUCKET}/rows.jsonl", "OUT": f"{BUCKET}/scores.csv"}
FILES = {"IN": f"{BUCKET}/rows/", "OUT": f"{BUCKET}/scores/", "PARTS": "2"}
CASES = [(name, target) for name, targets in TARGETS.items() for target in targets]


def put_rows(account):
    """Put a file into S3 for a task to score."""
    code = "import json; from inference.app import create_app; app = create_app();"
    code += "print(json.dumps(app.extensions['service'].engine.card.example))"
    command = [".venv/bin/python", "-c", code]
    row = subprocess.run(command, cwd=account.path, check=True, capture_output=True).stdout
    places = [FILE["IN"], *(f"{FILES['IN']}{name}.jsonl" for name in "ab")]
    for arguments in (("mb", BUCKET), *(("cp", "-", place) for place in places)):
        subprocess.run(
            ["aws", "s3", *arguments],
            cwd=account.path,
            env=account.environment,
            input=row,
            check=True,
            capture_output=True,
        )


# The moments that a target has tested, by deploy tool and caller.
TESTED = set()


def moments(calls, is_repeated=True):
    """Yield each call at its first occurrence and, if read-only calls repeat, at a later one."""
    for call in dict.fromkeys(calls):
        yield call, 0
        if is_repeated and calls.count(call) > 1 and is_question(call):
            yield call, 1


@pytest.mark.parametrize(("tool", "target"), CASES, indirect=["tool"])
def test_failed_call_ends_the_step(tool, target, tmp_path):
    """The calls are recorded from an undisturbed run, so a new one is tested without being named here."""
    account, denials = tool.account, Denials(tool.account, tmp_path)
    prepare = TARGETS[tool.name][target]
    files = FILES if "PARTS" in target else FILE
    target = target.partition(" ")[0]
    tags = (f"{target}-{number}" for number in itertools.count())

    is_prepared = False

    def variables():
        nonlocal is_prepared
        if prepare and not is_prepared:
            account.make(prepare, IMAGE_TAG=next(tags))
            is_prepared = True
        scanned = target in {"image-scan", "smoke"}
        return {"IMAGE_TAG": "scanned" if scanned else next(tags), "N": "1"} | files

    account.make(target, **variables())
    is_prepared = False
    account.make(target, **variables(), **denials.variables())
    is_prepared = False
    calls, callers = denials.asked, denials.callers
    assert calls
    # A rollout is followed by the same queries, over and over; what several targets run is tested with the first.
    found = [
        moment
        for moment in moments(calls, is_repeated=target in RELEASE.values())
        if (tool.name, callers[moment[0]], moment) not in TESTED
    ]
    TESTED.update((tool.name, callers[call], (call, after)) for call, after in found)
    for error, (call, after) in zip(itertools.cycle(ERRORS), found, strict=False):
        process = account.start(target, **variables(), **denials.variables(call, error, after))
        output, _ = process.communicate(timeout=600)
        changes = [one for one in denials.asked if not is_question(one)]
        if call in changes:
            changes.remove(call)
        is_prepared = not changes
        if denials.asked.count(call) <= after:
            # A query that repeats until something has happened.
            continue
        assert process.returncode != 0, (call, after, output)
        assert error in output, (call, after)
        if is_question(call):
            # Nothing may follow from a call that failed; a change set is deleted.
            place = [place for place, one in enumerate(denials.asked) if one == call][after]
            done = set(denials.asked[place + 1 :]) - {call}
            assert done <= {"cloudformation delete-change-set"}, (call, done)
        answered = [one for one in denials.asked if one != call]
        made, executed, deleted = (
            answered.count(f"cloudformation {verb}-change-set")
            for verb in ("create", "execute", "delete")
        )
        assert made == executed + deleted or call == "cloudformation delete-change-set", call
    account.make(target, **variables())


@pytest.mark.parametrize("tool", ["cloudformation"], indirect=True)
def test_job_distinguishes_failed_rows_from_unfinished_parts(tool):
    account = tool.account

    def s3(*arguments, text=""):
        command = ["aws", "s3", *arguments]
        return subprocess.run(
            command, env=account.environment, input=text, check=True, capture_output=True, text=True
        ).stdout

    wrong = {**FILES, "IN": f"{BUCKET}/wrong/", "OUT": f"{BUCKET}/answers/"}
    s3("cp", FILE["IN"], f"{wrong['IN']}a.jsonl")
    s3("cp", "-", f"{wrong['IN']}b.jsonl", text="nonsense\n")
    output = account.fails("batch-aws", **wrong)
    assert f"wrote {wrong['OUT']}, and files that end with .errors.csv" in output
    assert s3("cp", f"{wrong['OUT']}a.jsonl", "-")
    assert s3("cp", f"{wrong['OUT']}b.jsonl.errors.csv", "-").splitlines()[1].startswith("0,")
    one = {"IN": f"{wrong['IN']}b.jsonl", "OUT": f"{BUCKET}/answers.csv"}
    assert "answers.csv.errors.csv, which lists the rows" in account.fails("batch-aws", **one)
    one["IN"] = f"{BUCKET}/none.csv"
    assert "the task ended with 2: " in account.fails("batch-aws", **one)
    output = account.fails("batch-aws", **{**wrong, "OUT": "s3://nowhere-at-all/x/"})
    assert "these parts are not done" in output
    assert re.search(r"^  \S+:1\t2\t", output, re.MULTILINE), output
    assert "PARTS=0 must be a number from 1 to 10000" in account.fails(
        "batch-aws", **{**wrong, "PARTS": "0"}
    )


@pytest.mark.parametrize("name", TARGETS)
def test_failed_destroy_is_reported_and_completed_by_the_next(open_tool, name, tmp_path):
    with open_tool(name) as tool:
        account, denials = tool.account, Denials(tool.account, tmp_path)
        account.make(*tool.everything)
        put_rows(account)
        account.make("batch-aws", **FILES)
        account.make("destroy", "FORCE=1", **denials.variables())
        calls = denials.asked
        assert tool.left() == []
        account.make(*tool.everything)
        account.make("batch-aws", **FILES)
        # In call order, each run gets as far as the next call.
        for error, (call, after) in zip(itertools.cycle(ERRORS), moments(calls), strict=False):
            process = account.start("destroy", "FORCE=1", **denials.variables(call, error, after))
            output, _ = process.communicate(timeout=600)
            if denials.asked.count(call) > after:
                assert process.returncode != 0, (call, output)
                assert error in output, call
                assert "nothing of" not in output, call
        account.make("destroy", "FORCE=1")
        assert tool.left() == []


@contextlib.contextmanager
def closing_proxy(proxy, closed):
    """Yield a proxy in front of ``proxy`` that refuses connections to hosts of the services in ``closed``."""

    class Handler(BaseHTTPRequestHandler):
        def do_CONNECT(self):
            if self.path.split(".")[0] in closed:
                self.send_error(503)
                return
            host, port = proxy.removeprefix("http://").split(":")
            with socket.create_connection((host, int(port))) as onward:
                onward.sendall(f"CONNECT {self.path} HTTP/1.1\r\n\r\n".encode())
                back = threading.Thread(target=pump, args=(onward, self.connection))
                back.start()
                pump(self.connection, onward)
                back.join()

        def log_message(self, *arguments):
            pass

    def pump(source, target):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize("tool", ["ecs-cli"], indirect=True)
@pytest.mark.parametrize("service", ["ecs", "cloudformation", "logs"])
def test_service_that_ecs_cli_cannot_reach_ends_the_step(tool, service, tmp_path):
    account = tool.account
    closed = set()
    with closing_proxy(account.environment["HTTPS_PROXY"], closed) as proxy:
        wrapper = tmp_path / "ecs-cli"
        real = account.environment["ECS_CLI"]
        wrapper.write_text(f'#!/bin/sh\nHTTPS_PROXY={proxy} exec "{real}" "$@"\n')
        wrapper.chmod(0o755)
        tag = f"by-proxy-{service}"
        given = {"ECS_CLI": str(wrapper), "IMAGE_TAG": tag}
        account.make("service-up", **given)
        before = account.service()["taskDefinition"]
        closed.add(service)
        process = account.start("service-up", **{**given, "IMAGE_TAG": f"{tag}-2"})
        output, _ = process.communicate(timeout=600)
        if service == "ecs":
            assert process.returncode != 0, output
            assert account.service()["taskDefinition"] == before
        closed.clear()
        account.make("service-up", "smoke", **{**given, "IMAGE_TAG": f"{tag}-2"})


@pytest.mark.parametrize("name", TARGETS)
def test_run_killed_at_any_moment_is_completed_by_the_next(open_tool, name):
    chance = random.Random(SEED)  # noqa: S311 # not for secrets
    with open_tool(name) as tool:
        account = tool.account
        account.make(*tool.everything)
        clean = tool.state()
        assert tool.state()["rollouts"] == ["COMPLETED"]
        for number in range(KILLS):
            # Deploy from nothing, release, and destroy in turn.
            if number % 3 == 0:
                account.make("destroy", "FORCE=1")
                targets = tool.everything
            elif number % 3 == 1:
                account.make(*tool.everything)
                targets = (RELEASE[name],)
            else:
                account.make(*tool.everything)
                targets = ("destroy", "FORCE=1")
            process = account.start(*targets, IMAGE_TAG=f"killed-{number}")
            lines = chance.randrange(1, 12)
            if number == 0 and name in FIRST_KILL:
                wait_for_line(process, FIRST_KILL[name])
            else:
                for _ in zip(range(lines), process.stdout, strict=False):
                    pass
                # Somewhere within the announced step.
                threading.Event().wait(chance.random())
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            account.make(*tool.everything)
            assert tool.state() == clean, (number, targets, lines)
        account.make("destroy", "FORCE=1")
        assert tool.left() == []
        # What is gone is not deleted again.
        assert ": deleted" not in account.make("destroy", "FORCE=1")


@pytest.fixture
def neighbours(installed, train, ecs_cli):
    """Two ecs-cli projects in one account."""
    other = train(
        rehearses=True, aws_region=REGION, project_slug="ml-inference", cluster_name=SERVICE
    )
    with open_account(installed, "ecs-cli", ECS_CLI=ecs_cli) as account:
        yield account, account.beside(other)


def test_two_projects_share_a_cluster_from_start_to_finish(neighbours):
    for first, second in (neighbours, neighbours[::-1]):
        both = [project.start("ecr-create", *STEPS) for project in (first, second)]
        for process in both:
            output, _ = process.communicate(timeout=600)
            assert process.returncode == 0, output
        for project in (first, second):
            assert "predicts" in project.make("smoke")
        output = first.make("destroy", "FORCE=1")
        kept = f"kept cluster {SERVICE} and its network, because other services or tasks"
        assert kept in output
        assert "predicts" in second.make("smoke")
        assert "deleted the cluster and its network" in second.make("destroy", "FORCE=1")
        assert not first.roles()
        assert not first.aws("logs", "describe-log-groups")["logGroups"]
        assert not first.aws("cloudformation", "describe-stacks")["Stacks"]


FOREIGN = {
    "iam-role": (
        *("iam", "create-role", "--assume-role-policy-document", "{}"),
        *("--role-name", f"{SERVICE}-task"),
    ),
    "log-group": ("logs", "create-log-group", "--log-group-name", f"/ecs/{SERVICE}"),
}


@pytest.mark.parametrize("target", FOREIGN)
def test_existing_resources_are_left_alone(open_tool, target):
    with open_tool("ecs-cli") as tool:
        account = tool.account
        account.aws(*FOREIGN[target])
        output = account.fails(target)
        assert (
            "was not created by this project's steps, so it stays unchanged: delete it, or"
            in output
        )
        assert "was not created by these steps" in account.make("destroy", "FORCE=1")
        assert len(tool.left()) == 1


# User settings that change what the AWS CLI requests, prints or waits for.
AWS_CONFIG = """[default]
region = ap-southeast-2
output = table
cli_pager = less
cli_auto_prompt = on-partial
cli_error_format = json
cli_timestamp_format = wire
cli_history = enabled
retry_mode = legacy
max_attempts = 1
"""


@pytest.fixture(scope="session")
def version_2():
    """Debian's AWS CLI, which is version 2."""
    aws = "/usr/bin/aws"
    if not os.path.exists(aws):
        reason = "needs version 2 of the AWS CLI: apt-get install awscli"
        pytest.fail(reason) if IN_CI else pytest.skip(reason)
    return aws


@pytest.mark.parametrize("name", TARGETS)
def test_aws_cli_version_2_and_user_settings_give_the_same_run(
    open_tool, version_2, name, tmp_path
):
    config = tmp_path / "config"
    config.write_text(AWS_CONFIG)
    with open_tool(name, REHEARSAL_AWS=version_2) as tool:
        account = tool.account
        given = {"AWS_CONFIG_FILE": str(config)}
        account.make(*tool.everything, **given)
        assert re.search(r"^runs +20\d\d-", account.make("releases", **given), re.MULTILINE)
        output = account.fails(RELEASE[name], "AWS_ACCOUNT_ID=999999999999", **given)
        assert "the credentials belong to account 123456789012" in output
        account.make("destroy", "FORCE=1", **given)
        assert tool.left() == []


def test_stepwise_release_works_with_an_aws_cli_that_cannot_report_it(open_tool, version_2):
    with open_tool("cloudformation", REHEARSAL_AWS=version_2) as tool:
        tool.account.make(*tool.everything)
        canary = {"DeploymentStrategy": "CANARY", "StepMinutes": "1", "BakeMinutes": "1"}
        with parameters(tool.account, **canary):
            output = tool.account.make("service-up")
        assert "note: this AWS CLI is too old to show how the requests move" in output
        assert "is UPDATE_COMPLETE" in output
