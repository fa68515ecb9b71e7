"""``make ecs-cli``: the pinned version is installed if its signature is valid."""

import re
import shutil
import subprocess
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest

pytestmark = pytest.mark.slow


@pytest.fixture
def project(bake):
    """A project with nothing installed."""
    return bake()


@pytest.fixture
def release(tmp_path):
    """A signed release of ecs-cli on a local server; return the variables that point to it."""
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


def test_ecs_cli_is_installed_once(project, release):
    variables, _ = release
    hidden = {"PATH": "/usr/bin:/bin"}
    assert "installed bin/ecs-cli" in project.check("make", "ecs-cli", **variables, **hidden)
    assert "bin/ecs-cli is version 1.21.0" in project.check(
        "make", "ecs-cli", **variables, **hidden
    )


def test_tampered_ecs_cli_is_not_installed(project, release):
    variables, binary = release
    binary.write_text("#!/bin/sh\necho 'ecs-cli version 1.21.0 (altered)'\n")
    result = project.run("make", "ecs-cli", **variables, PATH="/usr/bin:/bin")
    assert result.returncode != 0
    assert "the signature of ecs-cli-linux-amd64-v1.21.0 is not valid" in result.stderr
    assert not project.has_file("bin/ecs-cli")


def test_ecs_cli_signed_by_another_key_is_not_installed(project, release):
    variables, _ = release
    other = {**variables, "ECS_CLI_KEY": "F34C3DDAE72926B079BEAEC6BCE9D9A42D51784F"}
    result = project.run("make", "ecs-cli", **other, PATH="/usr/bin:/bin")
    assert result.returncode != 0
    assert not project.has_file("bin/ecs-cli")
