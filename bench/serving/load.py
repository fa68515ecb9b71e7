"""Load a server: as fast as its clients get responses (wrk), or at a rate that does not depend on it.

h2load has fixed rates too, but all its HTTP/1.1 clients send at the same moments, at most every 10 ms, and
its clock starts when a late request is sent. So arrivals here are random, and timed from when they were due.
"""

import collections
import ctypes
import gc
import json
import select
import shutil
import socket
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from peer import Request

HOST = "127.0.0.1"
CONNECTIONS = 64
# A slower response counts as an error.
TIMEOUT_SECONDS = 10
SET_TIMER_SLACK = 29
SCRIPT = """\
wrk.method = "POST"
wrk.path = {path}
wrk.headers = {{{headers}}}
local file = io.open({body}, "rb")
wrk.body = file:read("*a")
file:close()

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    '\\n{{"requests": %d, "seconds": %.6f, "p50": %.3f, "p99": %.3f, "refused": %d, "broken": %d}}\\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
    errors.status, errors.connect + errors.read + errors.write + errors.timeout))
end
"""


@dataclass(frozen=True)
class Load:
    """The result of a load: latencies in milliseconds, responses other than 2xx, broken connections."""

    requests: int
    seconds: float
    p50: float
    p99: float
    refused: int
    broken: int

    @property
    def rate(self) -> float:
        """Requests per second."""
        return self.requests / self.seconds

    @property
    def errors(self) -> int:
        """Requests without a successful response."""
        return self.refused + self.broken


def missing() -> str | None:
    """Return which programs must be installed first, if any."""
    if shutil.which("wrk"):
        return None
    return "wrk, the load generator, is not installed: apt-get install wrk"


def quoted(text: str) -> str:
    """Return a Lua string literal."""
    return json.dumps(text, ensure_ascii=False)


def closed_loop(
    port: int,
    request: Request,
    clients: int,
    seconds: int,
    folder: Path,
    confine: Callable[[], None] | None = None,
) -> Load:
    """Let each client send its next request when it has its response; write a script to ``folder``.

    wrk calls ``confine`` before it starts.
    """
    body = folder / "request.body"
    body.write_bytes(request.body)
    headers = {"Content-Type": request.content_type, **request.headers}
    script = folder / "request.lua"
    script.write_text(
        SCRIPT.format(
            path=quoted(request.path),
            headers=", ".join(f"[{quoted(k)}] = {quoted(v)}" for k, v in headers.items()),
            body=quoted(str(body)),
        )
    )
    command = ["wrk", "--threads=1", f"--connections={clients}", f"--duration={seconds}s"]
    command += ["--latency", f"--timeout={TIMEOUT_SECONDS}s", f"--script={script}"]
    command += [f"http://{HOST}:{port}{request.path}"]
    output = subprocess.run(  # noqa: S603
        command,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        timeout=seconds + 60,
        preexec_fn=confine,
    ).stdout
    return Load(**json.loads(output.splitlines()[-1]))


def message(request: Request, port: int) -> bytes:
    """Return the bytes of a request."""
    headers = {
        "Host": f"{HOST}:{port}",
        "Content-Type": request.content_type,
        "Content-Length": str(len(request.body)),
        **request.headers,
    }
    lines = [f"POST {request.path} HTTP/1.1", *(f"{name}: {headers[name]}" for name in headers)]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + request.body


@dataclass
class Connection:
    """A client of the open loop, and the time when its current request was due."""

    port: int
    due: float = 0
    received: bytes = b""
    link: socket.socket = field(init=False)

    def __post_init__(self) -> None:
        """Connect."""
        self.connect()

    def connect(self) -> None:
        """Open the connection, also to replace one that the server closed."""
        self.link = socket.create_connection((HOST, self.port), TIMEOUT_SECONDS)
        self.link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, content: bytes, due: float) -> None:
        """Send a request; raise OSError if the connection is gone."""
        self.due, self.received = due, b""
        self.link.sendall(content)

    def receive(self) -> bool:
        """Receive what has arrived; return whether the response is complete."""
        content = self.link.recv(65536)
        self.received += content
        if not content:
            self.link.close()
            self.connect()
            return True
        head, found, body = self.received.partition(b"\r\n\r\n")
        if not found:
            return False
        length = head.lower().partition(b"\r\ncontent-length:")[2]
        if length:
            return len(body) >= int(length.partition(b"\r\n")[0])
        return body.endswith(b"0\r\n\r\n")

    @property
    def good(self) -> bool:
        """Whether the response was a 200."""
        return self.received[9:12] == b"200"


def open_loop(port: int, request: Request, rate: float, seconds: float) -> Load:
    """Send ``rate`` requests per second at random times, over persistent connections.

    Latency counts from when a request was due, so that waiting for a free connection is included; a request
    without a response at the end counts with the time that it has waited so far.
    """
    content = message(request, port)
    connections = [Connection(port) for _ in range(CONNECTIONS)]
    free = collections.deque(connections)
    busy: dict[int, Connection] = {}
    # Random times that fill the seconds exactly.
    times = np.cumsum(np.random.default_rng(0).exponential(size=round(rate * seconds) + 1))
    times = times[:-1] * (seconds / times[-1])
    latencies: list[float] = []
    refused = broken = 0
    libc = ctypes.CDLL(None)
    libc.prctl(SET_TIMER_SLACK, 1)  # sleep to the microsecond
    gc.disable()
    try:
        start = time.perf_counter()
        due = collections.deque((start + times).tolist())
        end = start + seconds
        while (now := time.perf_counter()) < end:
            while due and free and due[0] <= now:
                connection = free.popleft()
                try:
                    connection.send(content, due.popleft())
                except OSError:
                    broken += 1
                    connection.connect()
                    free.append(connection)
                else:
                    busy[connection.link.fileno()] = connection
            until = min(due[0], end) if due and free else end
            wait = max(0, until - time.perf_counter())
            for number in select.select(list(busy), [], [], wait)[0]:
                connection = busy[number]
                try:
                    complete = connection.receive()
                except OSError:
                    broken += 1
                    connection.connect()
                    complete = True
                else:
                    if complete:
                        latencies.append(time.perf_counter() - connection.due)
                        refused += not connection.good
                if complete:
                    del busy[number]
                    free.append(connection)
    finally:
        gc.enable()
        libc.prctl(SET_TIMER_SLACK, 0)
        for connection in connections:
            connection.link.close()
    answered = len(latencies)
    waiting = [connection.due for connection in busy.values()] + [one for one in due if one < end]
    latencies += [end - one for one in waiting]
    p50, p99 = (float(value) * 1000 for value in np.percentile(latencies, (50, 99)))
    return Load(answered, seconds, p50, p99, refused, broken)
