"""What every request passes before and after its route: middleware around Flask.

It stands before Flask, not in Flask's hooks, so that the usual request can go without Flask, which takes
longer than a small model does.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from flask import Flask, request
from werkzeug.exceptions import HTTPException

from inference import problems
from inference.body import Reader
from inference.call import Call, current
from inference.errors import Overloaded
from inference.logs import AccessLog
from inference.metrics import Metrics
from inference.security import Keys
from inference.views import JSON

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

Headers = list[tuple[str, str]]
Reply = tuple[str, Headers, Iterable[bytes]]
# A body of JSON to a body of JSON.
Shortcut = Callable[[bytes], bytes]


class Front:
    """Admits a request, lets it be answered, then counts and logs it.

    ``shortcuts`` are the functions behind Flask's views of those paths. A POST of JSON is answered by
    them without Flask; anything else goes through it.
    """

    def __init__(
        self,
        app: Flask,
        read: Reader,
        shortcuts: Mapping[str, Shortcut],
        metrics: Metrics,
        keys: Keys,
        headers: Sequence[tuple[str, str]],
        max_concurrent: int,
    ) -> None:
        self._flask = app.wsgi_app
        self._read = read
        self._shortcuts = shortcuts
        self._metrics = metrics
        self._log = AccessLog()
        self._keys = keys
        self._headers = headers
        self._places = [None] * max_concurrent
        app.before_request(note_route)

    def __call__(
        self, environ: "WSGIEnvironment", start_response: "StartResponse"
    ) -> Iterable[bytes]:
        """Answer a request."""
        started = time.perf_counter()
        call = current.call = Call(environ)
        self._metrics.enter()
        try:
            status, headers, body = self._admit(call, environ)
        except HTTPException as error:
            status, headers, body = ask(problems.describe(error), environ)
        except Exception as error:
            status, headers, body = ask(problems.describe_unexpected(error), environ)
        headers += self._headers
        headers.append(("X-Request-ID", call.request_id))
        if call.trace:
            headers.append(("traceparent", f"00-{call.trace[1]}-{call.span}-{call.trace[2]}"))
        seconds = time.perf_counter() - started
        code = int(status[:3])
        others = self._metrics.leave(call, code, seconds)
        self._log.write(call, environ["REQUEST_METHOD"], code, seconds, others)
        start_response(status, headers)
        return body

    def _admit(self, call: Call, environ: dict[str, Any]) -> Reply:
        """Answer a request that has the key it needs and finds a place; others are not kept waiting."""
        path = call.path
        if self._keys.are_needed_for(path):
            self._keys.require(environ)
        # Whoever asks for the health would stop a task that is merely busy.
        if path in self._keys.health:
            return ask(self._flask, environ)
        try:
            place = self._places.pop()
        except IndexError:
            raise Overloaded from None
        try:
            shortcut = self._shortcuts.get(path)
            is_usual = environ["REQUEST_METHOD"] == "POST" and environ.get("CONTENT_TYPE") == JSON
            if shortcut is None or not is_usual:
                return ask(self._flask, environ)
            call.route = path
            body = shortcut(self._read(environ))
            return "200 OK", [("Content-Type", JSON), ("Content-Length", str(len(body)))], [body]
        finally:
            self._places.append(place)


def ask(app: "WSGIApplication", environ: dict[str, Any]) -> Reply:
    """What a WSGI application answers."""
    started: tuple[str, Headers] = "", []

    def start(status: str, headers: Headers, error: object = None) -> Callable[[bytes], object]:
        nonlocal started
        started = status, headers
        return lambda data: None

    body = app(environ, start)
    return *started, body


def note_route() -> None:
    """Tell the metrics which pattern the path matched."""
    current.call.route = request.url_rule.rule if request.url_rule else ""
