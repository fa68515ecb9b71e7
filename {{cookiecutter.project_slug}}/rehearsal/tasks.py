"""Tasks that really run: as a container, or as a process of this project without Docker."""

import os
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from moto.ec2.models import ec2_backends
from moto.logs.models import logs_backends
from moto.secretsmanager.models import secretsmanager_backends
from moto.ssm.models import ssm_backends

PROJECT = Path(__file__).parent.parent
# Generous, since startup is slow on a busy machine.
SECONDS_TO_START = 120


class LaunchError(Exception):
    """Raised if a task cannot be started; the message is the reason that ECS would give."""


def environment(revision: Any) -> dict[str, str]:
    """Return the environment that a task definition gives its container; raises LaunchError.

    Like in ECS, secrets come from the parameter store, by name or ARN, or from Secrets Manager.
    """
    container = revision.container_definitions[0]
    given = {item["name"]: item["value"] for item in container.get("environment", [])}
    region, account = revision.arn.split(":")[3:5]
    for item in container.get("secrets", []):
        source = item["valueFrom"]
        try:
            if ":secretsmanager:" in source:
                secrets = secretsmanager_backends[account][region]
                given[item["name"]] = secrets.get_secret_value(source, "", "")["SecretString"]
            else:
                name = source.rpartition(":parameter")[2]
                parameter = ssm_backends[account][region].get_parameter(name)
                given[item["name"]] = parameter.decrypt(parameter.value)
        except Exception as error:
            reason = f"ResourceInitializationError: unable to pull secrets: {source}: {error!r}"
            raise LaunchError(reason) from error
    return given


def account_of(revision: Any) -> dict[str, str]:
    """Return the variables a task needs to reach the embedded AWS, in place of Fargate's role and network."""
    return {
        "AWS_ACCESS_KEY_ID": "task",
        "AWS_SECRET_ACCESS_KEY": "task",
        "AWS_REGION": revision.arn.split(":")[3],
        "HTTPS_PROXY": f"http://127.0.0.1:{os.environ['MOTO_PORT']}",
        "SSL_CERT_FILE": os.environ["SSL_CERT_FILE"],
    }


class Process:
    """The service as a local process, with the environment of the task definition."""

    def __init__(
        self, revision: Any, address: str, port: int, arguments: Sequence[str] = ()
    ) -> None:
        given = environment(revision) | (account_of(revision) if arguments else {})
        self._log = (PROJECT / f"rehearsal-{address}.log").open("w+")
        self._process = subprocess.Popen(
            [PROJECT / ".venv/bin/python", "-m", "inference", *arguments],
            cwd=PROJECT,
            env={
                "PATH": os.environ["PATH"],
                # A task has its own disk; files in the copy of the project would be changes to git.
                "TMPDIR": tempfile.mkdtemp(),
                **given,
                "HOST": address,
                "PORT": str(port),
            },
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )

    def exit_code(self) -> int | None:
        """Return the exit code, or None while it runs."""
        return self._process.poll()

    def stop(self) -> None:
        """Stop it like ECS: SIGTERM, then SIGKILL if needed."""
        self._process.terminate()
        try:
            self._process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def log(self) -> str:
        """Return its output."""
        self._log.seek(0)
        return self._log.read()


class Container:
    """The service as a container, with the size and limits of the task definition.

    If a registry stands in for ECR, the image is pulled from it, like in ECS.
    """

    def __init__(
        self, revision: Any, address: str, port: int, arguments: Sequence[str] = ()
    ) -> None:
        container = revision.container_definitions[0]
        capabilities = container.get("linuxParameters", {}).get("capabilities", {})
        self._seconds_to_stop = container.get("stopTimeout", 30)
        given = environment(revision)
        options = [f"--publish={address}:{port}:{port}"]
        if arguments:
            # The embedded AWS listens on the loopback address of this machine.
            given |= account_of(revision)
            certificate = given["SSL_CERT_FILE"]
            options = ["--network=host", f"--volume={certificate}:{certificate}:ro"]
        options += [
            f"--cpus={int(revision.cpu) / 1024}",
            f"--memory={revision.memory}m",
            *(f"--env={name}={value}" for name, value in given.items()),
            *(f"--cap-drop={name}" for name in capabilities.get("drop", [])),
        ]
        if "ECR_REGISTRY" in os.environ:
            options.append("--pull=always")
        if container.get("readonlyRootFilesystem"):
            options.append("--read-only")
        if container.get("user"):
            options.append(f"--user={container['user']}")
        name = f"rehearsal-{uuid.uuid4().hex[:12]}"
        command = ["run", f"--name={name}", "--detach", "--init", *options]
        try:
            docker(*command, container["image"], *arguments)
        except subprocess.CalledProcessError as error:
            docker("rm", "--force", name, check=False)
            raise LaunchError(f"CannotStartContainerError: {error.stdout.strip()}") from error
        self._name = name

    def exit_code(self) -> int | None:
        """Return the exit code, or None while it runs."""
        state = docker("inspect", "--format={{.State.Running}} {{.State.ExitCode}}", self._name)
        running, code = state.split()
        return None if running == "true" else int(code)

    def stop(self) -> None:
        """Stop and remove it."""
        docker("stop", f"--time={self._seconds_to_stop}", self._name)
        docker("rm", "--force", self._name)

    def log(self) -> str:
        """Return its output."""
        return docker("logs", self._name)


Launched = Container | Process


def docker(*arguments: str, check: bool = True) -> str:
    """Run a Docker command and return its output."""
    return subprocess.run(
        [os.environ["DOCKER"], *arguments],
        check=check,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ).stdout


def wait_until_ready(
    launched: Launched, address: str, port: int, is_closing: Callable[[], bool]
) -> str | None:
    """Return None once ``GET /ping`` returns 200, or else the reason why it does not."""
    deadline = time.monotonic() + SECONDS_TO_START
    while time.monotonic() < deadline and not is_closing():
        code = launched.exit_code()
        if code is not None:
            return f"Essential container in task exited with code {code}"
        if answers(address, port):
            return None
        time.sleep(0.1)
    return f"Task did not answer within {SECONDS_TO_START} seconds"


def answers(address: str, port: int) -> bool:
    """Whether the service at this address reports that it is up."""
    connection = HTTPConnection(address, port, timeout=5)
    try:
        connection.request("GET", "/ping")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def keep_log(revision: Any, name: str, text: str) -> None:
    """Write the output of a task to its log group, where ``aws logs`` finds it."""
    container = revision.container_definitions[0]
    options = container["logConfiguration"]["options"]
    region, account = revision.arn.split(":")[3:5]
    backend = logs_backends[account][region]
    group = options["awslogs-group"]
    if group not in backend.groups:
        return
    stream = f"{options['awslogs-stream-prefix']}/{container['name']}/{name}"
    backend.create_log_stream(group, stream)
    now = int(datetime.now(UTC).timestamp() * 1000)
    events = [{"timestamp": now, "message": line} for line in text.splitlines()]
    backend.put_log_events(group, stream, events)


def interface_id(task: Any) -> str:
    """Return the id of a task's network interface."""
    details = {item["name"]: item["value"] for item in task.attachments[0]["details"]}
    return str(details["networkInterfaceId"])


def interfaces(task: Any) -> dict[str, Any]:
    """Return all network interfaces in a task's account and region, by id."""
    enis: dict[str, Any] = ec2_backends[task._account_id][task.region_name].enis
    return enis
