"""Compare the generated image with a typical tutorial's, built in the same run: size and startup time.

``python:3`` and the project's own base are pulled, unless BASE_IMAGE names a Debian image with Python that
replaces both; the tutorial's then gets the packages that ``python:3`` has.
"""

import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from cookiecutter.main import cookiecutter

ROOT = Path(__file__).parent.parent
TUTORIAL = ROOT / "bench" / "tutorial"
DOCKER = os.environ.get("DOCKER", "docker")
STARTS = 9
CPUS = (None, 0.25)


def docker(*arguments: str) -> str:
    """Run Docker, which must succeed; return its output."""
    return subprocess.run(  # noqa: S603
        [DOCKER, *arguments], check=True, stdout=subprocess.PIPE, text=True
    ).stdout.strip()


def build_ours(folder: Path) -> str:
    """Bake, train and build the default project."""
    project = cookiecutter(str(ROOT), no_input=True, output_dir=str(folder), default_config=True)
    build = [
        "make",
        "--silent",
        "setup",
        "train",
        "docker-build",
        "ECR_REGISTRY=bench",
        "IMAGE_TAG=ours",
    ]
    subprocess.run(build, cwd=project, check=True, stdout=sys.stderr)  # noqa: S603
    return "bench/ml-inference-service:ours"


def build_tutorial() -> str:
    """Build the tutorial's image on ``python:3`` or its replacement."""
    base = "python:3"
    if stand_in := os.environ.get("BASE_IMAGE"):
        base = "bench/python:3"
        file = f"--file={TUTORIAL / 'Dockerfile.python'}"
        docker("build", file, f"--build-arg=BASE_IMAGE={stand_in}", f"--tag={base}", str(TUTORIAL))
    docker("build", f"--build-arg=BASE_IMAGE={base}", "--tag=bench/tutorial", str(TUTORIAL))
    return "bench/tutorial"


def seconds_to_start(image: str, cpus: float | None) -> float:
    """Return the seconds from ``docker run`` to the first response of ``GET /ping``."""
    limit = [f"--cpus={cpus}"] if cpus else []
    started = time.perf_counter()
    name = docker("run", "--detach", "--publish=127.0.0.1::5000", "--env=WORKERS=1", *limit, image)
    try:
        address = docker("port", name, "5000/tcp").splitlines()[0]
        while time.perf_counter() - started < 120:
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"http://{address}/ping", timeout=5).close()
                return time.perf_counter() - started
            time.sleep(0.005)
        raise TimeoutError(f"{image} did not answer")
    finally:
        docker("rm", "--force", name)


def measure(ours: str, tutorial: str) -> list[tuple[str, float, float]]:
    """Return the rows of the table: quantity, ours, the tutorial's."""
    sizes = [
        json.loads(docker("image", "inspect", image))[0]["Size"] / 1e6 for image in (ours, tutorial)
    ]
    rows = [("size, MB", sizes[0], sizes[1])]
    for cpus in CPUS:
        pairs = []
        for number in range(STARTS):
            print(f"\rstart {number + 1} of {STARTS} ", end="", file=sys.stderr, flush=True)
            pairs.append([seconds_to_start(image, cpus) for image in (ours, tutorial)])
        medians = [statistics.median(times) for times in zip(*pairs, strict=True)]
        rows.append((f"start, s, {cpus or 'all'} CPU", medians[0], medians[1]))
    print(file=sys.stderr)
    return rows


def main() -> None:
    """Build both, measure both, print the ratios."""
    with tempfile.TemporaryDirectory() as folder:
        rows = measure(build_ours(Path(folder)), build_tutorial())
    print("| | this template | tutorial | ratio |\n|---|---|---|---|")
    for what, ours, tutorial in rows:
        print(f"| {what} | {ours:.2f} | {tutorial:.2f} | {tutorial / ours:.1f} |")


if __name__ == "__main__":
    main()
