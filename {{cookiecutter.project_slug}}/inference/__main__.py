"""Run the service under granian: ``python -m inference``."""

import multiprocessing
import os
import signal
import socket
import sys
import threading
from multiprocessing import resource_tracker

from granian import Granian
from granian.constants import HTTPModes, Interfaces
from granian.log import LogLevels

from inference import artifact, logs
from inference.config import Settings, available_cpus
from inference.errors import StartupError


def main() -> None:
    """Serve until a signal ends it; settings and model are checked before a worker starts."""
    try:
        settings = Settings.from_environment(os.environ)
        artifact.read(settings.model_path)
        check_address(settings.host, settings.port)
    except StartupError as error:
        sys.exit(str(error))
    # A forked worker would inherit the signal handlers of this process, and miss a signal by them.
    multiprocessing.set_start_method("spawn")
    keep_interrupts_from_workers()
    Granian(
        "application:application",
        address=settings.host,
        port=settings.port,
        interface=Interfaces.WSGI,
        workers=settings.workers or available_cpus(),
        # One thread computes, one does the I/O: more of either only contend for the same CPU.
        blocking_threads=1,
        runtime_threads=1,
        http=HTTPModes.http1,
        websockets=False,
        log_level=LogLevels(settings.log_level.lower()),
        log_dictconfig=logs.config(settings.log_level),
        respawn_failed_workers=True,
        workers_kill_timeout=settings.shutdown_seconds,
    ).serve()


def check_address(host: str, port: int) -> None:
    """Raise StartupError where the service cannot listen."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        socket.create_server((host, port), family=family).close()
    except OSError as error:
        raise StartupError(f"Could not listen at {host}:{port}: {error.strerror}") from error


def keep_interrupts_from_workers() -> None:
    """Turn Ctrl-C, which a terminal sends to every process, into SIGTERM for this one alone.

    A worker of granian 2.8 that gets SIGINT and then its parent's SIGTERM may never end. Workers
    inherit the blocked signal.
    """
    # Until Python 3.12 its start, with the first worker, would unblock the signal again.
    resource_tracker.ensure_running()
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})

    def terminate_when_interrupted() -> None:
        signal.sigwait({signal.SIGINT})
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=terminate_when_interrupted, daemon=True).start()


if __name__ == "__main__":
    main()
