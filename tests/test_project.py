"""What a user does with a new project, done for real: set-up, training, tests, lint, serving."""

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request

import pytest
from conftest import CHOICES, BakedProject, bake_with, image_tag

pytestmark = pytest.mark.slow

PENGUIN = {
    "island": "Torgersen",
    "bill_length_mm": 39.1,
    "bill_depth_mm": 18.7,
    "flipper_length_mm": 181,
    "body_mass_g": 3750,
    "sex": "male",
}
SETOSA = [5.1, 3.5, 1.4, 0.2]
# The request for each framework's sample, and its answer.
SAMPLES = {"scikit-learn": (PENGUIN, "Adelie"), "python": (SETOSA, "setosa")}
# Those of a project's tests that use its own model; the others are the same for every model of a format, and all run in
# the two projects above.
MODEL_TESTS = tuple(f"tests/test_{name}.py" for name in ("model", "service", "training", "startup"))


@pytest.fixture(scope="module", params=SAMPLES)
def untrained(request, cookies_session):
    """A project of each model format and each deploy tool, everything installed."""
    tools = dict(zip(SAMPLES, CHOICES["deploy_tool"], strict=False))
    answers = {"model_framework": request.param, "deploy_tool": tools[request.param]}
    project = BakedProject(bake_with(cookies_session, answers).project_path)
    home = project.path.parent / "home"
    home.mkdir(exist_ok=True)
    cache = os.environ.get("UV_CACHE_DIR") or os.path.expanduser("~/.cache/uv")
    project.check("make", "setup", HOME=str(home), UV_CACHE_DIR=cache)
    assert not [entry for entry in home.iterdir() if entry.name != ".cache"]
    return project


@pytest.fixture(scope="module")
def installed(untrained):
    """The same project with a trained model."""
    untrained.check("make", "train")
    return untrained


@pytest.fixture
def copy(installed, tmp_path):
    """A copy of the installed project, for tests that change it."""
    copy = tmp_path / "copy"
    shutil.copytree(installed.path, copy, ignore=shutil.ignore_patterns(".venv"))
    # No test changes a package.
    subprocess.run(["cp", "-al", installed.path / ".venv", copy], check=True)
    return BakedProject(copy)


def free_port():
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return server.getsockname()[1]


@contextlib.contextmanager
def running(project, *command, environment=None, **variables):
    """Run ``command`` in its own process group; end it as Ctrl-C does."""
    process = subprocess.Popen(
        command,
        cwd=project.path,
        env={**(environment or os.environ), **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGINT)
        process.communicate(timeout=30)


def ask(url, body=None, seconds=30, headers=None):
    """Send a request, retrying while the connection is refused; return status and body."""
    headers = {"Content-Type": "application/json", **(headers or {})}
    request = urllib.request.Request(url, body and json.dumps(body).encode(), headers)  # noqa: S310
    deadline = time.monotonic() + seconds
    while True:
        try:
            with urllib.request.urlopen(request, timeout=seconds) as response:  # noqa: S310
                return response.status, response.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()
        except (urllib.error.URLError, ConnectionError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def test_new_untrained_project_passes_its_own_tests_and_lint(untrained):
    assert [file.name for file in (untrained.path / "model").iterdir()] == ["README.md"]
    assert "passed" in untrained.check("make", "test", "lint")


def test_run_serves_the_right_class_and_survives_bad_requests(installed):
    is_onnx = installed.has_file("model/model.onnx")
    instance, species = SAMPLES["scikit-learn" if is_onnx else "python"]
    column = "bill_length_mm" if is_onnx else "sepal_length_cm"
    port = free_port()
    with running(installed, "make", "run", f"PORT={port}"):
        url = f"http://127.0.0.1:{port}"
        status, body = ask(f"{url}/predict", {"instances": [instance]})
        assert (status, json.loads(body)["predictions"]) == (200, [species])
        status, body = ask(f"{url}/predict", {"instances": [["x"]]})
        assert status == 422
        assert "instances[0]" in json.loads(body)["detail"]
        assert ask(f"{url}/ping")[0] == 200
        assert column.encode() in ask(url)[1]


def test_image_is_named_by_the_model_that_its_service_reports(installed):
    sample = installed.check(".venv/bin/python", "-m", "inference.expected").splitlines()
    (checksum,) = (installed.path / "model").glob("*.sha256")
    model = f"model/{checksum.stem}"
    assert installed.check("deploy/model-version.sh", model) == f"{sample[2]}\n"
    assert image_tag(installed).endswith(f"-{sample[2]}")
    assert re.fullmatch(r"(\w+=[0-9.]+ ?)+", sample[3])


def test_retraining_gives_the_same_bytes(installed):
    (checksum,) = (installed.path / "model").glob("*.sha256")
    first = checksum.read_bytes()
    installed.check("make", "train")
    assert checksum.read_bytes() == first
    subprocess.run(["sha256sum", "--check", checksum.name], cwd=checksum.parent, check=True)


def test_commit_dates_the_training(copy):
    git = ("git", "-c", "user.name=A", "-c", "user.email=a@example.com")
    copy.check("git", "init", "--quiet")
    copy.check("git", "add", ".")
    copy.check(*git, "commit", "--quiet", "--message=x", GIT_COMMITTER_DATE="2020-02-29T12:00Z")
    assert not {"model/model.onnx", ".venv/pyvenv.cfg"} & set(copy.check("git", "ls-files").split())
    copy.check("make", "train")
    files = [file for file in (copy.path / "model").rglob("*") if file.is_file()]
    assert any(b"2020-02-29" in file.read_bytes() for file in files)


def test_lint_fails_on_an_error(installed):
    file = installed.path / "inference" / "fault.py"
    file.write_text("import os\n")
    try:
        assert installed.run("make", "lint").returncode != 0
    finally:
        file.unlink()


def test_lint_takes_code_of_the_owner_without_annotations_and_docstrings(installed):
    file = installed.path / "training" / "train.py"
    before = file.read_text()
    plain = re.sub(r'    """.*"""\n', "", before)
    plain = re.sub(r"\((data)?(: Dataset)?\) -> .+:\n", r"(\1):\n", plain)
    assert "def load_data():\n" in plain
    assert "def fit(data):\n" in plain
    file.write_text(plain)
    try:
        # Nothing needs the imports of the annotations any more.
        installed.check(".venv/bin/ruff", "check", "--ignore=F401")
        installed.check(".venv/bin/mypy")
    finally:
        file.write_text(before)


def test_locks_hold_what_the_input_files_request(installed):
    before = installed.read("requirements.txt")
    for name in re.findall(r"^[a-z-]+", installed.read("requirements/serve.in"), re.MULTILINE):
        assert re.search(rf"^{name}==", before, re.MULTILINE)
        for lock in ("train", "dev"):
            assert re.search(
                rf"^{name}==", installed.read(f"requirements/{lock}.txt"), re.MULTILINE
            )
    assert "scikit-learn" in installed.read("requirements/train.txt")


def test_own_model_as_the_readme_describes_it(copy):
    follow_readme(copy)


def follow_readme(copy):
    """Follow training/README.md to the letter, with the tests of the model."""
    readme = copy.read("training/README.md")
    steps = re.findall(r"`([a-z_/]+\.py)`, ([^\n]*):\n\n```python\n(.*?)```", readme, re.DOTALL)
    assert len(steps) >= 2
    for file, where, code in steps:
        first_line = copy.read(file).split("\n", 1)[0]
        if where.startswith("below"):
            code = f"{first_line}\n\n{code}"
        (copy.path / file).write_text(code)
    copy.check("make", "train", "test", f"PYTEST_ARGS={' '.join(MODEL_TESTS)}")
    copy.check(".venv/bin/python", "-m", "mypy")
    copy.check("ruff", "check")
    port = free_port()
    with running(copy, "make", "run", f"PORT={port}"):
        _, page = ask(f"http://127.0.0.1:{port}")
        assert b"progression" in page
        assert b"s6" in page
