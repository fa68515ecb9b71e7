"""Running services for tests, in their own process or in this one, and a client that sends raw bytes."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from unittest import mock

import uvloop

from inference.config import ROOT
from inference.http import server as http_server


def free_port():
    """Return an unused port."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return server.getsockname()[1]


class Client:
    """Connections to a service on this machine."""

    def __init__(self, port, host="127.0.0.1"):
        self.port = port
        self.host = host

    def connect(self, timeout=30):
        """Open a new connection."""
        return socket.create_connection((self.host, self.port), timeout)

    def exchange(self, *parts):
        """Send parts on a new connection; return everything received until it closes."""
        with self.connect() as connection:
            for part in parts:
                connection.sendall(part)
            return read_all(connection)


class Server(Client):
    """``python -m inference`` in this project, or in a copy in ``folder``, with a limit of open ``files``."""

    def __init__(self, log, folder=ROOT, files=None, **variables):
        super().__init__(free_port(), variables.get("HOST", "127.0.0.1"))
        self.log = log
        command = [sys.executable, "-m", "inference"]
        if files:
            command = ["/bin/sh", "-c", f'ulimit -n {files} && exec "$@"', "sh", *command]
        given = {name: str(value) for name, value in variables.items()}
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                command,
                cwd=folder,
                env=os.environ | {"HOST": self.host, "PORT": str(self.port)} | given,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def wait(self, seconds=30):
        """Wait until it responds."""
        deadline = time.monotonic() + seconds
        while True:
            assert self.process.poll() is None, self.log.read_text()
            with contextlib.suppress(OSError):
                return self.exchange(b"GET /ping HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.02)

    def workers(self):
        """Return the process ids of the workers."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return [int(pid) for pid in children.split()]

    def entries(self):
        """Return the lines of the log; each must be JSON."""
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    def stop(self, number=signal.SIGTERM):
        """Stop the service; return its exit code."""
        self.process.send_signal(number)
        return self.process.wait(timeout=60)


def read_all(connection):
    """Read until the other side closes the connection."""
    received = b""
    with contextlib.suppress(ConnectionError):
        while part := connection.recv(65_536):
            received += part
    return received


def read_answer(connection):
    """Read one response: status, headers by lower-case name, and body."""
    received = b""
    while b"\r\n\r\n" not in received:
        received += take(connection)
    head, _, body = received.partition(b"\r\n\r\n")
    line, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value for name, _, value in (text.partition(": ") for text in lines)}
    while len(body) < int(headers.get("content-length", 0)):
        body += take(connection)
    return int(line.split()[1]), headers, body


def take(connection):
    """Read some bytes; raise ConnectionError if the connection has closed."""
    part = connection.recv(65_536)
    if not part:
        raise ConnectionError("the connection ended")
    return part


@contextlib.contextmanager
def serving(log, **variables):
    """Run a service until the end of the block."""
    server = Server(log, **variables)
    try:
        server.wait()
        yield server
    finally:
        if server.process.poll() is None:
            server.stop()


class Loop(uvloop.Loop):
    """An event loop outside the main thread, which cannot handle signals."""

    def add_signal_handler(self, *_):
        pass


@contextlib.contextmanager
def serving_here(app):
    """Run a server in a thread of this process until the end of the block; its deadlines may be below a second."""
    with (
        mock.patch.object(http_server, "SWEEP_SECONDS", 0.02),
        socket.create_server(("127.0.0.1", 0)) as listener,
    ):
        server = http_server.Server(app, app, listener, memoryview(bytearray(8)).cast("q"), 0)
        ready = threading.Event()

        def run():
            with asyncio.Runner(loop_factory=Loop) as runner:
                runner.run(server.run(ready.set))

        thread = threading.Thread(target=run)
        port = listener.getsockname()[1]
        thread.start()
        try:
            assert ready.wait(30)
            yield Client(port)
        finally:
            server._loop.call_soon_threadsafe(server.drain)
            thread.join(30)
