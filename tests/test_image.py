"""The image, built for real: its contents, how it runs, and that builds are reproducible."""

import contextlib
import json
import os
import shutil
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from conftest import IN_CI, BakedProject
from test_project import SAMPLES, ask, free_port

pytestmark = pytest.mark.slow

BASE_IMAGE = os.environ.get("BASE_IMAGE", "python:3.14-slim-trixie")
# Bytes that the image adds to its base: measured 175 MB and 118 MB, plus room for newer versions.
SIZE_BUDGET = {"scikit-learn": 200_000_000, "python": 140_000_000}
# Seconds from `docker run` to the first response: measured 0.6; the rest allows for a busy machine.
START_BUDGET = 10
LOCKED_DOWN = ("--read-only", "--user=10001", "--cap-drop=ALL", "--security-opt=no-new-privileges")


def run(*command):
    """Return the output of a command, which must succeed."""
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


def inspect(docker, image):
    """Return what Docker reports about an image."""
    return json.loads(run(docker, "image", "inspect", image))[0]


def build(project, tag, **variables):
    """Build the project's image with its Makefile; return its name and Docker's output."""
    result = project.run(
        "make", "docker-build", "ECR_REGISTRY=local", f"IMAGE_TAG={tag}", **variables
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return f"local/{project.path.name}:{tag}", result.stdout + result.stderr


@pytest.fixture(scope="module", params=SIZE_BUDGET)
def framework(request):
    return request.param


@pytest.fixture(scope="module")
def trained(framework, train):
    """A trained project of each framework."""
    return train(model_framework=framework, project_slug=f"image-{framework}")


@pytest.fixture(scope="module")
def image(docker, trained):
    """The image of the trained project."""
    name, _ = build(trained, "test")
    yield name
    run(docker, "rmi", "--force", name)


@pytest.fixture
def copy(trained, tmp_path):
    """A copy of the project, for tests that change it."""
    path = tmp_path / trained.path.name
    shutil.copytree(trained.path, path, symlinks=True, ignore=shutil.ignore_patterns(".venv"))
    (path / ".venv").symlink_to(trained.path / ".venv")
    return BakedProject(path)


@contextlib.contextmanager
def container(docker, image, *options):
    """Run a container of the image; yield its name, its address and the seconds to its first response."""
    name, port = f"test-{os.getpid()}-{time.monotonic_ns()}", free_port()
    command = [docker, "run", "--detach", f"--name={name}", f"--publish=127.0.0.1:{port}:5000"]
    started = time.monotonic()
    run(*command, *options, image)
    try:
        while time.monotonic() - started < 60:
            with contextlib.suppress(OSError):
                if ask(f"http://127.0.0.1:{port}/ping", seconds=1)[0] == 200:
                    break
            time.sleep(0.02)
        yield name, f"http://127.0.0.1:{port}", time.monotonic() - started
    finally:
        run(docker, "rm", "--force", name)


def assert_predicts(url, framework):
    """Request a prediction and check it."""
    instance, species = SAMPLES[framework]
    status, body = ask(f"{url}/predict", {"instances": [instance]})
    assert status == 200
    assert json.loads(body)["predictions"] == [species]


def test_image_adds_little_to_its_base(docker, image, framework):
    added = inspect(docker, image)["Size"] - inspect(docker, BASE_IMAGE)["Size"]
    assert 1_000_000 < added < SIZE_BUDGET[framework]


def test_image_holds_neither_build_tools_nor_the_training_framework(docker, image):
    script = """if true; then
        for tool in gcc cc make git; do command -v $tool; done
        ls /opt/venv/bin | grep -E '^(pip|uv)'
        ls /opt/venv/lib/python3*/site-packages | grep -iE '^(pip|setuptools|sklearn|scipy|skl2onnx|onnx|pytest)$'
        find /app -name '*.md' -o -name 'training' -o -name 'tests'
    fi; true"""
    found = run(docker, "run", "--rm", "--entrypoint=sh", image, "-c", script)
    assert found.split() in ([], ["/app/model/README.md"])


def test_image_describes_itself_and_how_it_runs(docker, image, trained):
    config = inspect(docker, image)["Config"]
    labels = {
        key.removeprefix("org.opencontainers.image."): v for key, v in config["Labels"].items()
    }
    assert labels["title"] == trained.path.name
    assert labels["revision"] == "test"
    assert labels["base.name"] == BASE_IMAGE
    assert config["User"] == "10001"
    assert config["Entrypoint"] == ["python", "-m", "inference"]
    assert config["Healthcheck"]["Test"] == ["CMD", "python", "-m", "inference.http.healthcheck"]
    assert list(config["ExposedPorts"]) == ["5000/tcp"]


def test_container_runs_unprivileged_answers_and_exits_cleanly(docker, image, framework):
    with container(docker, image, *LOCKED_DOWN, "--env=WORKERS=2") as (name, url, seconds):
        assert_predicts(url, framework)
        # A request is counted once it is answered.
        while b"inference_request_rows_count 1.0" not in ask(f"{url}/metrics")[1]:
            time.sleep(0.05)
        for _ in range(6):
            status, metrics = ask(f"{url}/metrics")
            assert status == 200
            assert b"inference_request_rows_count 1.0" in metrics
        assert seconds < START_BUDGET
        health = (docker, "exec", name, "python", "-m", "inference.http.healthcheck")
        assert subprocess.run(health).returncode == 0
        started = time.monotonic()
        run(docker, "stop", "--time=30", name)
        assert time.monotonic() - started < 20
        assert run(docker, "inspect", "--format={{.State.ExitCode}}", name) == "0"


def test_container_becomes_healthy(docker, image):
    with container(docker, image, *LOCKED_DOWN) as (name, _, _):
        for _ in range(150):
            state = run(docker, "inspect", "--format={{.State.Health.Status}}", name)
            if state != "starting":
                break
            time.sleep(0.2)
        assert state == "healthy"


def layers(docker, image):
    """Return the digests of an image's layers, from the base up."""
    return inspect(docker, image)["RootFS"]["Layers"]


@pytest.mark.parametrize("name", ["application.py", "model/README.md"])
def test_changing_code_or_model_keeps_all_other_layers(docker, image, copy, name):
    with (copy.path / name).open("a") as file:
        file.write("\n# changed\n")
    other, output = build(copy, "changed")
    try:
        before, after = layers(docker, image), layers(docker, other)
        changed = [old != new for old, new in zip(before, after, strict=True)]
        assert changed.count(True) == 1
        assert "Installing collected packages" not in output
    finally:
        run(docker, "rmi", "--force", other)


def test_layers_are_identical_at_another_time_and_under_another_umask(docker, image, copy):
    other = "local/image-copy:test"
    for file in copy.path.rglob("*"):
        if file.is_file() and ".venv" not in file.parts:
            os.utime(file, (1, 1))
            file.chmod(file.stat().st_mode & 0o700)
    run(
        docker,
        "build",
        "--quiet",
        "--no-cache",
        f"--build-arg=BASE_IMAGE={BASE_IMAGE}",
        f"--tag={other}",
        copy.path,
    )
    try:
        assert layers(docker, other) == layers(docker, image)
    finally:
        run(docker, "rmi", "--force", other)


@pytest.fixture
def compose(docker):
    """The Docker Compose command."""
    command = (docker, "compose")
    if subprocess.run([*command, "version"], capture_output=True).returncode:
        if IN_CI:
            pytest.fail("`docker compose` is missing; .ci/with-engines COMMAND brings it")
        pytest.skip("needs Docker Compose: install the plugin docker-compose")
    return command


@pytest.mark.parametrize("framework", ["scikit-learn"], indirect=True)
def test_compose_serves_the_image(compose, image, framework, trained):
    port = free_port()
    variables = {"IMAGE": image, "PORT": str(port)}
    try:
        trained.check(*compose, "up", "--detach", "--wait", "--no-build", **variables)
        assert_predicts(f"http://127.0.0.1:{port}", framework)
        name = trained.check(*compose, "ps", "--quiet", **variables).strip()
        limits = json.loads(run(compose[0], "inspect", name))[0]["HostConfig"]
        # The limits of the task.
        assert (limits["Memory"], limits["NanoCpus"]) == (512 * 2**20, 250_000_000)
    finally:
        trained.check(*compose, "down", **variables)


def test_compose_builds_the_image(compose, docker, image, trained):
    trained.check(*compose, "build", IMAGE="local/composed:test")
    try:
        assert layers(docker, "local/composed:test") == layers(docker, image)
    finally:
        run(docker, "rmi", "--force", "local/composed:test")


@pytest.fixture
def pushed(registry, docker, trained):
    """The variables that point to the registry, and a tag that Docker no longer has."""
    tag = f"test-{time.monotonic_ns()}"
    name = f"{registry}/{trained.path.name}:{tag}"
    variables = {"ECR_REGISTRY": registry, "IMAGE_TAG": tag, "MANIFEST_OPTIONS": "--insecure"}
    trained.check("make", "docker-build", **variables)
    yield name, variables
    run(docker, "rmi", "--force", name)


def test_push_puts_the_image_into_the_registry_once(docker, trained, pushed):
    name, variables = pushed
    assert f"docker-push: pushed {name}" in trained.check("make", "docker-push", **variables)
    assert f"{name} is in the registry" in trained.check("make", "docker-push", **variables)
    run(docker, "rmi", name)
    run(docker, "pull", name)


def test_pushing_another_build_of_a_tag_is_refused(docker, copy, pushed):
    name, variables = pushed
    copy.check("make", "docker-push", **variables)
    with (copy.path / "application.py").open("a") as file:
        file.write("\n# changed\n")
    copy.check("make", "docker-build", **variables)
    result = copy.run("make", "docker-push", **variables)
    assert result.returncode != 0
    assert f"the registry has another build of {name}" in result.stderr


class ReadOnlyRegistry(BaseHTTPRequestHandler):
    """A registry without images, which takes none."""

    # Docker tries TLS first, and must recognize the response as HTTP.
    default_request_version = "HTTP/1.0"

    def answer(self, status, code=""):
        body = json.dumps({"errors": [{"code": code, "message": code.lower()}]}).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Docker-Distribution-Api-Version", "registry/2.0")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_GET(self):
        self.answer(404, "MANIFEST_UNKNOWN") if "manifests" in self.path else self.answer(200)

    def do_HEAD(self):
        self.answer(404, "BLOB_UNKNOWN")

    def do_POST(self):
        self.answer(403, "DENIED")

    def log_message(self, *arguments):
        pass


@pytest.fixture
def read_only_registry():
    """The port of a registry without images, which takes none."""
    with ThreadingHTTPServer(("127.0.0.1", 0), ReadOnlyRegistry) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


def test_refused_push_fails_and_says_what_to_do(docker, trained, pushed, read_only_registry):
    port = read_only_registry
    name, variables = pushed
    refused = {**variables, "ECR_REGISTRY": f"127.0.0.1:{port}"}
    run(docker, "tag", name, f"127.0.0.1:{port}/{trained.path.name}:{variables['IMAGE_TAG']}")
    result = trained.run("make", "docker-push", **refused)
    run(docker, "rmi", f"127.0.0.1:{port}/{trained.path.name}:{variables['IMAGE_TAG']}")
    assert result.returncode != 0
    assert "could not push, see the error above; have the earlier steps run?" in result.stderr
