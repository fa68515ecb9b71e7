"""Time a bake of the default project against a one-file template: ``make bench``.

Run whole processes in alternation, after one uncounted run of each; ratios are taken turn by turn.
"""

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
COOKIECUTTER = Path(sys.executable).with_name("cookiecutter")
TURNS = 15


def write_one_file_template(folder: Path) -> Path:
    """Write the smallest template that cookiecutter can render."""
    template = folder / "one-file"
    (template / "{{cookiecutter.slug}}").mkdir(parents=True)
    (template / "{{cookiecutter.slug}}" / "README.md").write_text("# {{cookiecutter.slug}}\n")
    (template / "cookiecutter.json").write_text('{"slug": "project"}')
    return template


def seconds_to_bake(template: Path, *options: str) -> float:
    """Return the wall-clock seconds of ``cookiecutter --no-input`` in its own process."""
    with tempfile.TemporaryDirectory() as output:
        command = [COOKIECUTTER, "--no-input", "--default-config", template, "-o", output, *options]
        started = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)  # noqa: S603
        return time.perf_counter() - started


def main() -> None:
    """Print the medians, and the median ratio of the turns."""
    with tempfile.TemporaryDirectory() as folder:
        one_file = write_one_file_template(Path(folder))
        turns = []
        for number in range(TURNS + 1):
            turns.append(
                (
                    seconds_to_bake(ROOT),
                    seconds_to_bake(one_file),
                    seconds_to_bake(ROOT, "--accept-hooks=no"),
                )
            )
            print(f"\rturn {number} of {TURNS}", end="", file=sys.stderr, flush=True)
        print(file=sys.stderr)
    ours, theirs, _ = zip(*turns[1:], strict=True)
    ratios = [mine / other for mine, other, _ in turns[1:]]
    share = statistics.median(1 - without / mine for mine, _, without in turns[1:])
    print(f"default project    {statistics.median(ours):.3f} s, of it hooks {share:.0%}")
    print(f"one-file template  {statistics.median(theirs):.3f} s")
    print(
        f"ratio              {statistics.median(ratios):.2f}"
        f" (turns from {min(ratios):.2f} to {max(ratios):.2f})"
    )


if __name__ == "__main__":
    main()
