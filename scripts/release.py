"""Make a release: ``make release VERSION=0.2.0``.

Move the entries below 'Unreleased' in CHANGELOG.md to a section for that version and today's date, set the version in
pyproject.toml and in the commands of PINNED, and create a commit and an annotated tag ``v0.2.0``. Push nothing. Exit
with 1, and change nothing, if the version is not a later one (https://semver.org), the working tree has changes, or
there is nothing to release.
"""

import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).parent.parent
UNRELEASED = "## Unreleased\n"
VERSION = re.compile(r'^version = "(.+)"$', re.MULTILINE)
# Pages whose commands generate a project from this version.
PINNED = ("README.md", "docs/tutorial.md")
# Before the first release there is no tag to pin.
PIN = re.compile(r"(cookiecutter gh:\S+)( --checkout v[0-9.]+)?")


def git(*arguments: str) -> str:
    """Run git and return its output."""
    return subprocess.run(
        ["git", *arguments], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True
    ).stdout


def parse(version: str) -> tuple[int, ...]:
    """Return the three numbers of a version; exit if it has any other form."""
    if not re.fullmatch(r"(0|[1-9]\d*)(\.(0|[1-9]\d*)){2}", version):
        sys.exit(f"VERSION={version} must be three numbers, such as 0.2.0")
    return tuple(map(int, version.split(".")))


def main(version: str) -> None:
    """Make the release."""
    numbers = parse(version)
    tags = [tag.removeprefix("v") for tag in git("tag", "--list", "v*").split()]
    if tags and numbers <= max(map(parse, tags)):
        sys.exit(f"VERSION={version} must be later than {max(tags, key=parse)}")
    if git("status", "--porcelain"):
        sys.exit("The working tree has changes: commit them first")
    changelog, project = ROOT / "CHANGELOG.md", ROOT / "pyproject.toml"
    before, _, after = changelog.read_text().partition(UNRELEASED)
    entries, heading, older = after.partition("\n## ")
    if not entries.strip():
        sys.exit("CHANGELOG.md has nothing below 'Unreleased'")
    day = datetime.now(UTC).date().isoformat()
    released = f"{before}{UNRELEASED}\n## {version} ({day})\n{entries.rstrip()}\n{heading}{older}"
    changelog.write_text(released)
    project.write_text(VERSION.sub(f'version = "{version}"', project.read_text(), count=1))
    for page in (ROOT / name for name in PINNED):
        page.write_text(PIN.sub(rf"\1 --checkout v{version}", page.read_text()))
    git("commit", "--quiet", "--all", f"--message=Release {version}")
    # Headings begin with the character of a comment.
    message = (f"--message={entries.strip()}", "--cleanup=whitespace")
    git("tag", "--annotate", f"v{version}", *message)
    print(f"v{version} is tagged. Publish it: git push --follow-tags")


if __name__ == "__main__":
    main(*sys.argv[1:])
