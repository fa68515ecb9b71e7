"""The commands that users type: cookiecutter itself, cruft, make demo."""

import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pexpect
import pytest
from conftest import CHOICES, CONTEXT, ROOT, BakedProject, cannot_make_machines, environment_with
from test_project import PENGUIN, ask
from test_rehearsal import processes_of, results

BIN = Path(sys.executable).parent
PROMPTS = CONTEXT["__prompts__"]


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A home directory without a cookiecutter configuration; nothing may be left in it."""
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
    """Answer cookiecutter's questions at a terminal, pressing return for those not in ``answers``."""
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
    answers = {"project_name": "Flower Shop", "model_framework": "6", "container_port": "8080"}
    project = bake_by_hand(tmp_path, answers)
    assert project.path.name == "flower-shop"
    assert "# Flower Shop\n" in project.read("README.md")
    assert "EXPOSE 8080\n" in project.read("Dockerfile")
    assert "model/files" in project.read("inference/config.py")


def test_interactive_run_with_defaults_gives_the_default_project(home, tmp_path, bake):
    asked, default = bake_by_hand(tmp_path, {}), bake()
    assert asked.files() == default.files()
    for file in default.files():
        assert asked.read(file) == default.read(file), file


def git(folder, *arguments):
    identity = ("-c", "user.name=A", "-c", "user.email=a@example.com")
    subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True)


# All that cookiecutter and cruft read of the template.
TEMPLATE = ("cookiecutter.json", "hooks", "{{cookiecutter.project_slug}}")


def copy_template(folder):
    """Copy the template into a folder as it is today, committed or not, in place of another version."""
    for entry in TEMPLATE:
        if (ROOT / entry).is_dir():
            shutil.rmtree(folder / entry, ignore_errors=True)
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / entry, folder / entry, ignore=ignored)
        else:
            shutil.copy(ROOT / entry, folder)


@pytest.fixture
def repository(tmp_path):
    """The template as a git repository with one commit, which cruft needs."""
    copy = tmp_path / "template"
    copy.mkdir()
    copy_template(copy)
    git(copy, "init", "--quiet", "--initial-branch=main")
    git(copy, "add", "--all")
    git(copy, "commit", "--quiet", "--message=template")
    return copy


def test_setup_of_the_template_leaves_nothing_outside(home, tmp_path):
    """With a list of packages that is empty."""
    for file in ("Makefile", "requirements-dev.txt"):
        shutil.copy(ROOT / file, tmp_path)
    for folder in (".venv/bin", "tests/node_modules", "tmp"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / ".venv/bin/.complete").touch()
    package = {"name": "x", "version": "1.0.0"}
    lock = {**package, "lockfileVersion": 3, "packages": {"": package}}
    for name, content in (("package", package), ("package-lock", lock)):
        (tmp_path / "tests" / f"{name}.json").write_text(json.dumps(content))
    environment = environment_with(TMPDIR=str(tmp_path / "tmp"))
    subprocess.run(["make", "setup"], cwd=tmp_path, env=environment, check=True)
    assert (tmp_path / ".venv/npm").is_dir()
    assert [*(tmp_path / "home").iterdir(), *(tmp_path / "tmp").iterdir()] == []


def cruft(folder, *arguments):
    subprocess.run([BIN / "cruft", *arguments], cwd=folder, check=True, capture_output=True)


@pytest.mark.slow
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


def git_prints(*arguments):
    """What git says of this repository; nothing where there is no history."""
    command = ["git", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True).stdout


def tools_of(version):
    """Return the deploy tools of a version of this template."""
    text = git_prints("show", f"{version}:cookiecutter.json")
    return json.loads(text)["deploy_tool"] if text else []


def earlier_versions():
    """Return every tagged version, and the last commit that had other deploy tools, each with its tools."""
    versions = {tag: tools_of(tag) for tag in git_prints("tag", "--list", "v*").split()}
    for commit in git_prints("log", "--format=%H", "--", "cookiecutter.json").split():
        if (tools := tools_of(commit)) not in ([], CHOICES["deploy_tool"]):
            return {**versions, commit: tools}
    return versions


EARLIER = [
    pytest.param(version, tool, framework, id=f"{version[:12]}-{tool}-{framework}")
    for version, tools in earlier_versions().items()
    for tool, framework in zip(tools, ("scikit-learn", "python"), strict=False)
]


@pytest.mark.slow
@pytest.mark.skipif(not EARLIER, reason="needs this repository's history: git fetch --unshallow")
@pytest.mark.parametrize(("version", "tool", "framework"), EARLIER)
def test_project_of_an_earlier_version_is_updated(home, tmp_path, version, tool, framework):
    template = tmp_path / "template"
    template.mkdir()
    archive = subprocess.run(
        ["git", "archive", version, *TEMPLATE], cwd=ROOT, check=True, stdout=subprocess.PIPE
    )
    subprocess.run(["tar", "--extract"], cwd=template, input=archive.stdout, check=True)
    git(template, "init", "--quiet", "--initial-branch=main")
    git(template, "add", "--all")
    git(template, "commit", "--quiet", "--message=earlier")
    answers = json.dumps({"deploy_tool": tool, "model_framework": framework})
    create = (template.as_uri(), "--no-input", "--extra-context", answers)
    cruft(tmp_path, "create", *create, "--output-dir", tmp_path / "updated")
    updated = BakedProject(tmp_path / "updated" / "ml-inference-service")
    git(updated.path, "init", "--quiet")
    git(updated.path, "add", "--all")
    git(updated.path, "commit", "--quiet", "--message=project")

    copy_template(template)
    git(template, "add", "--all")
    git(template, "commit", "--quiet", "--message=today")
    cruft(updated.path, "update", "--skip-apply-ask")
    cruft(tmp_path, "create", *create, "--output-dir", tmp_path / "fresh")
    fresh = BakedProject(tmp_path / "fresh" / "ml-inference-service")
    files = [file for file in updated.files() if file.parts[0] != ".git"]
    assert files == fresh.files()
    for file in set(files) - {Path(".cruft.json")}:
        assert (updated.path / file).read_bytes() == (fresh.path / file).read_bytes(), file


@pytest.fixture
def demo(tmp_path, monkeypatch):
    """``make demo`` at a terminal, without ecs-cli and with settings that must have no effect."""
    folder, home = tmp_path / "tmp", tmp_path / "home"
    folder.mkdir()
    home.mkdir()
    configuration = home / "cookiecutterrc"
    configuration.write_text('default_context: {project_slug: "mine"}\n')
    session = pexpect.spawn(
        "make",
        ["demo"],
        cwd=str(ROOT),
        encoding="utf-8",
        timeout=1500,
        dimensions=(50, 120),
        env={
            **os.environ,
            # Use uv, since pip sets up this template's own environment.
            "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
            "TMPDIR": str(folder),
            "COOKIECUTTER_CONFIG": str(configuration),
            "TERM": "xterm",
            "http_proxy": "http://127.0.0.1:1",
            "no_proxy": "",
            # No containers, which the pipeline's rehearsal covers.
            "DOCKER": "no-docker",
            # Neither installed nor downloadable.
            "ECS_CLI": "no-ecs-cli",
            "ECS_CLI_URL": "http://127.0.0.1:1",
        },
    )
    yield session
    session.close(force=True)


def stop(demo, tmp_path):
    """Press Ctrl-C: one line is printed, and nothing is left behind."""
    demo.sendintr()
    demo.expect_exact("Stopped; the project is deleted.")
    said = demo.before.rpartition("^C")[2]
    assert not re.search("Traceback|Error|Stopped", said)
    demo.expect(pexpect.EOF)
    assert not demo.before.strip()
    assert not list((tmp_path / "tmp").iterdir())
    assert not processes_of(tmp_path / "tmp")


def check_demo(before, reason):
    """Check what a demo without ecs-cli and Docker has printed when it serves."""
    # The lines that stay on the terminal.
    lines = [line.rpartition("\r\x1b[K")[2] for line in before.split("\r\n")]
    output = "\n".join(lines)
    assert len(lines) < 50, output
    assert f"No ecs-cli, which is optional: {reason}" in output
    assert "Error" not in output
    steps = results(output)
    failing = {step for step, result in steps.items() if result == "failed, as expected"}
    assert failing == {
        "release that cannot start",
        "release with different answers",
        "canary with different answers",
    }
    assert {result for step, result in steps.items() if step not in failing} == {"ok"}
    assert len(steps) == 17, before
    assert "rehearsed: every step ended as expected" in output
    assert "no Docker engine answers; start Docker" in output


@pytest.mark.slow
@pytest.mark.skipif(
    cannot_make_machines() is None, reason="test_fresh_machine sees the demo to its end"
)
def test_demo_ends_with_a_served_prediction_and_leaves_nothing_behind(demo, tmp_path):
    demo.expect(r"Serving at (http://127\.0\.0\.1:\d+) ")
    url = demo.match[1]
    reason = (
        "http://127.0.0.1:1 cannot be reached" if shutil.which("gpg") else "installing it needs gpg"
    )
    check_demo(demo.before, reason)
    demo.expect_exact('"predictions":["Adelie"]')
    demo.expect_exact("Press Ctrl-C to stop it.\r\n")
    assert ask(f"{url}/predict", {"instances": [PENGUIN]})[0] == 200
    stop(demo, tmp_path)
    with pytest.raises(OSError, match="refused"):
        ask(f"{url}/ping", seconds=1)


@pytest.mark.slow
@pytest.mark.parametrize(
    "when", ["Baking a project", "Installing its packages", "Rehearsing", "stack: creating"]
)
def test_ctrl_c_ends_the_demo_at_any_step(demo, tmp_path, when):
    demo.expect_exact(when)
    demo.expect_exact("\r")
    stop(demo, tmp_path)


def test_ctrl_c_while_a_step_starts_ends_the_step(tmp_path, monkeypatch):
    spec = importlib.util.spec_from_file_location("demo", ROOT / "scripts" / "demo.py")
    demo = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(demo)
    popen, started = subprocess.Popen, []

    def interrupted(*arguments, **options):
        started.append(popen(*arguments, **options))
        os.kill(os.getpid(), signal.SIGINT)
        return started[0]

    monkeypatch.setattr(subprocess, "Popen", interrupted)
    with pytest.raises(KeyboardInterrupt):
        demo.Demo(tmp_path).run(tmp_path, "sleep", "600")
    assert started[0].poll() == -signal.SIGTERM


@pytest.mark.slow
def test_failed_demo_keeps_its_project_and_says_where(tmp_path):
    environment = {**os.environ, "TMPDIR": str(tmp_path), "ECS_CLI": "true", "PIP_INDEX_URL": "x"}
    # No package can be installed.
    nowhere = {"UV_INDEX_URL": "http://127.0.0.1:1", "UV_CACHE_DIR": str(tmp_path / "cache")}
    done = subprocess.run(
        [BIN / "python", ROOT / "scripts" / "demo.py"],
        env={**environment, **nowhere, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    *lines, last = done.stderr.splitlines()
    assert lines[-1] == "'make setup train' failed."
    folder = Path(last.removeprefix("The project and demo.log are in "))
    assert (folder / "demo.log").is_file()
    assert (folder / "project" / "ml-inference-service" / "Makefile").is_file()
