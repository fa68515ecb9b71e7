"""``make rehearse``: a complete deployment on an embedded AWS."""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import tempfile
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pexpect
import pytest
from conftest import environment_with
from test_deploy import open_account

pytestmark = pytest.mark.slow

NO_ENGINES = {"DOCKER": "no-docker", "ECS_CLI": "no-ecs-cli"}
REHEARSE = ("rehearsal/.venv/bin/python", "-E", "-m", "rehearsal")


def results(output):
    """Return the table: each step with its result."""
    table = output.split("seconds  result\n")[1]
    return dict(re.findall(r"^(\S.*?) +[0-9.]+  (\S.*)$", table, re.MULTILINE))


def processes_of(folder):
    """Return the command lines of the processes that work in a folder, or name it."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            if str(folder) in command or str(folder) in os.readlink(process / "cwd"):
                found.append(command)
    return found


def test_rehearsal_without_ecs_cli_says_so_first_and_is_not_green(installed):
    result = installed.run(*REHEARSE, **NO_ENGINES)
    assert result.returncode == 3, result.stderr
    before, _ = result.stdout.split("seconds  result\n")
    assert "without it no service runs: 'make ecs-cli' installs it" in before
    steps = results(result.stdout)
    assert steps["deploy"] == "in part, without ecs-cli"
    assert steps["rollback"] == "not rehearsed"
    assert steps["the account is empty"] == "ok"
    assert result.stdout.splitlines()[-1].startswith("not rehearsed: ecs-configure, ")
    assert "doctor, docker-build: no Docker engine answers; start Docker" in result.stdout
    assert "image-scan: no registry stands in for ECR; start one with" in result.stdout
    assert installed.run("make", "rehearse", **NO_ENGINES).returncode != 0


def test_rehearsal_fails_if_a_step_does(installed):
    script = installed.path / "deploy" / "iam-role.sh"
    text = script.read_text()
    script.write_text(text + "echo 'no such luck'\nfalse\n")
    try:
        result = installed.run(*REHEARSE, **NO_ENGINES)
    finally:
        script.write_text(text)
    assert result.returncode == 1
    assert results(result.stdout)["deploy"] == "FAILED"
    assert "  no such luck\n" in result.stdout
    assert result.stdout.splitlines()[-1].startswith("failed: deploy, ")


def test_rehearsal_is_complete_whatever_the_environment_holds(installed, ecs_cli, tmp_path):
    dead = "http://127.0.0.1:1"
    (tmp_path / "python").mkdir()
    (tmp_path / "python/sitecustomize.py").write_text("raise SystemExit('PYTHONPATH was read')\n")
    # Another disk if there is one, and a path that is too long for a socket.
    disk = "/dev/shm" if os.access("/dev/shm", os.W_OK) else str(tmp_path)
    with tempfile.TemporaryDirectory(prefix="x" * 100, dir=disk) as folder:
        environment = {
            **environment_with(DOCKER="no-docker", ECS_CLI=ecs_cli, V="1"),
            "TMPDIR": folder,
            "HOME": "/proc",
            "LC_ALL": "C",
            **dict.fromkeys(("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY"), dead),
            "all_proxy": dead,
            "no_proxy": "nobody",
            "AWS_PROFILE": "nobody",
            "AWS_CONFIG_FILE": "/nowhere",
            "AWS_ENDPOINT_URL": dead,
            "AWS_REGION": "mars-1",
            "GIT_DIR": "/nowhere",
            "PYTHONPATH": str(tmp_path / "python"),
            "PYTHONSAFEPATH": "1",
            "BASH_ENV": "/nowhere",
            "MAKEFLAGS": "n",
            "POLL_SECONDS": "1000",
            "IMAGE": "nothing",
        }
        done = subprocess.run(
            REHEARSE,
            cwd=installed.path,
            env=environment,
            umask=0o077,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        steps = results(done.stdout)
        assert steps["release that cannot start"] == "failed, as expected"
        assert set(steps.values()) == {"ok", "failed, as expected"}
        assert len(steps) == 13
        assert done.stdout.splitlines()[-1] == "rehearsed: every step ended as expected"
        assert not os.listdir(folder)


@pytest.mark.parametrize("when", ["deploy  ", "ecr-create: ", "destroy: "])
def test_ctrl_c_ends_a_rehearsal_in_one_line_and_leaves_nothing_behind(installed, tmp_path, when):
    environment = {**environment_with(**NO_ENGINES), "TMPDIR": str(tmp_path), "TERM": "xterm"}
    rehearsal = pexpect.spawn(
        str(installed.path / REHEARSE[0]),
        list(REHEARSE[1:]),
        cwd=str(installed.path),
        env=environment,
        encoding="utf-8",
        timeout=120,
        dimensions=(50, 200),
    )
    rehearsal.expect_exact(when)
    rehearsal.sendintr()
    rehearsal.expect_exact("Stopped; nothing is left but rehearsal.log and rehearsal-aws.log.")
    rehearsal.expect(pexpect.EOF)
    rehearsal.close()
    assert rehearsal.exitstatus == 130
    assert rehearsal.before.strip() == ""
    for log in ("rehearsal.log", "rehearsal-aws.log"):
        assert "Traceback" not in installed.read(log)
    assert not processes_of(tmp_path)
    assert not list(tmp_path.iterdir())


def test_killed_rehearsal_leaves_no_process(installed, tmp_path):
    with subprocess.Popen(
        REHEARSE,
        cwd=installed.path,
        env={**environment_with(**NO_ENGINES), "TMPDIR": str(tmp_path), "V": "1"},
        stdout=subprocess.PIPE,
        text=True,
    ) as rehearsal:
        assert any("ecr-create: " in line for line in rehearsal.stdout)
        rehearsal.kill()
    for attempt in range(600):
        if not processes_of(tmp_path):
            break
        time.sleep(0.1)
        assert attempt < 599, processes_of(tmp_path)


HALF_STARTED = """
import os, signal, subprocess, sys, types
from pathlib import Path
from rehearsal.__main__ import running

start = subprocess.Popen._execute_child

def interrupted(*arguments):
    start(*arguments)
    signal.raise_signal(signal.SIGINT)

subprocess.Popen._execute_child = interrupted
stage = types.SimpleNamespace(copy=Path(sys.argv[1]), environment=dict(os.environ))
with running(["sleep", "600"], stage, sys.stdout):
    pass
"""


def test_signal_while_a_rehearsal_starts_a_process_ends_the_process(installed, tmp_path):
    result = installed.run(*REHEARSE[:2], "-c", HALF_STARTED, str(tmp_path))
    assert "KeyboardInterrupt" in result.stderr
    assert not processes_of(tmp_path)


def test_embedded_aws_responds_with_its_output_unread(installed, tmp_path):
    with subprocess.Popen(
        [*REHEARSE[:-1], "rehearsal.embedded_aws", tmp_path],
        cwd=installed.path,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        pipesize=4096,
    ) as server:
        proxy = {"http": f"http://127.0.0.1:{server.stdout.readline().strip()}"}
        opener = urllib.request.build_opener(urllib.request.ProxyHandler(proxy))
        question = b"Action=GetCallerIdentity&Version=2011-06-15"
        for _ in range(200):
            with opener.open("http://sts.us-east-1.amazonaws.com/", question, timeout=30) as answer:
                assert b"<Account>" in answer.read()
        server.stdin.close()


@pytest.fixture(scope="module")
def account(installed):
    with open_account(installed) as account:
        yield account


def call(account, *arguments, folder=None, stdin="", **variables):
    """Call ``aws`` as a step does; return exit code and output."""
    done = subprocess.run(
        ["aws", *arguments],
        cwd=folder or account.path,
        env={**account.environment, **variables},
        input=stdin,
        capture_output=True,
        text=True,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
    "command",
    [
        "--version",
        "nonsense",
        "ecs",
        "ecs describe-services",
        "ecs describe-services --cluster nobody --services nothing",
        "cloudformation describe-stacks --stack-name nobody",
        "sts get-caller-identity --output text",
        "ec2 describe-instance-types",
        "sts get-caller-identity --endpoint-url http://127.0.0.1:1 --no-cli-pager",
        "iam get-role --role-name \x80\N{SNOWMAN}",
    ],
)
def test_warm_aws_responds_like_the_aws_cli_itself(account, installed, command):
    warm = call(account, *command.split())
    path = f"{installed.path / 'rehearsal/.venv/bin'}{os.pathsep}{account.environment['PATH']}"
    assert warm == call(account, *command.split(), PATH=path)
    if command.startswith("ec2"):
        assert len(warm[1]) > 1_000_000


def test_warm_aws_reads_stdin(account, tmp_path):
    answers = "key\nsecret\nmars-1\ntext\n"
    code, output, _ = call(account, "configure", stdin=answers, HOME=str(tmp_path))
    assert code == 0
    assert output.startswith("AWS Access Key ID [")
    assert "region = mars-1\noutput = text\n" in (tmp_path / ".aws/config").read_text()


def test_concurrent_calls_of_the_warm_aws_have_their_own_folder_and_environment(account, tmp_path):
    def ask(number):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "in.json").write_text(json.dumps({"clusters": [f"cluster-{number}"]}))
        command = ("ecs", "describe-clusters", "--cli-input-json", "file://in.json")
        region = f"eu-west-{1 + number % 3}"
        code, output, _ = call(account, *command, folder=folder, AWS_DEFAULT_REGION=region)
        return code, json.loads(output)["failures"][0]["arn"]

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(ask, range(24)))
    for number, (code, arn) in enumerate(answers):
        assert code == 0
        assert f"eu-west-{1 + number % 3}" in arn
        assert arn.endswith(f"cluster-{number}")


def test_warm_aws_exits_if_its_output_is_closed(account, installed):
    script = "aws ec2 describe-instance-types | head -c 1; echo ${PIPESTATUS[0]}"

    def end(path):
        environment = {**account.environment, "PATH": path}
        return subprocess.run(["bash", "-c", script], env=environment, capture_output=True)

    warm, path = account.environment["PATH"], installed.path / "rehearsal/.venv/bin"
    done, cold = end(warm), end(f"{path}{os.pathsep}{warm}")
    assert (done.stdout, done.stderr) == (cold.stdout, cold.stderr)
    assert done.stdout.startswith(b"{")


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (signal.SIGINT, 130),
        (signal.SIGTERM, -signal.SIGTERM),
        (signal.SIGHUP, -signal.SIGHUP),
        (signal.SIGKILL, -signal.SIGKILL),
    ],
)
def test_signal_ends_the_call_of_the_warm_aws(account, number, code):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(60)
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        process = subprocess.Popen(
            ["aws", "sts", "get-caller-identity", "--endpoint-url", url],
            env=account.environment,
            stdout=subprocess.DEVNULL,
        )
        connection, _ = silent.accept()
        with connection:
            connection.settimeout(60)
            assert connection.recv(65536)
            process.send_signal(number)
            try:
                assert process.wait(timeout=60) == code
            finally:
                process.kill()
                process.wait()
            # The call is gone, and its connection with it.
            while connection.recv(65536):
                pass


def test_signal_that_arrives_with_the_call_ends_it_silently(account):
    """Nothing is printed to the terminal: a call that ends with a traceback has exit code 1."""
    folder = account.environment["PATH"].split(os.pathsep)[0]
    environment = [f"{name}={value}" for name, value in account.environment.items()]
    words = [str(account.path), "2", "ecs", "help", *environment]
    request = "\0".join(words).encode()
    with Path(os.devnull).open("r+b") as nothing:
        for _ in range(50):
            with socket.socket(socket.AF_UNIX) as server:
                server.settimeout(60)
                server.connect(f"{folder}/aws.socket")
                files = [nothing.fileno()] * 3
                socket.send_fds(server, [len(request).to_bytes(4, "big")], files)
                server.sendall(request + bytes([signal.SIGINT]))
                assert server.recv(2) == bytes([128 + signal.SIGINT, 0])
