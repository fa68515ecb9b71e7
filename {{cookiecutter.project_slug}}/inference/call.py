"""The request that a thread is answering, for the log, the metrics and the errors of it."""

import itertools
import re
import secrets
import threading
from collections.abc import Sequence
from typing import Any

REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
# W3C Trace Context, version 00: the trace, the caller's span in it, flags.
TRACEPARENT = re.compile(r"00-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-([0-9a-f]{2})")

# A new request id is this process's random part and a number: a quarter of the time of a random one.
PROCESS = secrets.token_hex(8)
numbers = itertools.count()


class Call(threading.local):
    """What is known of it.

    ``route`` is the pattern that its path matched, ``rows`` the number of its instances, ``predictions``
    what they got, ``span`` the id of its span in ``trace``.
    """

    request_id = ""
    trace: re.Match[str] | None = None
    span: str | None = None
    path = ""
    route = ""
    rows = 0
    predictions: Sequence[str | float] = ()

    def begin(self, environ: dict[str, Any]) -> None:
        """Start anew, under the client's request id or a new one, and in the client's trace."""
        given: str = environ.get("HTTP_X_REQUEST_ID", "")
        if not (given and REQUEST_ID.fullmatch(given)):
            given = f"{PROCESS}{next(numbers):016x}"
        self.request_id = given
        traceparent = environ.get("HTTP_TRACEPARENT")
        self.trace = TRACEPARENT.fullmatch(traceparent) if traceparent else None
        path = environ["PATH_INFO"]
        # WSGI hands over UTF-8 as Latin-1.
        self.path = path if path.isascii() else path.encode("latin-1").decode(errors="replace")
        self.span = None
        self.route = ""
        self.rows = 0
        self.predictions = ()


call = Call()
