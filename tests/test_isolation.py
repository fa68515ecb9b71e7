"""A rehearsal inherits none of the caller's settings. Tested without installing anything."""

import json
import os
import subprocess
import sys

import pytest
from conftest import ROOT, bake_with, pack

COPY = """
import sys
from pathlib import Path
from rehearsal import stage
folder = Path(sys.argv[1])
stage.copy_project(folder / "project", stage.make_environment(folder, set()))
"""
PLAIN = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}

# Git settings that would change a commit or prevent it.
SETTINGS = {
    "signed-commits": {"commit.gpgsign": "true", "gpg.program": "false"},
    "signed-by-ssh": {"commit.gpgsign": "true", "gpg.format": "ssh", "user.signingkey": "none"},
    "hooks": {"core.hooksPath": "HOME/hooks"},
    "template": {"init.templateDir": "HOME/template"},
    "line-ends": {"core.autocrlf": "true", "core.safecrlf": "true"},
    "line-ends-by-eol": {"core.eol": "crlf", "core.autocrlf": "false"},
    "attributes": {"core.attributesFile": "HOME/attributes"},
    "ignored-files": {"core.excludesFile": "HOME/ignored"},
    "file-modes": {"core.fileMode": "false"},
    "object-format": {"init.defaultObjectFormat": "sha256"},
    "default-branch": {"init.defaultBranch": "trunk"},
    "no-identity": {"user.useConfigOnly": "true", "user.name": "", "user.email": ""},
    "commit-template": {"commit.template": "HOME/nowhere"},
    "message-cleaned": {"commit.cleanup": "nonsense"},
    "no-own-repository": {"safe.directory": "", "safe.bareRepository": "explicit"},
}
# Variables that a git hook or a shell may have set.
VARIABLES = {
    "directory": {"GIT_DIR": "HOME/other/.git"},
    "work-tree": {"GIT_DIR": "HOME/other/.git", "GIT_WORK_TREE": "HOME/other"},
    "index": {"GIT_INDEX_FILE": "HOME/other/.git/index"},
    "objects": {"GIT_OBJECT_DIRECTORY": "HOME/other/.git/objects"},
    "prefix": {"GIT_PREFIX": "deploy/"},
    "namespace": {"GIT_NAMESPACE": "other"},
    "template": {"GIT_TEMPLATE_DIR": "HOME/template"},
    "date": {"GIT_AUTHOR_DATE": "nonsense", "GIT_COMMITTER_DATE": "nonsense"},
    "configuration": {
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": "commit.gpgsign",
        "GIT_CONFIG_VALUE_0": "true",
    },
    "command-line": {"GIT_CONFIG_PARAMETERS": "'commit.gpgsign'='true'"},
    "global-file": {"GIT_CONFIG_GLOBAL": "HOME/nowhere/.gitconfig"},
    "system-file": {"GIT_CONFIG_SYSTEM": "HOME/system"},
    "xdg": {"XDG_CONFIG_HOME": "HOME/xdg"},
    "editor": {"GIT_EDITOR": "false", "EDITOR": "false"},
    "trace": {"GIT_TRACE": "1"},
    "no-home": {"HOME": None},
    "home-that-cannot-be-written": {"HOME": "/proc"},
    "locale": {"LC_ALL": "C", "LANGUAGE": "de"},
    "shell": {"BASH_ENV": "HOME/nowhere", "ENV": "HOME/nowhere", "SHELLOPTS": "xtrace"},
    "make": {"MAKEFLAGS": "n", "MAKEFILES": "HOME/nowhere"},
    "python": {"PYTHONHASHSEED": "nonsense", "PYTHONPATH": "HOME/python", "PYTHONSAFEPATH": "1"},
}


def git(folder, *arguments):
    environment = {**os.environ, **PLAIN}
    command = ["git", "-c", "user.name=A", "-c", "user.email=a@example.com", *arguments]
    return subprocess.run(
        command, cwd=folder, env=environment, check=True, capture_output=True, text=True
    ).stdout


@pytest.fixture
def home(tmp_path):
    """A home directory with everything that the settings name, all of it harmful, and another repository."""
    home = tmp_path / "home"
    for folder in ("hooks", "template/hooks"):
        (home / folder).mkdir(parents=True)
        hook = home / folder / "pre-commit"
        hook.write_text("#!/bin/sh\nexit 1\n")
        hook.chmod(0o755)
    (home / "ignored").write_text("*\n")
    (home / "attributes").write_text("* text eol=crlf\n*.py filter=missing\n")
    (home / "system").write_text("[commit]\n\tgpgsign = true\n")
    (home / "xdg/git").mkdir(parents=True)
    (home / "xdg/git/config").write_text("[commit]\n\tgpgsign = true\n")
    (home / "python").mkdir()
    (home / "python/sitecustomize.py").write_text("raise SystemExit('PYTHONPATH was read')\n")
    (home / "other").mkdir()
    git(home / "other", "init", "--quiet")
    (home / "other/file").write_text("theirs\n")
    git(home / "other", "add", ".")
    git(home / "other", "commit", "--quiet", "--message=theirs")
    return home


def copy(project, folder, environment):
    """Let the rehearsal copy the project; return the hash of its commit."""
    folder.mkdir()
    command = [sys.executable, "-E", "-c", COPY, str(folder)]
    done = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert git(folder / "project", "rev-list", "--count", "HEAD") == "1\n"
    assert git(folder / "project", "status", "--porcelain") == ""
    return git(folder / "project", "rev-parse", "HEAD^{tree}")


@pytest.fixture(scope="module")
def plain(cookies_session, tmp_path_factory):
    """A project, and the hash of the rehearsal's commit with no settings."""
    project = bake_with(cookies_session, {}).project_path
    environment = {name: value for name, value in os.environ.items() if name[:4] != "GIT_"} | PLAIN
    return project, copy(project, tmp_path_factory.mktemp("plain") / "copy", environment)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "variables"),
    [
        ({}, {}),
        *((settings, {}) for settings in pack(SETTINGS.values())),
        *(({}, variables) for variables in pack(VARIABLES.values())),
    ],
)
def test_git_settings_have_no_effect_on_the_copy(plain, home, tmp_path, settings, variables):
    project, expected = plain
    for name, value in settings.items():
        git(home, "config", "--file", home / ".gitconfig", name, value.replace("HOME", str(home)))
    before = (git(home / "other", "log"), git(home / "other", "status", "--porcelain"))
    environment = {name: value for name, value in os.environ.items() if name[:4] != "GIT_"}
    environment["HOME"] = str(home)
    for name, value in variables.items():
        environment.pop(name, None)
        if value is not None:
            environment[name] = value.replace("HOME", str(home))
    assert copy(project, tmp_path / "tried", environment) == expected
    assert (git(home / "other", "log"), git(home / "other", "status", "--porcelain")) == before


def test_nothing_from_the_caller_reaches_a_step(bake, tmp_path):
    docker = {
        "DOCKER_HOST": "tcp://docker:2376",
        "DOCKER_TLS_VERIFY": "1",
        "DOCKER_CERT_PATH": "/certificates",
    }
    environment = {
        **os.environ,
        "AWS_PROFILE": "mine",
        "AWS_CONFIG_FILE": "/mine",
        "AWS_ENDPOINT_URL": "http://127.0.0.1:1",
        "http_proxy": "http://127.0.0.1:1",
        "no_proxy": "*",
        "PYTHONPATH": "/mine",
        "API_KEY": "mine",
        "ENV": "mine",
        **docker,
    }
    code = (
        "import json, sys; from pathlib import Path; from rehearsal import stage; "
        "print(json.dumps(stage.make_environment(Path(sys.argv[1]), set())))"
    )
    command = [sys.executable, "-E", "-c", code, str(tmp_path)]
    done = subprocess.run(command, cwd=bake().path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "mine" not in done.stdout
    # Except the address of Docker's engine, and the certificates for it.
    reached = json.loads(done.stdout)
    assert reached | docker == reached
    assert "_proxy" not in done.stdout
    assert f'"TMPDIR": "{tmp_path}' in done.stdout


@pytest.mark.parametrize("program", ["rehearsal", "demo"])
def test_missing_tools_are_named_all_at_once_before_anything_else(bake, tmp_path, program):
    bin_folder = tmp_path / "bin"
    bin_folder.mkdir()
    command, folder = [sys.executable, "-E", "-m", "rehearsal"], bake().path
    if program == "demo":
        command, folder = [sys.executable, ROOT / "scripts" / "demo.py"], tmp_path
    environment = {"PATH": str(bin_folder), "TMPDIR": str(tmp_path)}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 1
    lines = done.stderr.splitlines()
    assert lines[1:4] == [
        f"  {tool}: install the package {tool}" for tool in ("bash", "git", "make")
    ]
    assert ("venv" in done.stderr) == (program == "demo")
    assert done.stdout == ""
