"""The commands that people type: cookiecutter itself, cruft, make demo."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pexpect
import pytest
from conftest import CHOICES, CONTEXT, ROOT, BakedProject
from test_project import SETOSA, ask
from test_rehearsal import results

BIN = Path(sys.executable).parent
PROMPTS = CONTEXT["__prompts__"]


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A home directory without a cookiecutter configuration, and none left behind."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()


@pytest.mark.parametrize(("answer", "choices"), CHOICES.items())
def test_bad_choice_is_refused_with_the_choices(home, tmp_path, answer, choices):
    result = subprocess.run(
        [
            BIN / "cookiecutter",
            "--no-input",
            ROOT,
            f"{answer}=nonsense",
            "--output-dir",
            tmp_path / "out",
        ],
        capture_output=True,
        text=True,
    )
    assert result.returncode != 0
    last_line = result.stderr.splitlines()[-1]
    assert answer in last_line
    assert all(choice in last_line for choice in choices)
    assert not (tmp_path / "out").exists()


def bake_by_hand(folder, answers):
    """Answer cookiecutter's questions at a terminal, with return where ``answers`` has none."""
    session = pexpect.spawn(
        str(BIN / "cookiecutter"),
        [str(ROOT), "--output-dir", str(folder)],
        encoding="utf-8",
        timeout=30,
        dimensions=(50, 200),
        env={**os.environ, "TERM": "dumb"},
    )
    for name, prompt in PROMPTS.items():
        question = prompt["__prompt__"] if isinstance(prompt, dict) else prompt
        session.expect_exact(question)
        session.expect(r"\): " if isinstance(prompt, str) else r"\(1\): ")
        session.sendline(answers.get(name, ""))
    session.expect(r"Generated (\S+)\. Next:")
    slug = session.match[1]
    session.expect(pexpect.EOF)
    return BakedProject(folder / slug)


def test_interactive_run_asks_in_plain_words(home, tmp_path):
    answers = {"project_name": "Flower Shop", "model_framework": "2", "container_port": "8080"}
    project = bake_by_hand(tmp_path, answers)
    assert project.path.name == "flower-shop"
    assert "# Flower Shop\n" in project.read("README.md")
    assert "EXPOSE 8080\n" in project.read("Dockerfile")
    assert "model.json" in project.read("inference/config.py")


def test_interactive_run_with_the_defaults_gives_the_default_project(home, tmp_path, bake):
    asked, default = bake_by_hand(tmp_path, {}), bake()
    assert asked.files() == default.files()
    for file in default.files():
        assert asked.read(file) == default.read(file), file


def git(folder, *arguments):
    identity = ("-c", "user.name=A", "-c", "user.email=a@example.com")
    subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def repository(tmp_path):
    """The template as a git repository with one commit, as cruft wants it."""
    copy = tmp_path / "template"
    ignored = shutil.ignore_patterns(".git", ".venv", ".*_cache", ".hypothesis", "__pycache__")
    shutil.copytree(ROOT, copy, ignore=ignored)
    git(copy, "init", "--quiet", "--initial-branch=main")
    git(copy, "add", "--all")
    git(copy, "commit", "--quiet", "--message=template")
    return copy


def cruft(folder, *arguments):
    subprocess.run([BIN / "cruft", *arguments], cwd=folder, check=True, capture_output=True)


def test_cruft_creates_and_updates_a_project(home, repository, tmp_path):
    cruft(tmp_path, "create", repository.as_uri(), "--no-input", "--output-dir", tmp_path)
    project = BakedProject(tmp_path / "ml-inference-service")
    assert project.has_file(".cruft.json")
    git(project.path, "init", "--quiet")
    (project.path / "notes.txt").write_text("the owner's own\n")
    git(project.path, "add", "--all")
    git(project.path, "commit", "--quiet", "--message=project")
    cruft(project.path, "check")

    dockerfile = repository / "{{cookiecutter.project_slug}}" / "Dockerfile"
    dockerfile.write_text(dockerfile.read_text().replace("10001", "10002"))
    git(repository, "commit", "--quiet", "--all", "--message=newer")
    cruft(project.path, "update", "--skip-apply-ask")
    assert "USER 10002\n" in project.read("Dockerfile")
    assert project.read("notes.txt") == "the owner's own\n"


@pytest.mark.slow
def test_demo_ends_with_a_served_prediction_and_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    # With uv, since pip sets up this template's own environment.
    monkeypatch.setenv("PATH", f"{BIN}{os.pathsep}{os.environ['PATH']}")
    # Neither here nor to be had.
    monkeypatch.setenv("ECS_CLI", "no-ecs-cli")
    monkeypatch.setenv("ECS_CLI_URL", "http://127.0.0.1:1")
    demo = pexpect.spawn("make", ["demo"], cwd=str(ROOT), encoding="utf-8", timeout=500)
    demo.expect(r"Serving at (http://127\.0\.0\.1:\d+) ")
    output = demo.before.replace("\r\n", "\n")
    assert "ecs-cli is not here and cannot be installed: deploying with CloudFormation" in output
    steps = results(output)
    assert steps.pop("release that cannot start") == "failed, as it must"
    assert set(steps.values()) == {"ok"}
    assert len(steps) == 8
    assert "its last log lines:\n        broken, for the rehearsal" in output
    left_out = output.split("Not rehearsed:\n")[1]
    assert "  autoscaling and alarms: " in left_out
    # Whether it ran in containers, pushed to a registry and pulled from it.
    assert ("  docker-push: " in left_out) == ("REHEARSAL_REGISTRY" not in os.environ)
    url = demo.match[1]
    demo.expect_exact('"predictions":["setosa"]')
    demo.expect_exact("Ctrl-C ends it.")
    assert ask(f"{url}/predict", {"instances": [SETOSA]})[0] == 200
    demo.sendintr()
    demo.expect_exact("Stopped; the project is deleted.")
    demo.expect(pexpect.EOF)
    with pytest.raises(OSError, match="refused"):
        ask(f"{url}/ping", seconds=1)
    assert not [path for path in tmp_path.iterdir() if path.is_dir()]
