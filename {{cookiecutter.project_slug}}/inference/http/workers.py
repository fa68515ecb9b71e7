"""The processes that serve: one for each CPU, replaced when they end, and told to stop."""

import mmap
import os
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

# The connections of a worker that takes none yet, or no more: all others have fewer.
NONE_TAKEN = 2**40
# Before a worker that ended while it started is replaced.
RETRY_SECONDS = 1.0
# For a worker to end by itself once its time to finish is over.
GRACE_SECONDS = 2.0
TICK_SECONDS = 0.1

SIGNALS = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD, signal.SIGALRM}


@dataclass
class Worker:
    """What a forked process knows of itself, its like, and its parent.

    ``shares`` holds the number of connections of each worker. ``lifeline`` is a pipe that ends with the parent,
    ``report`` one to it. ``replaces`` says how the worker ended whose place it takes, if any.
    """

    number: int
    shares: "memoryview[int]"
    lifeline: int
    report: int
    replaces: str

    def fail(self, reason: str) -> None:
        """Tell the parent why this worker cannot start."""
        os.write(self.report, reason.encode()[: mmap.PAGESIZE - 1] + b"\0")

    def start(self) -> None:
        """Take a share of the connections."""
        self.shares[self.number] = 0


class Supervisor:
    """Forks ``count`` processes that do ``work``, and replaces each that ends.

    They are forked, so that they start with what this process has imported, and share ``listener``. ``work``
    returns when it is told to stop by SIGTERM, which this process passes on when it gets it, or SIGINT.
    """

    def __init__(
        self,
        count: int,
        work: Callable[[Worker], None],
        listener: socket.socket,
        seconds_to_stop: float,
    ) -> None:
        self._count = count
        self._work = work
        self._listener = listener
        self._seconds_to_stop = seconds_to_stop
        self._shares = memoryview(mmap.mmap(-1, count * 8)).cast("q")
        self._report, self._write_report = os.pipe()
        self._lifeline, self._life = os.pipe()
        os.set_blocking(self._report, False)
        self._workers: dict[int, int] = {}
        # When a worker that could not start is tried again, by its number, and why it could not.
        self._due: dict[int, tuple[float, str]] = {}
        self._kill_at: float | None = None

    def run(self) -> int:
        """Serve until a signal ends it; return the exit code.

        Signals are blocked and waited for, never handled, so none is lost between two lines.
        """
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        for number in range(self._count):
            self._fork(number)
        code = 0
        while self._workers or self._due:
            if self._due or self._kill_at:
                signal.setitimer(signal.ITIMER_REAL, TICK_SECONDS)
            received = signal.sigwait(SIGNALS)
            if received in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                self._stop()
            # Several children may have ended for one signal.
            for number, pid, status in self._ended():
                has_served = self._shares[number] != NONE_TAKEN
                self._shares[number] = NONE_TAKEN
                if self._kill_at:
                    continue
                if has_served:
                    self._fork(number, describe(pid, status))
                elif self._serves():
                    # Read each time: reports that nobody takes would fill the pipe, and hold up the next worker.
                    self._due[number] = time.monotonic() + RETRY_SECONDS, self._reason(pid, status)
                else:
                    code = 1
                    sys.stderr.write(self._reason(pid, status) + "\n")
                    self._stop()
            self._keep_time()
        return code

    def _serves(self) -> bool:
        return any(share != NONE_TAKEN for share in self._shares)

    def _fork(self, number: int, replaces: str = "") -> None:
        self._shares[number] = NONE_TAKEN
        pid = os.fork()
        if pid:
            self._workers[pid] = number
            return
        code = 1
        try:
            for each in SIGNALS - {signal.SIGINT, signal.SIGTERM}:
                signal.signal(each, signal.SIG_DFL)
            # A terminal sends it to every process; the parent passes it on.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            os.close(self._life)
            self._work(Worker(number, self._shares, self._lifeline, self._write_report, replaces))
            code = 0
        except Exception:
            traceback.print_exc()
        finally:
            # No thread that is still busy holds up the end.
            os._exit(code)

    def _ended(self) -> list[tuple[int, int, int]]:
        """Number, process id and status of the workers that have ended."""
        ended = []
        with suppress(ChildProcessError):
            while (done := os.waitpid(-1, os.WNOHANG))[0]:
                # As the first process of a container this one gets the orphans, too.
                if done[0] in self._workers:
                    ended.append((self._workers.pop(done[0]), *done))
        return ended

    def _reason(self, pid: int, status: int) -> str:
        """Why a worker did not start: what it said, or how it ended."""
        with suppress(BlockingIOError):
            # The others would say the same.
            first, _, _ = os.read(self._report, mmap.PAGESIZE).partition(b"\0")
            return first.decode(errors="replace")
        return f"The service did not start: {describe(pid, status)}"

    def _stop(self) -> None:
        # Who comes now is refused as soon as each worker has closed it, too.
        self._listener.close()
        self._due.clear()
        self._kill_at = self._kill_at or time.monotonic() + self._seconds_to_stop + GRACE_SECONDS
        for pid, number in self._workers.items():
            # One that does not serve yet has nothing to finish, and may be busy for long.
            is_starting = self._shares[number] == NONE_TAKEN
            os.kill(pid, signal.SIGKILL if is_starting else signal.SIGTERM)

    def _keep_time(self) -> None:
        now = time.monotonic()
        if self._kill_at and now > self._kill_at:
            for pid in self._workers:
                os.kill(pid, signal.SIGKILL)
        for number, (due, how) in list(self._due.items()):
            if now > due:
                del self._due[number]
                self._fork(number, how)


def describe(pid: int, status: int) -> str:
    """How a process ended."""
    code = os.waitstatus_to_exitcode(status)
    how = f"by {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
    return f"worker {pid} ended {how}"
