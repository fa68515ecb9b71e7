"""The request that a thread is answering, for the log, the metrics and the errors of it."""

import re
import secrets
import threading
from typing import Any

REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
# W3C Trace Context, version 00: the trace, the caller's span in it, flags.
TRACEPARENT = re.compile(r"00-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-([0-9a-f]{2})")


class Call(threading.local):
    """What is known of it.

    ``route`` is the pattern that its path matched, ``rows`` the number of its instances, ``span`` the id
    of its span in ``trace``.
    """

    request_id = ""
    trace: re.Match[str] | None = None
    span: str | None = None
    path = ""
    route = ""
    rows = 0

    def begin(self, environ: dict[str, Any]) -> None:
        """Start anew, under the client's request id or a new one, and in the client's trace."""
        given = environ.get("HTTP_X_REQUEST_ID", "")
        self.request_id = given if REQUEST_ID.fullmatch(given) else secrets.token_hex(16)
        traceparent = environ.get("HTTP_TRACEPARENT")
        self.trace = TRACEPARENT.fullmatch(traceparent) if traceparent else None
        # WSGI hands over UTF-8 as Latin-1.
        self.path = environ["PATH_INFO"].encode("latin-1").decode(errors="replace")
        self.span = None
        self.route = ""
        self.rows = 0


call = Call()
