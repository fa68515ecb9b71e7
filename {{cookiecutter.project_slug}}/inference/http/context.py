"""The request that a thread is answering, for the log, the metrics and the errors of it."""

import re
import secrets
import threading
from collections.abc import Sequence
from typing import Any

from inference.runtime.signature import Prediction

REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
# W3C Trace Context: the trace, the caller's span in it, whether it is sampled. Versions after 00 may say more.
TRACEPARENT = re.compile(
    r"(?:00|(?P<later>(?!00|ff)[0-9a-f]{2}))-(?!0{32})(?P<trace>[0-9a-f]{32})-(?!0{16})[0-9a-f]{16}"
    r"-[0-9a-f](?P<flags>[0-9a-f])(?(later)(?:-.*)?)"
)


class Call:
    """What is known of a request.

    It has the client's id or a new one. ``trace`` is the client's, ``span`` the id of this request in it,
    ``route`` the pattern that the path matched, or the path, ``rows`` the number of instances, ``predictions`` what
    they got.
    """

    __slots__ = ("path", "predictions", "request_id", "route", "rows", "span", "trace")

    def __init__(self, environ: dict[str, Any]) -> None:
        given: str = environ.get("HTTP_X_REQUEST_ID", "")
        if not REQUEST_ID.fullmatch(given):
            given = secrets.token_hex(16)
        self.request_id = given
        trace = environ.get("HTTP_TRACEPARENT")
        self.trace = TRACEPARENT.fullmatch(trace) if trace else None
        self.span = secrets.token_hex(8) if self.trace else None
        path: str = environ["PATH_INFO"]
        # WSGI hands over UTF-8 as Latin-1.
        self.path = path if path.isascii() else path.encode("latin-1").decode(errors="replace")
        self.route = self.path
        self.rows = 0
        self.predictions: Sequence[str | float] = ()

    def describe(self, method: str, status: int, seconds: float) -> dict[str, object]:
        """The request and what became of it, for the log."""
        fields: dict[str, object] = {
            "message": f"{method} {self.path} {status}",
            "request_id": self.request_id,
            "method": method,
            "path": self.path,
            "status": status,
            "duration_ms": round(seconds * 1000, 3),
        }
        if self.rows:
            fields["rows"] = self.rows
        if self.trace:
            fields |= {"trace_id": self.trace["trace"], "span_id": self.span}
        return fields

    def record(self, prediction: Prediction) -> None:
        """Note what the model answered, for the log and the metrics."""
        self.predictions = prediction.values
        self.rows = len(prediction.values)


class Current(threading.local):
    """The call that this thread is answering."""

    call = Call({"PATH_INFO": ""})


current = Current()
