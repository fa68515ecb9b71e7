"""Middleware around Flask: handles a request before and after its route, under any WSGI server.

It wraps Flask instead of using Flask's hooks, so that the event loop can do the same without Flask.
"""

import types
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import flask.signals
from flask import Flask, request
from werkzeug.exceptions import HTTPException

from inference.errors import Overloaded
from inference.http import problems
from inference.http.context import Call, current
from inference.http.service import Headers, Service

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

WSGIReply = tuple[str, Headers, Iterable[bytes]]

HOOKS = (
    "before_request_funcs",
    "after_request_funcs",
    "teardown_request_funcs",
    "url_value_preprocessors",
)
# Methods that a subclass may override, or that a tracer may patch.
METHODS = (
    *("__call__", "request_context", "full_dispatch_request", "preprocess_request"),
    *("dispatch_request", "finalize_request", "process_response", "handle_user_exception"),
)
SIGNALS = (
    *("appcontext_pushed", "appcontext_popped", "appcontext_tearing_down", "request_started"),
    *("request_finished", "request_tearing_down", "got_request_exception"),
)


class Middleware:
    """Admits a request if a place is free, lets Flask answer it, then counts and logs it."""

    def __init__(self, wsgi_app: "WSGIApplication", service: Service) -> None:
        self.wsgi_app = wsgi_app
        self.service = service

    def __call__(
        self, environ: "WSGIEnvironment", start_response: "StartResponse"
    ) -> Iterable[bytes]:
        """Answer a request."""
        service = self.service
        call = current.call = Call.of(environ)
        call.more_headers = service.origins.headers(environ.get("HTTP_ORIGIN", ""))
        service.metrics.enter()
        try:
            status, headers, body = self._admit(call, environ)
        except HTTPException as error:
            status, headers, body = ask(problems.describe(error), environ)
        except Exception as error:
            status, headers, body = ask(problems.describe_unexpected(error), environ)
        headers += service.headers
        headers += call.headers()
        service.end(call, int(status[:3]))
        start_response(status, headers)
        return body

    def _admit(self, call: Call, environ: dict[str, Any]) -> WSGIReply:
        """Answer a request that has the key it needs and finds a free place; refuse others at once."""
        path, keys, places = call.path, self.service.keys, self.service.places
        # A preflight comes from the browser itself, without a key.
        if call.method == "OPTIONS" and "HTTP_ACCESS_CONTROL_REQUEST_METHOD" in environ:
            allowed = self.service.origins.preflight(environ.get("HTTP_ORIGIN", ""))
            if allowed:
                return "204 No Content", allowed, []
        if keys.are_needed_for(path):
            keys.require(environ.get("HTTP_X_API_KEY", ""), environ.get("HTTP_AUTHORIZATION", ""))
        # Health checks need no place: refusing one would make ECS stop a task that is merely busy.
        if path in keys.health:
            return ask(self.wsgi_app, environ)
        try:
            place = places.pop()
        except IndexError:
            raise Overloaded from None
        try:
            return ask(self.wsgi_app, environ)
        finally:
            places.append(place)


def ask(app: "WSGIApplication", environ: dict[str, Any]) -> WSGIReply:
    """Call a WSGI application and return its response."""
    started: tuple[str, Headers] = "", []

    def start(status: str, headers: Headers, error: object = None) -> Callable[[bytes], object]:
        nonlocal started
        started = status, headers
        return lambda data: None

    body = app(environ, start)
    return *started, body


def note_route() -> None:
    """Record for the metrics which pattern the path matched."""
    if request.url_rule:
        current.call.route = request.url_rule.rule


def added_hooks(app: Flask) -> list[str]:
    """Return the names of hooks added by other code; if there are any, Flask has to see every request."""
    service: Service = app.extensions["service"]
    found = []
    for name in HOOKS:
        functions = [function for scope in getattr(app, name).values() for function in scope]
        if set(functions) - {note_route}:
            found.append(name.removesuffix("_funcs"))
    if app.teardown_appcontext_funcs:
        found.append("teardown_appcontext")
    handlers = {
        handler
        for scope in app.error_handler_spec.values()
        for by_class in scope.values()
        for handler in by_class.values()
    }
    if handlers - {problems.describe, problems.describe_unexpected}:
        found.append("errorhandler")
    found += [name for name in SIGNALS if getattr(flask.signals, name).receivers]
    middleware: Any = app.wsgi_app
    if type(middleware) is not Middleware or not is_flasks_own(middleware.wsgi_app, "wsgi_app"):
        found.append("wsgi_app")
    found += [name for name in METHODS if not is_flasks_own(getattr(type(app), name), name)]
    replaced = any(app.view_functions[name] is not view for name, view in service.views.items())
    return [*found, "view_functions"] if replaced else found


def is_flasks_own(method: Any, name: str) -> bool:
    """Whether a method of the application is Flask's own, neither overridden nor wrapped."""
    function = getattr(method, "__func__", method)
    return (
        type(function) is types.FunctionType
        and function.__qualname__ == f"Flask.{name}"
        and function.__module__ == "flask.app"
        and not hasattr(function, "__wrapped__")
    )
