"""``make rehearse``, and the deployment's steps against the embedded AWS."""

import re
import shutil
import subprocess
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest
from conftest import BakedProject, bake_with

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def installed(cookies_session):
    """A project with everything installed, its own and the embedded AWS's."""
    project = BakedProject(bake_with(cookies_session, {"aws_region": "eu-west-1"}).project_path)
    project.check("make", "setup", "train", "rehearsal/.venv/.complete")
    return project


def results(output):
    """The table at the end: each step with its result."""
    table = output.split("seconds  result\n")[1].split("\n\n")[0]
    return dict(re.findall(r"^(.+?) +[0-9.]+  (.+)$", table, re.MULTILINE))


def test_rehearsal_leaves_an_empty_account(installed):
    output = installed.check("make", "rehearse")
    steps = results(output)
    assert steps["deploy"] == steps["deploy again: nothing changes"] == "ok"
    assert steps["destroy"] == steps["the account is empty"] == "ok"


def test_rehearsal_names_what_it_leaves_out(installed):
    output = installed.check("make", "rehearse", DOCKER="no-docker", ECS_CLI="no-ecs-cli")
    left_out = output.split("Not rehearsed:\n")[1]
    assert "  docker-build: no Docker engine answers" in left_out
    assert "  docker-push: REHEARSAL_REGISTRY names no registry" in left_out
    assert "  service-up: ecs-cli is not on PATH" in left_out


@pytest.mark.skipif(not shutil.which("ecs-cli"), reason="needs ecs-cli 1.21 on PATH")
def test_rehearsal_with_ecs_cli_rolls_a_bad_release_back(installed):
    steps = results(installed.check("make", "rehearse"))
    assert steps["release that cannot start"] == "failed, as it must"
    assert set(steps.values()) == {"ok", "failed, as it must"}
    assert len(steps) == 9


def test_rehearsal_fails_where_a_step_does(installed):
    script = installed.path / "deploy" / "iam-role.sh"
    text = script.read_text()
    script.write_text(text.replace("require_account", "require_account; false"))
    try:
        result = installed.run("make", "rehearse")
    finally:
        script.write_text(text)
    assert result.returncode != 0
    assert results(result.stdout)["deploy"] == "FAILED"


@pytest.fixture
def release(installed, tmp_path):
    """A signed release of ecs-cli on a server of our own: the variables that lead to it."""
    if not shutil.which("gpg"):
        pytest.skip("needs gpg: apt-get install gnupg")
    gpg = ["gpg", "--homedir", str(tmp_path / "gpg"), "--batch", "--passphrase", ""]
    (tmp_path / "gpg").mkdir(mode=0o700)
    subprocess.run([*gpg, "--quick-generate-key", "Amazon ECS <ecs@example.com>"], check=True)
    listing = subprocess.run(
        [*gpg, "--list-keys", "--with-colons"], check=True, stdout=subprocess.PIPE
    )
    files = tmp_path / "files"
    (files / "pks").mkdir(parents=True)
    binary = files / "ecs-cli-linux-amd64-v1.21.0"
    binary.write_text("#!/bin/sh\necho 'ecs-cli version 1.21.0 (test)'\n")
    subprocess.run([*gpg, "--armor", "--detach-sign", binary], check=True)
    key = subprocess.run([*gpg, "--armor", "--export"], check=True, stdout=subprocess.PIPE).stdout
    (files / "pks" / "lookup").write_bytes(key)
    handler = partial(SimpleHTTPRequestHandler, directory=files)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        fingerprint = re.search(rb"^fpr:+([0-9A-F]{40}):", listing.stdout, re.MULTILINE)[1].decode()
        yield {"ECS_CLI_URL": url, "ECS_CLI_KEYSERVER": url, "ECS_CLI_KEY": fingerprint}, binary
        server.shutdown()
    subprocess.run(["gpgconf", "--homedir", tmp_path / "gpg", "--kill", "all"], check=True)
    shutil.rmtree(installed.path / "bin", ignore_errors=True)


def test_ecs_cli_is_installed_once(installed, release):
    variables, _ = release
    hidden = {"PATH": "/usr/bin:/bin"}
    assert "installed bin/ecs-cli" in installed.check("make", "ecs-cli", **variables, **hidden)
    assert "bin/ecs-cli is version 1.21.0" in installed.check(
        "make", "ecs-cli", **variables, **hidden
    )


def test_altered_ecs_cli_is_not_installed(installed, release):
    variables, binary = release
    binary.write_text("#!/bin/sh\necho 'ecs-cli version 1.21.0 (altered)'\n")
    result = installed.run("make", "ecs-cli", **variables, PATH="/usr/bin:/bin")
    assert result.returncode != 0
    assert "the signature of ecs-cli-linux-amd64-v1.21.0 is not good" in result.stderr
    assert not installed.has_file("bin/ecs-cli")


def test_ecs_cli_signed_by_another_key_is_not_installed(installed, release):
    variables, _ = release
    other = {**variables, "ECS_CLI_KEY": "F34C3DDAE72926B079BEAEC6BCE9D9A42D51784F"}
    result = installed.run("make", "ecs-cli", **other, PATH="/usr/bin:/bin")
    assert result.returncode != 0
    assert not installed.has_file("bin/ecs-cli")


def test_nothing_is_touched_without_valid_credentials(installed):
    for target in ("ecr-create", "iam-role", "cluster-up", "destroy"):
        result = installed.run(
            "make",
            target,
            "FORCE=1",
            PATH=f"{installed.path}/rehearsal/.venv/bin:/usr/bin:/bin",
            AWS_ACCESS_KEY_ID="nobody",
            AWS_SECRET_ACCESS_KEY="nothing",  # noqa: S106
            AWS_ENDPOINT_URL="http://127.0.0.1:1",
            AWS_MAX_ATTEMPTS="1",
        )
        assert result.returncode != 0
        assert "AWS does not accept the credentials: run 'aws configure'" in result.stderr
