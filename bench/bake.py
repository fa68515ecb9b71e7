"""Time a bake of the default project beside that of a one-file template: ``make bench``.

Whole processes, in turn, after one of each that is not counted; the ratio is taken pair by pair.
"""

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
COOKIECUTTER = Path(sys.executable).with_name("cookiecutter")
PAIRS = 15


def write_one_file_template(folder: Path) -> Path:
    """The least that cookiecutter can render."""
    template = folder / "one-file"
    (template / "{{cookiecutter.slug}}").mkdir(parents=True)
    (template / "{{cookiecutter.slug}}" / "README.md").write_text("# {{cookiecutter.slug}}\n")
    (template / "cookiecutter.json").write_text('{"slug": "project"}')
    return template


def seconds_to_bake(template: Path) -> float:
    """Wall-clock seconds of ``cookiecutter --no-input`` as a process of its own."""
    with tempfile.TemporaryDirectory() as output:
        command = [COOKIECUTTER, "--no-input", "--default-config", template, "-o", output]
        started = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)  # noqa: S603
        return time.perf_counter() - started


def main() -> None:
    """Print both medians and the median of the pairs' ratios."""
    with tempfile.TemporaryDirectory() as folder:
        one_file = write_one_file_template(Path(folder))
        pairs = []
        for number in range(PAIRS + 1):
            pairs.append((seconds_to_bake(ROOT), seconds_to_bake(one_file)))
            print(f"\rpair {number} of {PAIRS}", end="", file=sys.stderr, flush=True)
        print(file=sys.stderr)
    ours, theirs = zip(*pairs[1:], strict=True)
    ratios = [mine / other for mine, other in pairs[1:]]
    print(f"default project    {statistics.median(ours):.3f} s")
    print(f"one-file template  {statistics.median(theirs):.3f} s")
    print(
        f"ratio              {statistics.median(ratios):.2f}"
        f" (pairs from {min(ratios):.2f} to {max(ratios):.2f})"
    )


if __name__ == "__main__":
    main()
