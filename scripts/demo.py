"""Bake a project, train its model, rehearse its deployment, serve it and query it: ``make demo``.

Everything happens in a temporary folder, which is deleted after Ctrl-C. If a step fails, the folder stays.
"""

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

TEMPLATE = Path(__file__).parent.parent
PENGUIN = {
    "island": "Torgersen",
    "bill_length_mm": 39.1,
    "bill_depth_mm": 18.7,
    "flipper_length_mm": 181,
    "body_mass_g": 3750,
    "sex": "male",
}
QUESTION = json.dumps({"instances": [PENGUIN]})
# Debian's packages have the same names as these tools.
NEEDED = ("bash", "git", "make")
INSTALLERS = ("apt-get install", "dnf install", "apk add", "pacman -S", "brew install")
ECS_CLI_URL = os.environ.get("ECS_CLI_URL", "https://amazon-ecs-cli.s3.amazonaws.com")
# The exit code of a rehearsal that could not run the service.
NOT_REHEARSED = 3
INTERRUPTS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
STARTED = time.monotonic()


class FailedStepError(Exception):
    """A step failed; the text is the end of its output."""


def end_group(leader: subprocess.Popen[bytes], seconds: float = 10) -> None:
    """End a process and its group, and wait for all of it, since make ends before its children."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(leader.pid, signal.SIGTERM)
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            leader.poll()
            os.killpg(leader.pid, 0)
            time.sleep(0.05)
        os.killpg(leader.pid, signal.SIGKILL)
    leader.wait()


@contextlib.contextmanager
def late_interrupt() -> Iterator[None]:
    """Delay Ctrl-C to the end of the block, so that no half-started process is left running."""
    came: list[int] = []
    before = {n: signal.signal(n, lambda number, _: came.append(number)) for n in INTERRUPTS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if came:
        signal.raise_signal(came[0])


class Demo:
    """The steps of the demo, in a separate folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder / "demo.log"
        (folder / "tmp").mkdir()
        self.environment = {**os.environ, "TMPDIR": str(folder / "tmp")}

    def show(self) -> None:
        """Run all steps, up to a service that runs until KeyboardInterrupt.

        If ecs-cli cannot be installed, the project deploys with CloudFormation, which needs only
        the AWS CLI.
        """
        say(f"Baking a project with the default answers in {self.folder}")
        project = self.bake("project")
        if reason := self.install_ecs_cli(project):
            say(f"No ecs-cli, which is optional: {reason}")
            say("Baking a project that deploys with CloudFormation instead")
            project = self.bake("cloudformation", "deploy_tool=cloudformation")
        say("Installing its packages and training its model (make setup train)")
        self.run(project, "make", "setup", "train")
        say("Rehearsing its deployment without an account (make rehearse)")
        self.run(project, "make", "rehearsal-setup")
        rehearsal = ("rehearsal/.venv/bin/python", "-E", "-m", "rehearsal")
        code = self.run(project, *rehearsal, is_shown=True, codes=(0, NOT_REHEARSED))
        if code == NOT_REHEARSED:
            say("The rehearsal skipped the service")
        port = pick_port()
        say(f"Starting the service (make run PORT={port})")
        with self.serve(project, port) as url:
            announce(url, predict(url))
            signal.pause()

    def bake(self, name: str, *answers: str) -> Path:
        """Bake a project without the user's cookiecutter configuration, and leave no replay file."""
        folder = self.folder / name
        folder.mkdir()
        configuration = folder / "cookiecutter.json"
        folders = ("replay_dir", "cookiecutters_dir")
        configuration.write_text(json.dumps({key: str(folder / key) for key in folders}))
        options = ["--no-input", f"--config-file={configuration}", f"--output-dir={folder}"]
        command = [sys.executable, "-m", "cookiecutter", *options, str(TEMPLATE), *answers]
        self.run(self.folder, *command)
        (makefile,) = folder.glob("*/Makefile")
        return makefile.parent

    def install_ecs_cli(self, project: Path) -> str:
        """Return why there is no ecs-cli, or nothing if it is on PATH or can be installed."""
        if shutil.which(os.environ.get("ECS_CLI", "ecs-cli")):
            return ""
        if not shutil.which("gpg"):
            return "installing it needs gpg (the package gnupg)"
        say("Installing ecs-cli (make ecs-cli)")
        try:
            with contextlib.suppress(urllib.error.HTTPError):
                urllib.request.urlopen(ECS_CLI_URL, timeout=10).close()  # noqa: S310
            self.run(project, "make", "--silent", "ecs-cli")
        except OSError as error:
            return f"{ECS_CLI_URL} cannot be reached ({getattr(error, 'reason', error)})"
        except FailedStepError as failure:
            reports = [line for line in str(failure).splitlines() if not line.startswith("make")]
            return reports[-1] if reports else "make ecs-cli failed"
        self.environment["ECS_CLI"] = str(project / "bin" / "ecs-cli")
        return ""

    def run(
        self, project: Path, *command: str, is_shown: bool = False, codes: tuple[int, ...] = (0,)
    ) -> int:
        """Run a command in the project, show or log its output, and return its exit code."""
        with self.start(project, command, is_shown) as step:
            code = step.wait()
        if code not in codes:
            lines = [] if is_shown else self.log.read_text(errors="replace").splitlines()[-20:]
            raise FailedStepError("\n".join([*lines, f"'{' '.join(command)}' failed."]))
        return code

    @contextlib.contextmanager
    def start(
        self, project: Path, command: tuple[str, ...], is_shown: bool = False
    ) -> Iterator[subprocess.Popen[bytes]]:
        """Start a command in its own process group, and end the whole group afterwards."""
        process = None
        try:
            with self.log.open("ab") as log, late_interrupt():
                process = subprocess.Popen(
                    command,
                    cwd=project,
                    env=self.environment,
                    stdin=subprocess.DEVNULL,
                    stdout=None if is_shown else log,
                    stderr=None if is_shown else subprocess.STDOUT,
                    start_new_session=True,
                )
            yield process
        finally:
            if process:
                end_group(process)

    @contextlib.contextmanager
    def serve(self, project: Path, port: int) -> Iterator[str]:
        """Run the service; yield its URL once it responds."""
        url = f"http://127.0.0.1:{port}"
        with self.start(project, ("make", "run", f"PORT={port}")) as service:
            deadline = time.monotonic() + 60
            while not is_ready(url):
                if service.poll() is not None or time.monotonic() > deadline:
                    lines = self.log.read_text(errors="replace").splitlines()[-20:]
                    raise FailedStepError("\n".join([*lines, "The service did not start."]))
                time.sleep(0.1)
            yield url


def missing_tools() -> list[str]:
    """Return the missing tools, each with the command that installs it."""
    found = (command for command in INSTALLERS if shutil.which(command.split()[0]))
    installer = next(found, "install the package")
    missing = [f"{name}: {installer} {name}" for name in NEEDED if not shutil.which(name)]
    python = os.environ.get("PYTHON", "python3")
    command = [python, "-I", "-c", "import ensurepip, venv"]
    if not shutil.which(python) or subprocess.run(command, capture_output=True).returncode:
        missing.append(f"{python} with venv: {installer} python3-venv")
    return missing


def pick_port(preferred: int = 5000) -> int:
    """Return the project's default port, or any free one if that is taken."""
    for port in (preferred, 0):
        with socket.socket() as server, contextlib.suppress(OSError):
            server.bind(("127.0.0.1", port))
            return int(server.getsockname()[1])
    raise OSError("no free port on 127.0.0.1")


def ask(url: str, body: bytes | None = None) -> str:
    """Query a server on this machine, ignoring any proxy in the environment."""
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})  # noqa: S310
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=10) as response:
        return str(response.read().decode())


def is_ready(url: str) -> bool:
    """Whether the service responds."""
    with contextlib.suppress(OSError):
        ask(f"{url}/ping")
        return True
    return False


def predict(url: str) -> str:
    """Predict for one penguin."""
    return ask(f"{url}/predict", QUESTION.encode())


def announce(url: str, answer: str) -> None:
    """Print the URL of the service and a sample request."""
    say(f"Serving at {url} - open it in a browser, or:")
    print(
        f"curl {url}/predict -H 'Content-Type: application/json' -d '{QUESTION}'",
        answer,
        "Press Ctrl-C to stop it.",
        sep="\n",
        flush=True,
    )


def say(what: str) -> None:
    """Print a step, with the seconds since the start."""
    print(f"[{time.monotonic() - STARTED:3.0f} s] {what}", flush=True)


def interrupt(*_: object) -> None:
    """Raise KeyboardInterrupt once; later signals must not interrupt the cleanup."""
    for number in INTERRUPTS:
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def main() -> int:
    """Run the demo; return the exit code."""
    if missing := missing_tools():
        print("The demo needs", *missing, sep="\n  ", file=sys.stderr)
        return 1
    for number in INTERRUPTS:
        signal.signal(number, interrupt)
    folder = Path(tempfile.mkdtemp(prefix="demo-"))
    try:
        Demo(folder).show()
    except FailedStepError as failure:
        print(f"{failure}\nThe project and demo.log are in {folder}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        shutil.rmtree(folder, ignore_errors=True)
        print("\nStopped; the project is deleted.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
