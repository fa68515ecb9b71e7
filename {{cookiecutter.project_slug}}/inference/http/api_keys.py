"""API keys and the headers that protect browsers."""

import hmac
from collections.abc import Sequence
from itertools import product

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

# Routes without data; the files below STATIC have none either.
PAGES = {"/", "/docs", "/monitor", "/openapi.json"}
STATIC = "/static/"


class Keys:
    """The accepted API keys; if there are none, the service is open to everyone.

    ``health`` holds the paths that ECS and load balancers poll, which need no key.
    """

    def __init__(self, keys: Sequence[str], model_name: str, version: str) -> None:
        model = f"/v2/models/{model_name}"
        self.health = {"/ping", "/v2/health/live", "/v2/health/ready"}
        self.health |= {f"{model}/ready", f"{model}/versions/{version}/ready"}
        self._keys = [key.encode() for key in keys]

    def are_needed_for(self, path: str) -> bool:
        """Whether this path requires a key."""
        return bool(self._keys) and not (
            path in self.health or path in PAGES or path.startswith(STATIC)
        )

    def require(self, x_api_key: str, authorization: str) -> None:
        """Raise Unauthorized if neither header, as decoded by WSGI, has one of the keys."""
        given = given_keys(x_api_key, authorization)
        # Compare all keys, so that the timing reveals nothing.
        matches = [hmac.compare_digest(*pair) for pair in product(given, self._keys)]
        if not any(matches):
            raise Unauthorized(
                "Send an API key as X-API-Key, or as Authorization: Bearer.",
                www_authenticate=WWWAuthenticate("bearer"),
            )


def given_keys(x_api_key: str, authorization: str) -> list[bytes]:
    """Return the keys in either header of the request."""
    scheme, _, token = authorization.partition(" ")
    keys = [x_api_key, token if scheme.lower() == "bearer" else ""]
    return [key.strip().encode("latin-1") for key in keys if key]
