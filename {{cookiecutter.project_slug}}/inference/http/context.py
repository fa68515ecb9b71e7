"""The current request, for its log line, metrics and errors."""

import logging
import os
import re
import threading
import time
from datetime import UTC, datetime
from typing import Any, Self

from inference.monitoring import logs
from inference.runtime.signature import Inputs, Predictions

REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
# W3C Trace Context: trace ID, parent span ID and sampled flag. Versions after 00 may have more fields.
TRACEPARENT = re.compile(
    r"(?:00|(?P<later>(?!00|ff)[0-9a-f]{2}))-(?!0{32})(?P<trace>[0-9a-f]{32})-(?!0{16})[0-9a-f]{16}"
    r"-[0-9a-f](?P<flags>[0-9a-f])(?(later)(?:-.*)?)"
)
# A longer path is truncated in the log; otherwise CloudWatch would split the line.
LONGEST_PATH = 1024


class Call:
    """The context of a request.

    ``request_id`` is the client's or a new one, ``trace`` is the client's, ``span`` the ID of this request in it.
    ``route`` is the pattern that the path matched, or the path; ``inputs`` are the model's inputs, and ``predictions``
    those of each output. ``more_headers`` are sent with the response, whatever its status.
    """

    __slots__ = (
        "inputs",
        "method",
        "more_headers",
        "path",
        "predictions",
        "request_id",
        "route",
        "span",
        "started",
        "trace",
    )

    def __init__(
        self, method: str, path: str, request_id: str = "", traceparent: str | None = None
    ) -> None:
        self.started = time.perf_counter()
        if not request_id or not REQUEST_ID.fullmatch(request_id):
            request_id = os.urandom(16).hex()
        self.request_id = request_id
        self.trace = TRACEPARENT.fullmatch(traceparent) if traceparent else None
        self.span = os.urandom(8).hex() if self.trace else ""
        self.method = method
        self.path = path
        self.route = path
        self.more_headers: list[tuple[str, str]] = []
        self.inputs: Inputs = {}
        self.predictions: Predictions = ()

    @classmethod
    def of(cls, environ: dict[str, Any]) -> Self:
        """Create the call of a WSGI request."""
        path: str = environ["PATH_INFO"]
        # WSGI decodes the UTF-8 path as Latin-1.
        path = path if path.isascii() else path.encode("latin-1").decode(errors="replace")
        request_id = environ.get("HTTP_X_REQUEST_ID", "")
        traceparent = environ.get("HTTP_TRACEPARENT")
        return cls(environ["REQUEST_METHOD"], path, request_id, traceparent)

    def headers(self) -> list[tuple[str, str]]:
        """Return the headers of the response, including those that identify this request."""
        headers = [("X-Request-ID", self.request_id), *self.more_headers]
        if self.trace:
            sampled = int(self.trace["flags"], 16) & 1
            value = f"00-{self.trace['trace']}-{self.span}-0{sampled}"
            headers.append(("traceparent", value))
        return headers

    def log(self, status: int, seconds: float) -> None:
        """Log the request and its outcome; a ``logging`` handler would cost six times as much."""
        if not logs.access.isEnabledFor(logging.INFO):
            return
        path = self.path
        if len(path) > LONGEST_PATH or not path.isprintable():
            path = printable(path[:LONGEST_PATH])
        line = logs.AccessLine(
            datetime.now(UTC),
            "INFO",
            logs.access.name,
            f"{self.method} {path} {status}",
            self.request_id,
            self.method,
            path,
            status,
            round(seconds * 1000, 3),
            len(self.predictions[0].values) if self.predictions else 0,
            self.trace["trace"] if self.trace else "",
            self.span,
        )
        logs.writer.write(logs.encode(line))


def printable(text: str) -> str:
    """Escape the characters of a text that are invisible or change its direction."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


class Current(threading.local):
    """The call that the current thread is answering."""

    call = Call("", "")


current = Current()
