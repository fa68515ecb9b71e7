"""What a rehearsal plays on: a copy of the project, an environment of its own, an embedded AWS."""

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

from moto.moto_proxy.proxy3 import CertificateCreator

from rehearsal import tool

PROJECT = Path(__file__).parent.parent
BIN = Path(sys.executable).parent
DOCKER = os.environ.get("DOCKER", "docker")
LOG = PROJECT / "rehearsal-aws.log"
MAKE_VARIABLE = re.compile(r"^export (\w+) := (.+)$", re.MULTILINE)

# The caller's settings that find tools; nothing else of the caller's environment reaches a step.
KEPT = {
    "BASE_IMAGE",
    "DOCKER",
    "DOCKER_BUILDKIT",
    "DOCKER_HOST",
    "LANG",
    "PLATFORM",
    "TERM",
    "TMPDIR",
    *tool.KEPT,
}


class Stage(NamedTuple):
    """Where the targets run, in which environment, and the project's answers by their names in make."""

    copy: Path
    environment: dict[str, str]
    answers: dict[str, str]


@contextlib.contextmanager
def set_up(tools: set[str]) -> Iterator[Stage]:
    """Run an embedded AWS beside a copy of the project; leave nothing of either."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="rehearsal-")))
        copy = copy_project(folder)
        answers = dict(MAKE_VARIABLE.findall((copy / "Makefile").read_text()))
        environment = make_environment(folder / "home", tools)
        stage = Stage(copy, environment, answers)
        if "docker" in tools:
            stack.enter_context(remove_new_images(answers["ECR_REPOSITORY"]))
        stack.enter_context(embedded_aws(stage, containers="docker" in tools))
        yield stage


def find_tools() -> set[str]:
    """Which of the tools that a rehearsal can do without are here."""
    tools = tool.find_tools()
    with contextlib.suppress(OSError):
        if subprocess.run([DOCKER, "info"], capture_output=True).returncode == 0:
            tools.add("docker")
            if os.environ.get("REHEARSAL_REGISTRY"):
                tools.add("registry")
    return tools


def copy_project(folder: Path) -> Path:
    """A copy that shares nothing but the installed packages, with one commit."""
    copy = folder / "project"
    ignored = shutil.ignore_patterns(".git", ".venv", ".env", "*.log", "__pycache__", ".*_cache")
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
    environment = {name: value for name, value in os.environ.items() if name in KEPT} | {
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(home),
        "AWS_ACCESS_KEY_ID": "rehearsal",
        "AWS_SECRET_ACCESS_KEY": "rehearsal",
        "AWS_CA_BUNDLE": str(CertificateCreator.cacert),
        "AWS_EC2_METADATA_DISABLED": "true",
        "HTTPS_PROXY": "http://127.0.0.1:1",
        "POLL_SECONDS": "0.5",
    }
    if "docker" in tools:
        environment.setdefault("DOCKER_HOST", docker_host())
    else:
        environment["SAMPLE"] = ".venv/bin/python -m inference.sample"
    if "registry" in tools:
        environment["ECR_REGISTRY"] = os.environ["REHEARSAL_REGISTRY"]
        environment["MANIFEST_OPTIONS"] = os.environ.get("MANIFEST_OPTIONS", "--insecure")
    else:
        environment["IMAGE_CHECK"] = "true"
    return environment


def docker_host() -> str:
    """Where the caller's Docker engine listens: the rehearsal's own home knows no context."""
    show = ["context", "inspect", "--format", "{{.Endpoints.docker.Host}}"]
    answer = subprocess.run([DOCKER, *show], text=True, stdout=subprocess.PIPE)
    return answer.stdout.strip()


@contextlib.contextmanager
def embedded_aws(stage: Stage, containers: bool) -> Iterator[None]:
    """Run the embedded AWS, and let the stage's environment point to it."""
    copy, environment, answers = stage
    log = LOG.open("w")
    server = subprocess.Popen(
        [sys.executable, "-m", "rehearsal.embedded_aws", *(["--containers"] if containers else [])],
        cwd=copy,
        env={**environment, "MOTO_ACCOUNT_ID": answers["AWS_ACCOUNT_ID"]},
        text=True,
        stdout=subprocess.PIPE,
        stderr=log,
    )
    try:
        port = server.stdout.readline().strip() if server.stdout else ""
        if not port:
            sys.exit(f"The embedded AWS did not start:\n{LOG.read_text()}")
        environment |= {
            "HTTPS_PROXY": f"http://127.0.0.1:{port}",
            "AWS_DEFAULT_REGION": answers["AWS_REGION"],
        }
        yield
    finally:
        server.terminate()
        server.wait()
        log.close()


@contextlib.contextmanager
def remove_new_images(repository: str) -> Iterator[None]:
    """Leave no image behind that was built meanwhile."""
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
