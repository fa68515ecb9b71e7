"""API keys and the headers that protect browsers."""

import hmac
from collections.abc import Sequence

from flask import Flask, Response, request
from werkzeug.datastructures import WWWAuthenticate
from werkzeug.exceptions import Unauthorized

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}

# Endpoints that ECS and load balancers ask, and those that hold no data: they answer without a key.
HEALTH = {"inference.ping", "protocol.live", "protocol.model_ready", "protocol.ready"}
PAGES = {"docs.openapi", "docs.page", "inference.page", "static"}
OPEN = HEALTH | PAGES


def register(app: Flask, api_keys: Sequence[str]) -> None:
    """Add the headers to every response; with ``api_keys``, ask for one of them."""

    @app.after_request
    def protect(response: Response) -> Response:
        for name, value in HEADERS.items():
            response.headers[name] = value
        return response

    @app.before_request
    def require_key() -> None:
        if not api_keys or request.endpoint in OPEN:
            return
        if not any([is_known(key, api_keys) for key in given_keys()]):
            raise Unauthorized(
                "Send an API key as X-API-Key, or as Authorization: Bearer.",
                www_authenticate=WWWAuthenticate("bearer"),
            )


def given_keys() -> list[bytes]:
    """The keys that came with the request, of either header."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    keys = [request.headers.get("X-API-Key", ""), token if scheme.lower() == "bearer" else ""]
    # WSGI hands over bytes as Latin-1.
    return [key.strip().encode("latin-1") for key in keys if key]


def is_known(given: bytes, api_keys: Sequence[str]) -> bool:
    """Whether a key is one of those; takes the same time for each that is not."""
    matches = [hmac.compare_digest(given, key.encode()) for key in api_keys]
    return any(matches)
