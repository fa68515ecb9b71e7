"""The ``bake`` fixture: render a project from answers, and helpers to inspect it."""

import ctypes
import fcntl
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import hypothesis
import pytest
import yaml
from selenium import webdriver

# A missing tool is a failure in CI; elsewhere its tests are skipped.
IN_CI = bool(os.environ.get("CI"))

# Settings of the shell or CI job that runs the tests must not leak into them.
for name in list(os.environ):
    if re.match(
        "AWS_|CI_|GIT_|GITHUB_|GITLAB_|PYTEST_|PYTHON|(API_KEY|CI|ENV|FORCE|HOST|PORT)$", name
    ):
        del os.environ[name]
os.environ |= {
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
    "NO_PROXY": "127.0.0.1,localhost",
}

# A shell makes background processes ignore Ctrl-C, and nohup makes them ignore SIGHUP; processes that the tests
# start would inherit both.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)

# Durations say nothing on a busy machine.
hypothesis.settings.register_profile("any machine", deadline=None)
hypothesis.settings.load_profile("any machine")

ROOT = Path(__file__).parent.parent
PROJECT_TEMPLATE = ROOT / "{{cookiecutter.project_slug}}"
CONTEXT = json.loads((ROOT / "cookiecutter.json").read_text())
ANSWERS = {name: default for name, default in CONTEXT.items() if not name.startswith("_")}
CHOICES = {name: default for name, default in ANSWERS.items() if isinstance(default, list)}

EVERY_ANSWER_CHANGED = {
    "project_name": "Churn & Co: the 'best' model",
    "project_slug": "churn-model",
    "description": r"""Says "who'll leave" - 100 % sure: #1, C:\new\table, ${HOME}, $(id), <b>é</b>""",
    "model_framework": "python",
    "deploy_tool": "cloudformation",
    "aws_account_id": "000000000001",
    "aws_region": "cn-north-1",
    "cluster_name": "Models2",
    "container_port": "65535",
    "task_cpu": "16384",
    "task_memory": "122880",
    "python_version": "3.11",
    "gitlab_project": "data.science/nlp_2/churn-model",
    "ci_credentials": "access-keys",
    "allowed_cidr": "203.0.113.7/32",
}

# One bake for every choice with all other answers at their defaults, and one with every answer changed.
MATRIX = [
    *({answer: value} for answer, values in CHOICES.items() for value in values),
    EVERY_ANSWER_CHANGED,
    {**EVERY_ANSWER_CHANGED, "deploy_tool": "ecs-cli"},
]


# Files of slow tests, longest first, so that two workers finish at about the same time.
SLOW_FILES = (
    "test_pipeline",
    "test_faults",
    "test_deploy",
    "test_fresh_machine",
    "test_project",
    "test_stacks",
    "test_express",
    "test_rehearsal",
    "test_serving",
    "test_models",
    "test_frameworks",
    "test_import",
    "test_locks",
    "test_image",
    "test_environment",
    "test_bench",
    "test_page",
    "test_watching",
)


def pytest_collection_modifyitems(items):
    """Run the fast tests first, then the slow ones by file."""

    def place(item):
        if not item.get_closest_marker("slow"):
            return -1
        name = item.path.stem
        return SLOW_FILES.index(name) if name in SLOW_FILES else len(SLOW_FILES)

    items.sort(key=place)


class Loader(yaml.SafeLoader):
    """Read YAML, expanding CloudFormation's short forms to their long ones."""


def construct(loader, suffix, node):
    if isinstance(node, yaml.ScalarNode):
        value = loader.construct_scalar(node)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        value = loader.construct_mapping(node, deep=True)
    if suffix == "GetAtt":
        return {"Fn::GetAtt": value.split(".", 1)}
    return {suffix if suffix == "Ref" else f"Fn::{suffix}": value}


Loader.add_multi_constructor("!", construct)


def load_yaml(text):
    return yaml.load(text, Loader)  # noqa: S506 # a SafeLoader


def name_of(answers):
    """Return a short name of a bake for test ids."""
    return (
        "-".join(answers.values()) if len(answers) == 1 else f"all-changed-{answers['deploy_tool']}"
    )


def pack(cases):
    """Merge cases that set different names, so that few runs try them all; a name has one value in a run."""
    packs = []
    for case in cases:
        merged = next((each for each in packs if not each.keys() & case.keys()), None)
        if merged is None:
            packs.append(dict(case))
        else:
            merged.update(case)
    return packs


def environment_with(**variables):
    """Return the environment with ``variables``, and with the template's own tools on PATH."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    # Drop the flags of the make that runs the tests.
    environment = {key: value for key, value in os.environ.items() if key[:4] != "MAKE"}
    return {**environment, "PATH": path, **variables}


@dataclass
class BakedProject:
    """A generated repository."""

    path: Path

    def files(self):
        """Return every generated file by its path below the project."""
        paths = (path.relative_to(self.path) for path in self.path.rglob("*") if path.is_file())
        return sorted(
            path for path in paths if not re.search(r"__pycache__|\.\w+_cache", str(path))
        )

    def texts(self):
        """Return every text file."""
        return [path for path in self.files() if path.suffix != ".onnx"]

    def has_file(self, name):
        return (self.path / name).is_file()

    def read(self, name):
        return (self.path / name).read_text(encoding="utf-8")

    @property
    def deploy_tool(self):
        marks = {"ecs-cli": "deploy/ecs-cli.mk", "cloudformation": "deploy/exec.mk"}
        return next((tool for tool, file in marks.items() if self.has_file(file)), "express")

    @property
    def targets(self):
        """Return the Makefile's targets."""
        makefiles = (self.path / "Makefile", *(self.path / "deploy").glob("*.mk"))
        texts = "".join(file.read_text() for file in makefiles)
        return re.findall(r"^\.PHONY: ([a-z-]+)$", texts, re.MULTILINE)

    def run(self, *command, timeout=1500, **variables):
        """Run ``command`` in the project, with the tools of the template's environment on PATH."""
        return subprocess.run(
            command,
            cwd=self.path,
            env=environment_with(**variables),
            capture_output=True,
            text=True,
            timeout=timeout,
        )

    def check(self, *command, **options):
        """Run ``command``, which must succeed; return its output."""
        result = self.run(*command, **options)
        assert result.returncode == 0, f"{command}\n{result.stdout}\n{result.stderr}"
        return result.stdout


def image_tag(project):
    """Return the tag of the image that a project would build now."""
    return project.check("make", "--silent", "--eval=tag: ; @echo $(IMAGE_TAG)", "tag").strip()


def bake_with(cookies, answers):
    """Bake with ``answers``; a key that cookiecutter.json lacks is an error."""
    unknown = answers.keys() - ANSWERS.keys()
    assert not unknown, f"not in cookiecutter.json: {unknown}"
    return cookies.bake(extra_context=answers)


@pytest.fixture
def bake(cookies):
    """Bake a project from answers."""

    def bake(**answers):
        result = bake_with(cookies, answers)
        assert result.exception is None, result.exception
        return BakedProject(result.project_path)

    return bake


@pytest.fixture(scope="session")
def bake_once(cookies_session):
    """Return a cached project for some answers; no test changes it."""

    @cache
    def bake_once(*answers):
        return BakedProject(bake_with(cookies_session, dict(answers)).project_path)

    return lambda **answers: bake_once(*answers.items())


@pytest.fixture(scope="session", params=MATRIX, ids=name_of)
def project(request, bake_once):
    """Each project of the matrix."""
    return bake_once(**request.param)


# The environments of a project: the lock that each is installed from, and the file that make checks.
ENVIRONMENTS = {
    ".venv": ("requirements/dev.txt", "bin/.complete"),
    "rehearsal/.venv": ("rehearsal/requirements.txt", ".complete"),
}


@pytest.fixture(scope="session")
def install(tmp_path_factory):
    """Install an environment of a project; all projects with the same lock share one, in all workers.

    It is in a copy of the first of them, because pytest-cookies deletes a worker's projects when that worker ends.
    """
    # Workers have folders beside each other.
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

    def install(project, name):
        lock, complete = ENVIRONMENTS[name]
        digest = hashlib.sha256(project.read(lock).encode()).hexdigest()
        folder = project.path / name
        owner = BakedProject(shared / f"environment-{digest}")
        with (shared / f"environment-{digest}.lock").open("w") as place:
            fcntl.flock(place, fcntl.LOCK_EX)
            if not owner.path.exists():
                shutil.copytree(project.path, owner.path, ignore=shutil.ignore_patterns(".venv"))
            owner.check("make", f"{name}/{complete}")
            folder.symlink_to(owner.path / name)
            # make compares its timestamp with the lock's.
            (folder / complete).touch()

    return install


@pytest.fixture(scope="session")
def train(cookies_session, install, tmp_path_factory):
    """Bake, install and train a project; return a copy that a test may change."""

    @cache
    def trained(*answers):
        project = BakedProject(bake_with(cookies_session, dict(answers)).project_path)
        install(project, ".venv")
        project.check("make", "train")
        return project

    def train(rehearses=False, **answers):
        original = trained(*answers.items()).path
        copy = BakedProject(tmp_path_factory.mktemp("trained") / original.name)
        shutil.copytree(original, copy.path, symlinks=True, ignore=shutil.ignore_patterns(".venv"))
        for name in ENVIRONMENTS:
            if name == ".venv" or rehearses:
                install(copy, name)
        return copy

    return train


@pytest.fixture(scope="session")
def installed(train):
    """A trained default project with all of its environments installed, including the embedded AWS."""
    return train(rehearses=True, aws_region="eu-west-1")


@pytest.fixture(scope="session")
def docker():
    """The Docker client, if an engine responds."""
    client = os.environ.get("DOCKER", "docker")
    if (
        shutil.which(client)
        and subprocess.run([client, "info"], capture_output=True).returncode == 0
    ):
        return client
    if IN_CI:
        pytest.fail("no Docker engine answers; .ci/with-engines COMMAND starts one")
    pytest.skip("needs a Docker engine: start Docker, or run .ci/with-engines make test")


@pytest.fixture(scope="session")
def engine(docker):
    """The CI/CD variables for a runner that has its own Docker engine."""
    host = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")
    return {"DIND_IMAGE": "", "DOCKER_HOST": host, "DOCKER_TLS_VERIFY": "", "DOCKER_CERT_PATH": ""}


@pytest.fixture(scope="session")
def runner():
    """The tools that gitlab-ci-local needs to run a job."""
    if not shutil.which("rsync"):
        reason = "needs rsync: apt-get install rsync"
        pytest.fail(reason) if IN_CI else pytest.skip(reason)


@pytest.fixture(scope="session")
def registry(docker):
    """The address of a registry that replaces ECR."""
    address = os.environ.get("REHEARSAL_REGISTRY")
    if not address and IN_CI:
        pytest.fail("REHEARSAL_REGISTRY names no registry; .ci/with-engines COMMAND starts one")
    return address or pytest.skip("needs REHEARSAL_REGISTRY, the address of a local registry")


@pytest.fixture(scope="session")
def ecs_cli(installed):
    """ecs-cli, or the stand-in if it is not on PATH."""
    if shutil.which("ecs-cli"):
        return "ecs-cli"
    stand_in = installed.path.parent / "ecs-cli"
    python = installed.path / "rehearsal" / ".venv" / "bin" / "python"
    script = ROOT / "tests" / "stand_in" / "ecs_cli.py"
    stand_in.write_text(f'#!/bin/sh\nexec "{python}" "{script}" "$@"\n')
    stand_in.chmod(0o755)
    return str(stand_in)


CHROMIUM_FLAGS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)


@pytest.fixture(scope="session")
def openmp():
    """The system library that LightGBM needs."""
    try:
        ctypes.CDLL("libgomp.so.1")
    except OSError:
        reason = "LightGBM needs OpenMP: apt-get install libgomp1"
        pytest.fail(reason) if IN_CI else pytest.skip(reason)


@cache
def cannot_make_machines():
    """Return why no minimal Debian can be made and entered here; None if it can."""
    if os.geteuid() != 0 or not shutil.which("mmdebstrap"):
        return "needs root and mmdebstrap: apt-get install mmdebstrap"
    if subprocess.run(["unshare", "--mount", "--pid", "--fork", "true"]).returncode:
        return "may not make namespaces"
    return None


@pytest.fixture(scope="session")
def browser(tmp_path_factory):
    """Chromium, if it is installed."""
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not (chromium and driver):
        reason = "needs Chromium: apt-get install chromium chromium-driver"
        pytest.fail(reason) if IN_CI else pytest.skip(reason)
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in (*CHROMIUM_FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('chromium')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield browser
    browser.quit()


@pytest.fixture(scope="session")
def browser_if_any(request):
    """Chromium, or None if it is not installed: the remaining checks run without it."""
    return request.getfixturevalue("browser") if IN_CI or shutil.which("chromium") else None
