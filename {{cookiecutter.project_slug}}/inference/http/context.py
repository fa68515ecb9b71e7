"""The request that is being answered, for the log, the metrics and the errors of it."""

import os
import re
import threading
import time
from typing import Any, Self

from inference.runtime.signature import Inputs, Predictions
from inference.watch.logs import log_request

REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
# W3C Trace Context: the trace, the caller's span in it, whether it is sampled. Versions after 00 may say more.
TRACEPARENT = re.compile(
    r"(?:00|(?P<later>(?!00|ff)[0-9a-f]{2}))-(?!0{32})(?P<trace>[0-9a-f]{32})-(?!0{16})[0-9a-f]{16}"
    r"-[0-9a-f](?P<flags>[0-9a-f])(?(later)(?:-.*)?)"
)
# A longer path is cut in the log, which CloudWatch would split.
LONGEST_PATH = 1024


class Call:
    """What is known of a request.

    It has the client's id or a new one. ``trace`` is the client's, ``span`` the id of this request in it,
    ``route`` the pattern that the path matched, or the path, ``inputs`` its rows as the model takes them, and
    ``predictions`` what they got, for each output. ``more_headers`` are of the answer, whatever it is.
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
        """The call of a WSGI request."""
        path: str = environ["PATH_INFO"]
        # WSGI hands over UTF-8 as Latin-1.
        path = path if path.isascii() else path.encode("latin-1").decode(errors="replace")
        request_id = environ.get("HTTP_X_REQUEST_ID", "")
        traceparent = environ.get("HTTP_TRACEPARENT")
        return cls(environ["REQUEST_METHOD"], path, request_id, traceparent)

    def headers(self) -> list[tuple[str, str]]:
        """The headers of the answer, among them those by which the client finds this request again."""
        headers = [("X-Request-ID", self.request_id), *self.more_headers]
        if self.trace:
            sampled = int(self.trace["flags"], 16) & 1
            value = f"00-{self.trace['trace']}-{self.span}-0{sampled}"
            headers.append(("traceparent", value))
        return headers

    def log(self, status: int, seconds: float) -> None:
        """Write the request, and what became of it, to the log."""
        path = self.path
        if len(path) > LONGEST_PATH or not path.isprintable():
            path = printable(path[:LONGEST_PATH])
        trace = self.trace["trace"] if self.trace else ""
        rows = len(self.predictions[0].values) if self.predictions else 0
        log_request(self.method, path, status, seconds, self.request_id, rows, trace, self.span)


def printable(text: str) -> str:
    """The text with an escape for each character that shows nothing, or turns the line around."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


class Current(threading.local):
    """The call that this thread is answering."""

    call = Call("", "")


current = Current()
