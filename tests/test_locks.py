"""The lock files, read by old and new installers once every package has a newer release."""

import base64
import hashlib
import re
import subprocess
import sys
import zipfile
from importlib.metadata import distributions
from pathlib import Path

import pytest
from conftest import ROOT, BakedProject, bake_with

pytestmark = pytest.mark.slow

UV = Path(sys.executable).with_name("uv")
# From the oldest pip with `pip install --dry-run`; before 23.3 pip treated `a[b]` as a different package from `a`.
PIPS = ["22.3.1", "23.0.1", "23.2.1", "24.0", "25.3", "26.3"]
# pip 22 does not start on Python 3.12.
OLDEST = "22.3.1" if sys.version_info < (3, 12) else "23.2.1"
PINNED = re.compile(r"^([\w.-]+)(\[[\w,-]+\])?==(\S+)(.*?)((?: \\\n    --hash=\S+)+)", re.MULTILINE)


def canonicalize_name(name):
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.fixture(scope="session")
def locks(installed, cookies_session):
    """Every lock file: the template's own and those of both kinds of project."""
    other = BakedProject(bake_with(cookies_session, {"model_framework": "python"}).project_path)
    paths = [ROOT / "requirements-dev.txt"]
    for project in (installed, other):
        paths += [project.path / "requirements.txt", *project.path.glob("*/*.txt")]
    return [path for path in paths if "--hash" in path.read_text()]


@pytest.fixture(scope="session")
def index(installed, tmp_path_factory):
    """A folder with empty wheels: each package that is installed here, and a newer release of it.

    Return the folder, and the SHA-256 of each wheel by name and version.
    """
    folder = tmp_path_factory.mktemp("index")
    environments = [Path(sys.prefix), installed.path / ".venv", installed.path / "rehearsal/.venv"]
    places = [
        str(place) for path in environments for place in path.glob("lib/python3*/site-packages")
    ]
    digests = {}
    for found in distributions(path=places):
        name = canonicalize_name(found.metadata["Name"])
        for version in (found.version, "9999"):
            wheel = write_wheel(folder, name, version, found.metadata)
            digests[name, version] = hashlib.sha256(wheel.read_bytes()).hexdigest()
    return folder, digests


def write_wheel(folder, name, version, metadata):
    """Write a wheel that contains only its requirements."""
    stem = f"{name.replace('-', '_')}-{version}"
    needs = "".join(
        f"{key}: {value}\n"
        for key in ("Requires-Dist", "Provides-Extra")
        for value in metadata.get_all(key, [])
    )
    files = {
        "METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needs}",
        "WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = ""
    path = folder / f"{stem}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        for file, text in files.items():
            wheel.writestr(zipfile.ZipInfo(f"{stem}.dist-info/{file}"), text)
            digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest())
            record += f"{stem}.dist-info/{file},sha256={digest.decode().rstrip('=')},{len(text)}\n"
        wheel.writestr(zipfile.ZipInfo(f"{stem}.dist-info/RECORD"), record)
    return path


def with_digests(lock, digests):
    """Return the text of a lock file for the wheels of ``index``."""

    def replace(match):
        name, extras, version, marker, _ = match.groups()
        # A package for another platform has no wheel here, and is not requested.
        digest = digests.get((canonicalize_name(name), version), "0" * 64)
        return f"{name}{extras or ''}=={version}{marker} --hash=sha256:{digest}"

    return PINNED.sub(replace, lock)


def installs(command, index, lock, folder):
    """Whether an installer finds all packages of a lock file."""
    place, digests = index
    file = folder / "requirements.txt"
    file.write_text(with_digests(lock, digests))
    options = ["--dry-run", "--no-index", "--find-links", place, "--require-hashes", "-r", file]
    done = subprocess.run([*command, *options], capture_output=True, text=True)
    return done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="session")
def pip(tmp_path_factory):
    """Return a function that gives the command of a pip version."""

    def command(version):
        folder = tmp_path_factory.getbasetemp() / f"pip-{version}"
        if not folder.exists():
            subprocess.run([UV, "venv", "--quiet", "--python", sys.executable, folder], check=True)
            install = [UV, "pip", "install", "--quiet", "--python", folder / "bin/python"]
            subprocess.run([*install, f"pip=={version}"], check=True)
        return [folder / "bin/python", "-m", "pip", "--disable-pip-version-check", "install"]

    return command


def test_locks_are_found(locks):
    assert len(locks) == 11


def test_newer_releases_leave_the_locks_installable_by_the_oldest_pip(
    locks, installed, index, pip, tmp_path
):
    for lock in locks:
        # uv also reads the locks of the other project; pip is slow.
        if not lock.is_relative_to(installed.path) and lock.parent != ROOT:
            continue
        found, output = installs(pip(OLDEST), index, lock.read_text(), tmp_path)
        assert found, f"{lock}\n{output}"


def test_newer_releases_leave_every_lock_installable_by_uv(locks, index, tmp_path):
    uv = [UV, "pip", "install", "--no-cache", "--target", tmp_path / "target"]
    for lock in locks:
        found, output = installs(uv, index, lock.read_text(), tmp_path)
        assert found, f"{lock}\n{output}"


@pytest.mark.parametrize("version", [version for version in PIPS if version > OLDEST])
def test_newer_releases_leave_the_longest_lock_installable_by_pip(
    installed, index, pip, tmp_path, version
):
    lock = installed.read("requirements/dev.txt")
    found, output = installs(pip(version), index, lock, tmp_path)
    assert found, output


def test_old_pip_refuses_a_lock_without_extras(installed, index, pip, tmp_path):
    lock = installed.read("requirements/dev.txt").replace("coverage[toml]", "coverage")
    found, output = installs(pip(OLDEST), index, lock, tmp_path)
    assert not found
    assert "must have their versions pinned" in output
