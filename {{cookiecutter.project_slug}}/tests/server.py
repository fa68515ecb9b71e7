"""A running service for tests, and a client that sends raw bytes."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from inference.config import ROOT


def free_port():
    """Return an unused port."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return server.getsockname()[1]


class Server:
    """``python -m inference`` in this project, or in a copy in ``folder``."""

    def __init__(self, log, folder=ROOT, **variables):
        self.port = free_port()
        self.log = log
        given = {name: str(value) for name, value in variables.items()}
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "inference"],
                cwd=folder,
                env=os.environ | {"HOST": "127.0.0.1", "PORT": str(self.port)} | given,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def connect(self, timeout=30):
        """Open a new connection."""
        return socket.create_connection(("127.0.0.1", self.port), timeout)

    def wait(self, seconds=30):
        """Wait until it responds."""
        deadline = time.monotonic() + seconds
        while True:
            assert self.process.poll() is None, self.log.read_text()
            with contextlib.suppress(OSError):
                return self.exchange(b"GET /ping HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.02)

    def exchange(self, *parts):
        """Send parts on a new connection; return everything received until it closes."""
        with self.connect() as connection:
            for part in parts:
                connection.sendall(part)
            return read_all(connection)

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
