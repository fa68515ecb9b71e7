"""Bake a project, train its model, rehearse its deployment, serve it and ask it: ``make demo``."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from cookiecutter.main import cookiecutter

TEMPLATE = Path(__file__).parent.parent
FLOWER = {"instances": [[5.1, 3.5, 1.4, 0.2]]}


def main() -> None:
    """Leave the service running until Ctrl-C, and then nothing.

    Where ecs-cli cannot be had, the project deploys with CloudFormation: the AWS CLI is enough for that.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with contextlib.suppress(KeyboardInterrupt), tempfile.TemporaryDirectory() as folder:
        project = bake(Path(folder))
        if not has_ecs_cli(project):
            say(
                "ecs-cli is not here and cannot be installed: deploying with CloudFormation instead"
            )
            project = bake(Path(folder) / "cloudformation", deploy_tool="cloudformation")
        make(project, "setup", "train")
        make(project, "rehearse")
        with serve(project, pick_port()) as url:
            announce(url, ask(url))
            signal.pause()
    print("\nStopped; the project is deleted.")


def bake(folder: Path, **answers: str) -> Path:
    """Make the project, as ``cookiecutter --no-input`` does."""
    named = " ".join(f"{name}={answer}" for name, answer in answers.items())
    say(f"Baking a project with {named or 'the default answers'}")
    return Path(
        cookiecutter(
            str(TEMPLATE),
            no_input=True,
            extra_context=answers,
            output_dir=str(folder),
            default_config=True,
        )
    )


def has_ecs_cli(project: Path) -> bool:
    """Whether ecs-cli is on PATH, or could be installed into the project."""
    if shutil.which(os.environ.get("ECS_CLI", "ecs-cli")):
        return True
    say("make ecs-cli")
    with contextlib.suppress(subprocess.TimeoutExpired):
        done = subprocess.run(["make", "--no-print-directory", "ecs-cli"], cwd=project, timeout=120)
        os.environ["ECS_CLI"] = str(project / "bin" / "ecs-cli")
        return done.returncode == 0
    return False


def make(project: Path, *targets: str) -> None:
    """Run ``make`` in the project; a failure ends the demo."""
    say(f"make {' '.join(targets)}")
    result = subprocess.run(["make", "--no-print-directory", *targets], cwd=project)
    if result.returncode:
        sys.exit(f"make {' '.join(targets)} failed in {project}")


def pick_port(preferred: int = 5000) -> int:
    """The project's own port, or any free one where that is taken."""
    for port in (preferred, 0):
        with socket.socket() as server, contextlib.suppress(OSError):
            server.bind(("127.0.0.1", port))
            return int(server.getsockname()[1])
    raise OSError("no free port on 127.0.0.1")


@contextlib.contextmanager
def serve(project: Path, port: int) -> Iterator[str]:
    """Run the service, in a process group of its own so that all of it can be ended."""
    say(f"make run PORT={port}")
    log = (project / "service.log").open("w")
    service = subprocess.Popen(
        ["make", "run", f"PORT={port}"],
        cwd=project,
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        url = f"http://127.0.0.1:{port}"
        wait(service, url)
        yield url
    except RuntimeError:
        sys.exit((project / "service.log").read_text())
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(service.pid, signal.SIGINT)
        service.wait(timeout=30)
        log.close()


def wait(service: subprocess.Popen[bytes], url: str, seconds: float = 60) -> None:
    """Return when the service answers; raise RuntimeError when it has ended or takes too long."""
    deadline = time.monotonic() + seconds
    while service.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(urllib.error.URLError, ConnectionError):
            urllib.request.urlopen(f"{url}/ping", timeout=5).close()  # noqa: S310
            return
        time.sleep(0.1)
    raise RuntimeError("the service did not start")


def ask(url: str) -> str:
    """Predict for one flower."""
    request = urllib.request.Request(  # noqa: S310
        f"{url}/predict", json.dumps(FLOWER).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=10) as response:  # noqa: S310
        return str(response.read().decode())


def announce(url: str, answer: str) -> None:
    """Tell where the service is and how to ask it."""
    say(f"Serving at {url} - open it in a browser, or:")
    print(
        f"curl {url}/predict -H 'Content-Type: application/json' -d '{json.dumps(FLOWER)}'",
        answer,
        "Ctrl-C ends it.",
        sep="\n",
        flush=True,
    )


def say(what: str) -> None:
    """Tell the user which step this is."""
    print(f"\n== {what}", flush=True)


if __name__ == "__main__":
    main()
