"""Time what an owner of the generated project waits for: ``make setup train test``, a deployment anew.

From a cold start: a fresh project, and package caches of its own that are empty.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from cookiecutter.main import cookiecutter

ROOT = Path(__file__).parent.parent
TOOLS = Path(sys.executable).parent

# Run by the rehearsal's Python: deploys twice to an embedded AWS, tells of the second time.
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
    """Seconds of ``make TARGETS`` in the project."""
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
    """Print the seconds of each step, with pip and with uv, and of a deployment with nothing to do."""
    with tempfile.TemporaryDirectory() as folder:
        for tool in ("pip", "uv"):
            project = Path(
                cookiecutter(
                    str(ROOT), no_input=True, output_dir=f"{folder}/{tool}", default_config=True
                )
            )
            caches = {"PIP_CACHE_DIR": f"{folder}/pip-cache", "UV_CACHE_DIR": f"{folder}/uv-cache"}
            if tool == "uv":
                caches["PATH"] = f"{TOOLS}{os.pathsep}{os.environ['PATH']}"
            seconds = [timed(project, target, **caches) for target in ("setup", "train", "test")]
            steps = zip(("make setup", "make train", "make test"), seconds, strict=True)
            print(
                f"cold, with {tool}: " + ", ".join(f"{step} {took:.1f} s" for step, took in steps)
            )
            again = [timed(project, target, **caches) for target in ("setup", "test")]
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
