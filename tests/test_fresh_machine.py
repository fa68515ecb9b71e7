"""README's first command on minimal Debian with only the packages that README names."""

import os
import re
import shutil
import subprocess

import pexpect
import pytest
from conftest import IN_CI, ROOT, cannot_make_machines
from test_commands import check_demo

pytestmark = pytest.mark.slow

USER = "newcomer"
# How this machine reaches the package registries.
REACH = re.compile(r"(PIP|UV)_(\w*INDEX\w*|CERT)|SSL_CERT_FILE|(?i:\w+_proxy)")
CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"
# Run in separate namespaces, so that no mount and no process outlives it.
ENTER = """
set -e
root=$1 cache=$2
shift 2
mount -t proc proc "$root/proc"
mkdir -p "$root/dev/shm" "$root/cache"
mount -t tmpfs tmpfs "$root/dev/shm"
mount --bind "$cache" "$root/cache"
exec chroot --userspec={user}:{user} "$root" "$@"
"""


@pytest.fixture(scope="module")
def mirror():
    """The Debian mirror; skip if no machine can be created, except in CI."""
    if reason := cannot_make_machines():
        pytest.fail(reason) if IN_CI else pytest.skip(reason)
    targets = ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages"]
    return subprocess.run(targets, check=True, text=True, stdout=subprocess.PIPE).stdout.split()[0]


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """A package cache that both machines share."""
    folder = tmp_path_factory.mktemp("cache")
    folder.chmod(0o777)
    return folder


@pytest.fixture(params=["bookworm", "trixie"])
def machine(request, mirror, tmp_path):
    """The root of a minimal Debian with the packages from README, a user, and a clone of this repository."""
    (needed,) = re.findall(r"`apt-get install ([a-z0-9 -]+)`", (ROOT / "README.md").read_text())
    root = tmp_path / request.param
    include = f"--include={','.join(needed.split())}"
    options = ["--quiet", "--variant=minbase", "--dpkgopt=force-unsafe-io", include]
    subprocess.run(["mmdebstrap", *options, request.param, root, mirror], check=True)
    for file in ("/etc/resolv.conf", "/etc/hosts", CERTIFICATES):
        if os.path.exists(file):
            os.makedirs(os.path.dirname(f"{root}{file}"), exist_ok=True)
            shutil.copy(file, f"{root}{file}")
    subprocess.run(["chroot", root, "useradd", "--create-home", USER], check=True)
    clone = root / "home" / USER / "ml-ecs-template"
    subprocess.run(["git", "clone", "--quiet", f"file://{ROOT}", clone], check=True)
    subprocess.run(["chroot", root, "chown", "-R", f"{USER}:", f"/home/{USER}"], check=True)
    yield root
    shutil.rmtree(root)


def enter(root, cache, script):
    """Run ``script`` as the user, in a terminal."""
    environment = {name: value for name, value in os.environ.items() if REACH.fullmatch(name)}
    environment |= {
        "HOME": f"/home/{USER}",
        "PATH": "/usr/bin:/bin",
        "PIP_CACHE_DIR": "/cache/pip",
        "TERM": "dumb",
        "UV_CACHE_DIR": "/cache/uv",
    }
    settings = [f"{name}={value}" for name, value in environment.items()]
    inside = ["/usr/bin/env", "-i", *settings, "bash", "-c", script]
    shell = ["bash", "-c", ENTER.format(user=USER), "enter", str(root), str(cache), *inside]
    options = ["--mount", "--pid", "--fork", "--kill-child"]
    return pexpect.spawn("unshare", [*options, *shell], encoding="utf-8", timeout=1500)


def test_demo_needs_only_what_readme_names_and_leaves_nothing_behind(machine, cache):
    demo = enter(
        machine,
        cache,
        "trap : INT; cd ~/ml-ecs-template && make demo; echo; echo left: $(ls -A ~ /tmp /var/tmp /dev/shm);"
        "echo processes: $(cat /proc/[0-9]*/comm | sort)",
    )
    demo.expect("Serving at (http://127[.]0[.]0[.]1:[0-9]+)")
    check_demo(demo.before, "installing it needs gpg")
    demo.expect_exact('"predictions":["Adelie"]')
    demo.expect_exact("Press Ctrl-C to stop it.")
    demo.sendintr()
    demo.expect_exact("Stopped; the project is deleted.")
    demo.expect("left: (.*)\r\nprocesses: (.*)\r\n")
    left, processes = demo.match.groups()
    demo.expect(pexpect.EOF)
    assert "Traceback" not in demo.before
    skeleton = {".bash_logout", ".bashrc", ".profile", ".cache"}
    names = {name for name in left.split() if not name.startswith("/")}
    assert names - skeleton == {"ml-ecs-template"}
    # Ignore the listing processes themselves; sort may not have started yet.
    assert set(processes.split()) <= {"bash", "cat", "sort"}
