"""The worker processes: one for each CPU, replaced when they end, stopped by a signal."""

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

# The share of a worker that takes no connections yet, or no more: all others have fewer.
NONE_TAKEN = 2**40
# Delay before replacing a worker that ended during startup.
RETRY_SECONDS = 1.0
# Time for a worker to exit by itself once its time to finish is over.
GRACE_SECONDS = 2.0
TICK_SECONDS = 0.1

SIGNALS = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD, signal.SIGALRM}


@dataclass
class Worker:
    """The state that a forked process shares with the other workers and its parent.

    ``shares`` holds the number of connections of each worker. ``lifeline`` is a pipe that closes when the parent ends,
    ``report`` a pipe to the parent. ``replaces`` says how the worker that this one replaces ended, if any.
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
        """Start to take a share of the connections."""
        self.shares[self.number] = 0


class Supervisor:
    """Forks ``count`` processes that run ``work``, and replaces each that ends.

    Forked processes start with all modules that this one has imported, and share ``listener``. ``work``
    returns on SIGTERM, which this process sends to the workers when it receives SIGTERM, SIGINT or SIGHUP.
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
        # By number, when to retry a worker that could not start, and the reason why it could not.
        self._due: dict[int, tuple[float, str]] = {}
        self._kill_at: float | None = None

    def run(self) -> int:
        """Serve until a signal stops it; return the exit code.

        Signals are blocked and waited for, never handled, so none is lost between two statements.
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
            # One signal may stand for several children that ended.
            for number, pid, status in self._ended():
                has_served = self._shares[number] != NONE_TAKEN
                self._shares[number] = NONE_TAKEN
                if self._kill_at:
                    continue
                if has_served:
                    self._fork(number, describe(pid, status))
                elif any(share != NONE_TAKEN for share in self._shares):
                    # Read the report each time: unread ones would fill the pipe and block the next worker.
                    self._due[number] = time.monotonic() + RETRY_SECONDS, self._reason(pid, status)
                else:
                    code = 1
                    sys.stderr.write(self._reason(pid, status) + "\n")
                    self._stop()
            self._keep_time()
        return code

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
            # A terminal sends SIGINT to every process; the parent passes it on as SIGTERM.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            os.close(self._life)
            self._work(Worker(number, self._shares, self._lifeline, self._write_report, replaces))
            code = 0
        except Exception:
            traceback.print_exc()
        finally:
            # Exit without waiting for threads that are still busy.
            os._exit(code)

    def _ended(self) -> list[tuple[int, int, int]]:
        """Return number, process ID and status of the workers that have ended."""
        ended = []
        with suppress(ChildProcessError):
            while (done := os.waitpid(-1, os.WNOHANG))[0]:
                # As the first process of a container, this one also reaps orphans.
                if done[0] in self._workers:
                    ended.append((self._workers.pop(done[0]), *done))
        return ended

    def _reason(self, pid: int, status: int) -> str:
        """Return why a worker did not start: what it reported, or how it ended."""
        with suppress(BlockingIOError):
            # The other workers would report the same.
            first, _, _ = os.read(self._report, mmap.PAGESIZE).partition(b"\0")
            return first.decode(errors="replace")
        return f"The service did not start: {describe(pid, status)}"

    def _stop(self) -> None:
        # New clients are refused once every worker has closed the listener, too.
        self._listener.close()
        self._due.clear()
        self._kill_at = self._kill_at or time.monotonic() + self._seconds_to_stop + GRACE_SECONDS
        for pid, number in self._workers.items():
            # A worker that does not serve yet has nothing to finish, and may be busy for a long time.
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
    """Describe how a process ended."""
    code = os.waitstatus_to_exitcode(status)
    how = f"by {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
    return f"worker {pid} ended {how}"
