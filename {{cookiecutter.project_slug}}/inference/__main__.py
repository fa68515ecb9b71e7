"""Run the service under granian: ``python -m inference``."""

import contextlib
import errno
import gc
import multiprocessing
import os
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Iterator
from multiprocessing import resource_tracker

from granian import Granian
from granian.constants import HTTPModes, Interfaces
from granian.log import LogLevels

from inference.config import Settings, available_cpus
from inference.errors import StartupError
from inference.runtime import artifact
from inference.watch import METRICS_FOLDER, logs

LIGHT_THREADS = 4


def main() -> None:
    """Serve until a signal ends it; settings and model are checked before a worker starts."""
    try:
        settings = Settings.from_environment(os.environ)
        artifact.read(settings.model_path)
        address = resolve(settings.host, settings.port)
    except StartupError as error:
        sys.exit(str(error))
    workers = settings.workers or available_cpus()
    choose_start_of_workers()
    keep_interrupts_from_workers()
    # The imports of a worker make many objects and drop few; application.py enables it again.
    gc.disable()
    with share_metrics(workers):
        Granian(
            "application:application",
            address=address,
            port=settings.port,
            interface=Interfaces.WSGI,
            workers=workers,
            blocking_threads=threads(settings),
            runtime_threads=1,
            http=HTTPModes.http1,
            websockets=False,
            log_level=LogLevels(settings.log_level.lower()),
            log_dictconfig=logs.config(settings.log_level),
            respawn_failed_workers=True,
            respawn_interval=0.5,
            workers_kill_timeout=settings.shutdown_seconds,
        ).serve()


def threads(settings: Settings) -> int:
    """How many requests a worker sees at once.

    Without a queue few are best: they contend for one CPU. With one, all that are admitted, and some
    more, to refuse the others and to answer for the health.
    """
    return settings.max_concurrent + 8 if settings.uses_queue() else LIGHT_THREADS


@contextlib.contextmanager
def share_metrics(workers: int) -> Iterator[None]:
    """Give several workers a folder for their counts, in memory where that can be had.

    Where nothing can be written, each shows its own.
    """
    places = ["/dev/shm", os.environ.get("TMPDIR", "/tmp")]  # noqa: S108
    place = next((place for place in places if os.access(place, os.W_OK)), None)
    if workers == 1 or place is None:
        yield
        return
    with tempfile.TemporaryDirectory(prefix="metrics-", dir=place) as folder:
        os.environ[METRICS_FOLDER] = folder
        yield


def resolve(host: str, port: int) -> str:
    """Return the IP address of ``host``; raise StartupError where the service cannot listen there."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, _, _, _, address = found[0]
        socket.create_server(address[:2], family=family).close()
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            reason = "the port is in use, take another PORT"
        else:
            reason = error.strerror or str(error)
        raise StartupError(f"Could not listen at HOST={host} PORT={port}: {reason}") from error
    return str(address[0])


def choose_start_of_workers() -> None:
    """Fork workers where that is safe: one has what this process imported, and starts in half the time.

    A forked process has the signal handlers of this one too, which would lose a SIGTERM that comes
    before its own are set: it starts with the default, and with no moment in between.
    """
    if sys.platform != "linux":
        multiprocessing.set_start_method("spawn")
        # Until Python 3.12 its start, with the first worker, would unblock SIGINT again.
        resource_tracker.ensure_running()
        return
    multiprocessing.set_start_method("fork")
    signals = {signal.SIGTERM, signal.SIGHUP}

    def reset() -> None:
        for number in signals:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, signals)

    os.register_at_fork(
        before=lambda: signal.pthread_sigmask(signal.SIG_BLOCK, signals),
        after_in_parent=lambda: signal.pthread_sigmask(signal.SIG_UNBLOCK, signals),
        after_in_child=reset,
    )


def keep_interrupts_from_workers() -> None:
    """Turn Ctrl-C, which a terminal sends to every process, into SIGTERM for this one alone.

    A worker of granian 2.8 that gets SIGINT and then its parent's SIGTERM may never end. Workers
    inherit the blocked signal. This process must have no other thread yet, which would not: NumPy,
    for one, starts some when it is imported.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})

    def terminate_when_interrupted() -> None:
        signal.sigwait({signal.SIGINT})
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=terminate_when_interrupted, daemon=True).start()


if __name__ == "__main__":
    main()
