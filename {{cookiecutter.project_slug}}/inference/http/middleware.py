"""What every request passes before and after its route: middleware around Flask.

It stands before Flask, not in Flask's hooks, so that the usual request can go without Flask, which takes
longer than a small model does.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from flask import request
from werkzeug.exceptions import HTTPException

from inference.errors import Overloaded
from inference.http import problems
from inference.http.api_keys import Keys
from inference.http.body import Reader
from inference.http.context import Call, current
from inference.http.routes import JSON
from inference.watch.logs import AccessLog
from inference.watch.metrics import Metrics

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

Headers = list[tuple[str, str]]
Reply = tuple[str, Headers, Iterable[bytes]]
# A body of JSON to a body of JSON.
Shortcut = Callable[[bytes], bytes]


@dataclass
class Front:
    """Admits a request where one of the ``places`` is free, lets it be answered, then counts and logs it.

    ``shortcuts`` are the functions behind Flask's views of those paths. A POST of JSON is answered by
    them without Flask; anything else goes through it.
    """

    flask: "WSGIApplication"
    read: Reader
    shortcuts: Mapping[str, Shortcut]
    metrics: Metrics
    keys: Keys
    headers: Sequence[tuple[str, str]]
    places: list[None]
    log: AccessLog

    def __call__(
        self, environ: "WSGIEnvironment", start_response: "StartResponse"
    ) -> Iterable[bytes]:
        """Answer a request."""
        started = time.perf_counter()
        call = current.call = Call(environ)
        self.metrics.enter()
        try:
            status, headers, body = self._admit(call, environ)
        except HTTPException as error:
            status, headers, body = ask(problems.describe(error), environ)
        except Exception as error:
            status, headers, body = ask(problems.describe_unexpected(error), environ)
        headers += self.headers
        headers.append(("X-Request-ID", call.request_id))
        if call.trace:
            sampled = int(call.trace["flags"], 16) & 1
            headers.append(("traceparent", f"00-{call.trace['trace']}-{call.span}-0{sampled}"))
        seconds = time.perf_counter() - started
        code = int(status[:3])
        self.metrics.leave(call.route, code, seconds, call.predictions)
        self.log.write(call.describe(environ["REQUEST_METHOD"], code, seconds))
        start_response(status, headers)
        return body

    def _admit(self, call: Call, environ: dict[str, Any]) -> Reply:
        """Answer a request that has the key it needs and finds a place; others are not kept waiting."""
        path = call.path
        if self.keys.are_needed_for(path):
            self.keys.require(environ)
        # Whoever asks for the health would stop a task that is merely busy.
        if path in self.keys.health:
            return ask(self.flask, environ)
        try:
            place = self.places.pop()
        except IndexError:
            raise Overloaded from None
        try:
            shortcut = self.shortcuts.get(path)
            is_usual = environ["REQUEST_METHOD"] == "POST" and environ.get("CONTENT_TYPE") == JSON
            if shortcut is None or not is_usual:
                return ask(self.flask, environ)
            body = shortcut(self.read(environ))
            return "200 OK", [("Content-Type", JSON), ("Content-Length", str(len(body)))], [body]
        finally:
            self.places.append(place)


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
    if request.url_rule:
        current.call.route = request.url_rule.rule
