"""The stage of a rehearsal: a copy of the project, a separate environment, an embedded AWS."""

import contextlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from rehearsal import tool
from rehearsal.warm_aws import warm_aws

PROJECT = Path(__file__).parent.parent
BIN = Path(sys.executable).parent
DOCKER = os.environ.get("DOCKER", "docker")
LOG = PROJECT / "rehearsal-aws.log"
MAKE_VARIABLE = re.compile(r"^export (\w+) := (.+)$", re.MULTILINE)

# Tools that every rehearsal needs; Debian's packages have the same names.
NEEDED = ("bash", "git", "make")
INSTALLERS = ("apt-get install", "dnf install", "apk add", "pacman -S", "brew install")

# Settings that locate tools; nothing else from the caller's environment reaches a step.
KEPT = {
    "BASE_IMAGE",
    "DOCKER_BUILDKIT",
    "DOCKER_CERT_PATH",
    "DOCKER_HOST",
    "DOCKER_TLS_VERIFY",
    "LANG",
    "PLATFORM",
    "TERM",
    *tool.KEPT,
}


class Stage(NamedTuple):
    """The folder and environment in which targets run, and the project's answers by their make variables."""

    copy: Path
    environment: dict[str, str]
    answers: dict[str, str]


@contextlib.contextmanager
def set_up(tools: set[str]) -> Iterator[Stage]:
    """Run an embedded AWS next to a copy of the project; clean up both."""
    with contextlib.ExitStack() as stack:
        temporary = tempfile.TemporaryDirectory(prefix="rehearsal-", ignore_cleanup_errors=True)
        folder = Path(stack.enter_context(temporary))
        environment = make_environment(folder, tools)
        copy = copy_project(folder / "project", environment)
        answers = dict(MAKE_VARIABLE.findall((copy / "Makefile").read_text()))
        stage = Stage(copy, environment, answers)
        if "docker" in tools:
            stack.enter_context(remove_new_images(answers["ECR_REPOSITORY"]))
        if own := shutil.which(os.environ.get("REHEARSAL_AWS", "")):
            (folder / "aws").mkdir()
            (folder / "aws" / "aws").symlink_to(own)
            environment["PATH"] = f"{folder / 'aws'}{os.pathsep}{environment['PATH']}"
        else:
            stack.enter_context(warm_aws(folder / "aws", environment))
        stack.enter_context(embedded_aws(stage, containers="docker" in tools))
        yield stage


def missing_tools() -> list[str]:
    """Return the missing tools, each with the command that installs it."""
    found = (command for command in INSTALLERS if shutil.which(command.split()[0]))
    installer = next(found, "install the package")
    return [f"{name}: {installer} {name}" for name in NEEDED if not shutil.which(name)]


def find_tools() -> set[str]:
    """Return which of the optional tools are installed."""
    tools = tool.find_tools()
    with contextlib.suppress(OSError):
        if subprocess.run([DOCKER, "info"], capture_output=True).returncode == 0:
            tools.add("docker")
            if os.environ.get("REHEARSAL_REGISTRY"):
                tools.add("registry")
    return tools


def make_environment(folder: Path, tools: set[str]) -> dict[str, str]:
    """Return an environment with only those of the caller's settings that locate tools.

    Home and temporary files are below ``folder``. git reads no configuration, not even the system's.
    """
    home, temporary, certificates = folder / "home", folder / "tmp", folder / "certificates"
    for new in (home, temporary, certificates):
        new.mkdir()
    environment = {name: value for name, value in os.environ.items() if name in KEPT} | {
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(home),
        "TMPDIR": str(temporary),
        "DOCKER": DOCKER,
        "GIT_CONFIG_NOSYSTEM": "1",
        "AWS_ACCESS_KEY_ID": "rehearsal",
        "AWS_SECRET_ACCESS_KEY": "rehearsal",
        "AWS_CA_BUNDLE": str(certificates / "ca.crt"),
        "SSL_CERT_FILE": str(certificates / "ca.crt"),
        "AWS_EC2_METADATA_DISABLED": "true",
        "HTTPS_PROXY": "http://127.0.0.1:1",
        "POLL_SECONDS": "0.5",
    }
    if "docker" in tools:
        environment.setdefault("DOCKER_HOST", docker_host())
    else:
        environment["SAMPLE_COMMAND"] = ".venv/bin/python -m inference.expected"
    if "registry" in tools:
        environment["ECR_REGISTRY"] = os.environ["REHEARSAL_REGISTRY"]
        environment["MANIFEST_OPTIONS"] = os.environ.get("MANIFEST_OPTIONS", "--insecure")
    else:
        environment |= tool.NO_REGISTRY
    return environment


def copy_project(copy: Path, environment: dict[str, str]) -> Path:
    """Copy the project into a repository with one commit; share only the installed packages."""
    ignored = shutil.ignore_patterns(
        ".git", ".venv", ".aws-cli", ".env", "*.log", "__pycache__", ".*_cache"
    )
    shutil.copytree(PROJECT, copy, ignore=ignored)
    (copy / ".venv").symlink_to(PROJECT / ".venv")
    git = ["git", "-c", "user.name=rehearsal", "-c", "user.email=rehearsal@localhost"]
    for command in (
        ["init", "--quiet", "--initial-branch=main", "--template="],
        ["add", "."],
        ["commit", "--quiet", "--message=rehearsal"],
    ):
        subprocess.run([*git, *command], cwd=copy, env=environment, check=True)
    return copy


def docker_host() -> str:
    """Return the address of the caller's Docker engine: the rehearsal's home has no Docker contexts."""
    show = ["context", "inspect", "--format", "{{.Endpoints.docker.Host}}"]
    answer = subprocess.run([DOCKER, *show], text=True, stdout=subprocess.PIPE)
    return answer.stdout.strip()


@contextlib.contextmanager
def embedded_aws(stage: Stage, containers: bool) -> Iterator[None]:
    """Run the embedded AWS, and point the stage's environment to it.

    It exits when its stdin ends, so it never outlives this process.
    """
    copy, environment, answers = stage
    folder = str(Path(environment["AWS_CA_BUNDLE"]).parent)
    options = [folder, "containers"] if containers else [folder]
    with (
        LOG.open("w") as log,
        subprocess.Popen(
            [sys.executable, "-m", "rehearsal.embedded_aws", *options],
            cwd=copy,
            env={**environment, "MOTO_ACCOUNT_ID": answers["AWS_ACCOUNT_ID"]},
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            start_new_session=True,
        ) as server,
    ):
        port = server.stdout.readline().strip() if server.stdout else ""
        if not port:
            sys.exit(f"The embedded AWS did not start:\n{LOG.read_text()}")
        environment |= {
            "HTTPS_PROXY": f"http://127.0.0.1:{port}",
            "AWS_DEFAULT_REGION": answers["AWS_REGION"],
        }
        yield


@contextlib.contextmanager
def remove_new_images(repository: str) -> Iterator[None]:
    """Remove the images built meanwhile."""
    listing = [
        DOCKER,
        "images",
        "--format={{.Repository}}:{{.Tag}}",
        f"--filter=reference=*/{repository}",
    ]

    def images() -> set[str]:
        return set(subprocess.run(listing, text=True, stdout=subprocess.PIPE).stdout.split())

    before = images()
    try:
        yield
    finally:
        if new := images() - before:
            subprocess.run([DOCKER, "rmi", "--force", *new], stdout=subprocess.DEVNULL)
