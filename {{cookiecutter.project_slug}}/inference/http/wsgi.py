"""Calling a WSGI application (PEP 3333) from the event loop: with a complete request, in a thread."""

import io
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_to_bytes

from inference.config import Settings
from inference.http.connection import Request
from inference.http.service import Headers

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication


def environ_of(request: Request, peer: tuple[str, int], settings: Settings) -> dict[str, Any]:
    """Return the WSGI environment (PEP 3333) of a complete request."""
    path, query = path_of(request.target)
    environ: dict[str, Any] = {
        "REQUEST_METHOD": request.method.decode(),
        "SCRIPT_NAME": "",
        "PATH_INFO": path,
        "QUERY_STRING": query,
        "REQUEST_URI": request.target.decode("latin-1"),
        "SERVER_NAME": settings.host,
        "SERVER_PORT": str(settings.port),
        "SERVER_PROTOCOL": f"HTTP/{request.version}",
        "REMOTE_ADDR": peer[0],
        "REMOTE_PORT": str(peer[1]),
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(request.body),
        "wsgi.input_terminated": True,
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }
    for name, value in request.headers.items():
        # X_Api_Key would become the same variable as X-Api-Key.
        if b"_" not in name:
            key = name.decode("latin-1").upper().replace("-", "_")
            environ[f"HTTP_{key}"] = value.decode("latin-1")
    for key in ("CONTENT_TYPE", "CONTENT_LENGTH"):
        if f"HTTP_{key}" in environ:
            environ[key] = environ.pop(f"HTTP_{key}")
    if environ.pop("HTTP_TRANSFER_ENCODING", None):
        environ["CONTENT_LENGTH"] = str(len(request.body))
    return environ


def ask(application: "WSGIApplication", environ: dict[str, Any]) -> tuple[int, Headers, bytes]:
    """Call a WSGI application and return its complete response."""
    started: list[Any] = []
    parts: list[bytes] = []

    def start(status: str, headers: Headers, error: object = None) -> Callable[[bytes], None]:
        started[:] = status, headers
        return parts.append

    body = application(environ, start)
    try:
        parts += body
    finally:
        if hasattr(body, "close"):
            body.close()
    status, headers = started
    return int(status[:3]), headers, b"".join(parts)


def path_of(target: bytes) -> tuple[str, str]:
    """Split a request's target into the path, decoded as WSGI requires, and the query."""
    if not target.startswith(b"/"):
        # The absolute form that proxies send: http://host/path; or OPTIONS *.
        _, _, rest = target.partition(b"://")
        target = b"/" + rest.partition(b"/")[2]
    path, _, query = target.partition(b"?")
    return unquote_to_bytes(path).decode("latin-1"), query.decode("latin-1")
