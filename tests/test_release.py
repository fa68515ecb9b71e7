"""How a version of the template is released."""

import shutil
import subprocess
import sys

import pytest
from conftest import ROOT


@pytest.fixture
def repository(tmp_path):
    """A repository with the files that a release changes, and a function that runs commands in it."""
    (tmp_path / "scripts").mkdir()
    (tmp_path / "docs").mkdir()
    for page in ("README.md", "docs/tutorial.md"):
        (tmp_path / page).write_text("cookiecutter gh:x/y\n")
    shutil.copy(ROOT / "scripts/release.py", tmp_path / "scripts")
    (tmp_path / "CHANGELOG.md").write_text(
        "# Changelog\n\n## Unreleased\n\n### Added\n\n- One.\n- Two.\n"
    )
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "x"\nversion = "0.0.0"\n')

    def run(*command):
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)

    for command in (
        ("init", "--quiet"),
        ("config", "user.name", "x"),
        ("config", "user.email", "x@example.com"),
        ("add", "."),
        ("commit", "--quiet", "--message=x"),
    ):
        assert run("git", *command).returncode == 0
    return tmp_path, run


def release(run, version):
    """Make a release; return the completed process."""
    return run(sys.executable, "scripts/release.py", version)


def test_release_dates_the_changes_and_tags_them(repository):
    path, run = repository
    assert "git push --follow-tags" in release(run, "0.1.0").stdout
    day = run("git", "log", "-1", "--format=%as").stdout.strip()
    sections = (path / "CHANGELOG.md").read_text()
    assert (
        sections
        == f"# Changelog\n\n## Unreleased\n\n## 0.1.0 ({day})\n\n### Added\n\n- One.\n- Two.\n"
    )
    assert 'version = "0.1.0"' in (path / "pyproject.toml").read_text()
    assert run("git", "status", "--porcelain").stdout == ""
    assert run("git", "tag", "--points-at=HEAD").stdout == "v0.1.0\n"
    assert "### Added" in run("git", "tag", "--list", "--format=%(contents)").stdout
    for page in ("README.md", "docs/tutorial.md"):
        assert (path / page).read_text() == "cookiecutter gh:x/y --checkout v0.1.0\n"
    (path / "CHANGELOG.md").write_text(
        sections.replace("## Unreleased\n", "## Unreleased\n\n- Three.\n")
    )
    assert "has changes" in release(run, "0.2.0").stderr
    run("git", "commit", "--quiet", "--all", "--message=y")
    assert release(run, "0.10.0").returncode == 0
    assert (path / "README.md").read_text() == "cookiecutter gh:x/y --checkout v0.10.0\n"
    assert (
        f"## 0.10.0 ({day})\n\n- Three.\n\n## 0.1.0 ({day})\n\n### Added\n\n- One."
        in (path / "CHANGELOG.md").read_text()
    )


@pytest.mark.parametrize(
    ("version", "reason"),
    [
        ("", "must be three numbers"),
        ("v0.2.0", "must be three numbers"),
        ("0.2", "must be three numbers"),
        ("0.01.0", "must be three numbers"),
        ("0.1.0", "must be later than 0.10.0"),
        ("0.9.9", "must be later than 0.10.0"),
        ("0.11.0", "nothing below 'Unreleased'"),
    ],
)
def test_impossible_release_changes_nothing(repository, version, reason):
    _, run = repository
    assert release(run, "0.10.0").returncode == 0
    before = run("git", "rev-parse", "HEAD").stdout
    refused = release(run, version)
    assert refused.returncode == 1
    assert reason in refused.stderr
    assert "Traceback" not in refused.stderr
    assert run("git", "status", "--porcelain").stdout == ""
    assert run("git", "rev-parse", "HEAD").stdout == before
