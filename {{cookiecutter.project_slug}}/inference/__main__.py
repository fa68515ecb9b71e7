"""Run the service: ``python -m inference``. With ``batch IN OUT``, score a file like ``python -m inference.batch``."""

import gc
import sys

if __name__ == "__main__" and sys.argv[1:2] == ["batch"]:
    # A container's entry point is fixed by its image; only the arguments can be set.
    from inference.batch.__main__ import main as score

    sys.exit(score(sys.argv[2:]))

# Imports create many objects and free few; the workers enable garbage collection again.
gc.disable()

import asyncio
import atexit
import errno
import logging
import os
import resource
import signal
import socket
from functools import partial
from typing import TYPE_CHECKING

# The model computes in one thread per process; threads of its own would not survive a fork either.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import uvloop
from flask import Flask

from inference.config import Settings, available_cpus
from inference.errors import StartupError
from inference.http.server import Server
from inference.http.workers import Supervisor, Worker
from inference.monitoring import logs
from inference.monitoring.metrics import shared

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

logger = logging.getLogger("inference")
# Descriptors for anything but connections: files, pipes, libraries.
SPARE_DESCRIPTORS = 64


def main() -> None:
    """Serve until a signal stops the process."""
    try:
        settings = Settings.from_environment(os.environ)
        listener = listen(settings.host, settings.port)
        allow_descriptors(settings.max_connections)
    except StartupError as error:
        sys.exit(str(error))
    workers = settings.workers or available_cpus()
    shared.allocate(workers)
    # Exclude imported modules from garbage collection, so that workers keep sharing their memory.
    gc.freeze()
    work = partial(serve, settings, listener)
    sys.exit(Supervisor(workers, work, listener, settings.shutdown_seconds).run())


def listen(host: str, port: int) -> socket.socket:
    """Return a socket bound to that address; raise StartupError if it cannot be bound.

    The first worker that is ready starts to listen.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, _, _, _, address = found[0]
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            reason = "the port is in use, take another PORT"
        else:
            reason = error.strerror or str(error)
        raise StartupError(f"Could not listen at HOST={host} PORT={port}: {reason}") from error
    return listener


def allow_descriptors(connections: int) -> None:
    """Allow a descriptor for each connection; if the system does not, allow fewer connections."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + SPARE_DESCRIPTORS
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        if soft < wanted:
            # The workers read their settings from the environment.
            os.environ["MAX_CONNECTIONS"] = str(max(soft - SPARE_DESCRIPTORS, 8))


def serve(settings: Settings, listener: socket.socket, worker: Worker) -> None:
    """Load the model and answer requests; this is what a worker runs."""
    logging.basicConfig(handlers=[logs.Handler()], level=settings.log_level, force=True)
    shared.choose(worker.number)
    try:
        from application import app, application
    except SystemExit as error:
        worker.fail(str(error.code))
        raise
    gc.freeze()
    gc.enable()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(answer(app, application, listener, worker))
    app.extensions["service"].sample.flush()
    # The worker ends with os._exit(), which skips the handlers of libraries, such as a tracer's that flushes spans.
    atexit._run_exitfuncs()
    logs.writer.flush(seconds=1)


async def answer(
    app: Flask, application: "WSGIApplication", listener: socket.socket, worker: Worker
) -> None:
    """Answer requests until SIGTERM."""
    server = Server(app, application, listener, worker.shares, worker.number)
    # If the parent is gone, no one else would tell this worker to stop.
    asyncio.get_running_loop().add_reader(worker.lifeline, server.drain)

    def ready() -> None:
        worker.start()
        # CloudWatch needs the minutes without a request, too.
        server.service.statistics.start()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
        host, port = listener.getsockname()[:2]
        fields = {}
        if worker.replaces:
            fields["replaces"] = worker.replaces
        if server.hooks:
            fields["flask_sees_all_because_of"] = ", ".join(server.hooks)
        level = logging.WARNING if worker.replaces else logging.INFO
        logger.log(level, "Listening at http://%s:%s", host, port, extra={"fields": fields})

    await server.run(ready)


if __name__ == "__main__":
    main()
