"""A server under test: startup, responses, resource use, and shutdown."""

import contextlib
import ctypes
import http.client
import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Self

from load import HOST
from machine import TICKS
from peer import Encoding, Launch, Request, Rows, Setting

START_SECONDS = 120
STOP_SECONDS = 2
POLL_SECONDS = 0.003
SET_CHILD_SUBREAPER = 36
CGROUPS = Path("/sys/fs/cgroup")
PERIOD_MICROSECONDS = 100_000


class ServerError(Exception):
    """A server does not start, or does not respond correctly."""


def adopt_orphans() -> None:
    """Remain the ancestor of all processes that servers start, including orphans."""
    ctypes.CDLL(None).prctl(SET_CHILD_SUBREAPER, 1)


def descendants() -> dict[int, list[str]]:
    """Return the fields of /proc/PID/stat after the name, for every descendant of this process."""
    stats = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            stats[int(path.parent.name)] = path.read_text().rpartition(")")[2].split()
    found: dict[int, list[str]] = {}
    parents = {os.getpid()}
    while parents:
        children = {pid for pid, stat in stats.items() if int(stat[1]) in parents}
        found.update((pid, stats[pid]) for pid in children)
        parents = children
    return found


class Quota:
    """A cgroup whose processes share a fraction of a CPU; raise OSError if none can be created."""

    def __init__(self, cpus: float) -> None:
        name = f"bench-serving-{os.getpid()}"
        microseconds = int(cpus * PERIOD_MICROSECONDS)
        if (CGROUPS / "cgroup.controllers").exists():
            self.folder = CGROUPS / name
            with contextlib.suppress(OSError):
                (CGROUPS / "cgroup.subtree_control").write_text("+cpu")
            limits = {"cpu.max": f"{microseconds} {PERIOD_MICROSECONDS}"}
        else:
            self.folder = CGROUPS / "cpu" / name
            limits = {
                "cpu.cfs_period_us": str(PERIOD_MICROSECONDS),
                "cpu.cfs_quota_us": str(microseconds),
            }
        self.folder.mkdir(exist_ok=True)
        try:
            for file, text in limits.items():
                # "r+" never creates a file, so a limit that the kernel lacks is an error.
                with (self.folder / file).open("r+") as limit:
                    limit.write(text)
        except OSError:
            self.folder.rmdir()
            raise

    def enter(self) -> None:
        """Move the calling process into the cgroup."""
        (self.folder / "cgroup.procs").write_text("0")

    def remove(self) -> None:
        """Remove the cgroup; its processes must have ended."""
        with contextlib.suppress(OSError):
            self.folder.rmdir()


def free_port() -> int:
    """Return a free port that is followed by two free ports: MLServer uses three."""
    while True:
        # Stay below the ports of clients.
        port = random.randrange(20000, 30000)  # noqa: S311
        try:
            for number in range(port, port + 3):
                socket.create_server((HOST, number)).close()
        except OSError:
            continue
        return port


class Server:
    """A process for a setting; use it as a context manager, which stops it.

    Run one at a time: every descendant of this process counts as the server's. It calls ``confine`` before it
    becomes the server.
    """

    def __init__(
        self,
        setting: Setting,
        launch: Launch,
        folder: Path,
        log: Path,
        confine: Callable[[], None] | None = None,
    ) -> None:
        self.setting = setting
        self.port = launch.port
        self.log = log
        variables = {
            **os.environ,
            "PATH": f"{launch.python.parent}:{os.environ['PATH']}",
            **setting.variables,
        }
        with log.open("wb") as output:
            self.started = time.perf_counter()
            self.process = subprocess.Popen(  # noqa: S603
                setting.command(launch),
                cwd=folder,
                env=variables,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=confine,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def ask(self, request: Request) -> tuple[int, bytes, Mapping[str, str]]:
        """Send a request on a new connection; return status, body and headers of the response."""
        connection = http.client.HTTPConnection(HOST, self.port, timeout=START_SECONDS)
        try:
            headers = {"Content-Type": request.content_type, **request.headers}
            connection.request("POST", request.path, request.body, headers)
            response = connection.getresponse()
            return response.status, response.read(), response.headers
        finally:
            connection.close()

    def wait(self, request: Request) -> float:
        """Return the seconds from the start to the first 200; raise ServerError if none arrives."""
        while (seconds := time.perf_counter() - self.started) < START_SECONDS:
            if self.process.poll() is not None:
                raise ServerError(f"ended with code {self.process.returncode}{self.last_lines()}")
            with contextlib.suppress(OSError, http.client.HTTPException):
                if self.ask(request)[0] == 200:
                    return time.perf_counter() - self.started
            time.sleep(POLL_SECONDS)
        raise ServerError(f"no answer in {seconds:.0f} seconds{self.last_lines()}")

    def check(self, model: str, encoding: Encoding, rows: Rows, classes: Sequence[str]) -> None:
        """Send each row alone and all at once; raise ServerError for a wrong answer."""
        batches = [(rows[index : index + 1], [name]) for index, name in enumerate(classes)]
        for batch, expected in [*batches, (rows, list(classes))]:
            status, body, headers = self.ask(encoding.request(model, batch))
            if status != 200:
                raise ServerError(f"{status} for {len(batch)} rows: {body[:300]!r}")
            found = encoding.classes(body, headers)
            if found != expected:
                raise ServerError(
                    f"{len(batch)} rows are of the classes {expected}, answered: {found}"
                )

    def cpu_seconds(self) -> float:
        """Return the CPU time of all its processes so far, including their waited-for children."""
        # utime, stime, cutime, cstime: fields 14 to 17 of the whole line
        return sum(sum(map(int, stat[11:15])) for stat in descendants().values()) / TICKS

    def memory(self) -> float:
        """Return the megabytes of its processes, with shared memory counted once (PSS)."""
        kilobytes = 0
        for pid in descendants():
            with contextlib.suppress(OSError):
                for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                    if line.startswith("Pss:"):
                        kilobytes += int(line.split()[1])
        return kilobytes * 1024 / 1e6

    def stop(self) -> None:
        """Stop all its processes: signal its process group, then kill the rest."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGTERM)
        for _ in self.alive_for(STOP_SECONDS):
            pass
        for alive in self.alive_for(STOP_SECONDS):
            for pid in alive:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    def alive_for(self, seconds: float) -> Iterator[list[int]]:
        """Poll which of its processes are left, until none is or the time is up."""
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            self.process.poll()
            alive = []
            for pid, stat in descendants().items():
                if stat[0] != "Z":
                    alive.append(pid)
                elif int(stat[1]) == os.getpid() and pid != self.process.pid:
                    with contextlib.suppress(ChildProcessError):
                        os.waitpid(pid, os.WNOHANG)
            if not alive:
                return
            yield alive
            time.sleep(0.02)

    def last_lines(self) -> str:
        """Return the end of its output, for an error message."""
        lines = self.log.read_text(errors="replace").splitlines()[-15:]
        return "".join(f"\n    {line}" for line in lines)
