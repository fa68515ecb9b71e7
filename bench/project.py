"""Time what an owner of the generated project waits for: ``make setup train test``, and a repeated deployment.

From a cold start: a fresh project, and its own empty package caches.
"""

import json
import os
import subprocess
import tempfile
import time
from pathlib import Path

from cookiecutter.main import cookiecutter

ROOT = Path(__file__).parent.parent

# Run by the rehearsal's Python: deploys twice to an embedded AWS, and reports the second time.
DEPLOY_TWICE = """
import json, subprocess, time
from rehearsal import stage, tool
from rehearsal.__main__ import prerequisites

def calls():
    return stage.LOG.read_text().splitlines()

tools = stage.find_tools()
with stage.set_up(tools) as (copy, environment, answers):
    steps = [step for step in prerequisites(copy, "deploy") if tool.NEEDS.get(step, set()) <= tools]
    for _ in range(2):
        before, started = len(calls()), time.perf_counter()
        subprocess.run(
            ["make", "--silent", *steps], cwd=copy, env=environment, check=True, capture_output=True
        )
        seconds = time.perf_counter() - started
    print(json.dumps({"steps": steps, "seconds": seconds, "calls": len(calls()) - before}))
"""


def timed(project: Path, *targets: str, **variables: str) -> float:
    """Return the seconds that ``make TARGETS`` takes in the project."""
    started = time.perf_counter()
    subprocess.run(  # noqa: S603
        ["make", "--silent", *targets],  # noqa: S607
        cwd=project,
        env={**os.environ, **variables},
        check=True,
        stdout=subprocess.DEVNULL,
    )
    return time.perf_counter() - started


def main() -> None:
    """Print the seconds of each step, and of a deployment with nothing to do."""
    with tempfile.TemporaryDirectory() as folder:
        project = Path(
            cookiecutter(str(ROOT), no_input=True, output_dir=folder, default_config=True)
        )
        cache = {"UV_CACHE_DIR": f"{folder}/uv-cache"}
        targets = ("setup", "train", "test")
        steps = [f"make {target} {timed(project, target, **cache):.1f} s" for target in targets]
        print("cold: " + ", ".join(steps))
        again = [timed(project, target, **cache) for target in ("setup", "test")]
        print(f"again: make setup {again[0]:.2f} s, make test {again[1]:.1f} s")
        timed(project, "rehearsal/.venv/.complete")
        command = ["rehearsal/.venv/bin/python", "-c", DEPLOY_TWICE]
        run = subprocess.run(command, cwd=project, check=True, stdout=subprocess.PIPE)  # noqa: S603
        found = json.loads(run.stdout)
        print(
            f"make deploy with nothing to do: {found['calls']} calls of AWS, {found['seconds']:.1f} s"
            f" ({' '.join(found['steps'])})"
        )


if __name__ == "__main__":
    main()
