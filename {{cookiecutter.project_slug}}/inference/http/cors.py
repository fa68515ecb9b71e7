"""CORS (as in the Fetch standard): which pages from other origins may read responses."""

from collections.abc import Sequence

Headers = list[tuple[str, str]]

ANY = "*"
# Headers that pages may send, and headers of a response that they may read.
SENT = (
    "Authorization, Content-Encoding, Content-Type, Inference-Header-Content-Length, traceparent, tracestate, "
    "X-API-Key, X-Request-ID"
)
READ = "Inference-Header-Content-Length, Retry-After, traceparent, X-Model-Name, X-Model-Version, X-Request-ID"
SECONDS_TO_KEEP = "7200"


class Origins:
    """The origins whose pages may call the service; ``*`` allows all."""

    def __init__(self, origins: Sequence[str]) -> None:
        self._allows_any = ANY in origins
        self._origins = frozenset(origins)

    def __bool__(self) -> bool:
        """Whether any other origin is allowed."""
        return bool(self._origins)

    def headers(self, origin: str) -> Headers:
        """Return the headers of a response to a page from that origin, which is empty if no page sent the request."""
        if not self._origins:
            return []
        # A cache must not serve one origin a response meant for another.
        found = [] if self._allows_any else [("Vary", "Origin")]
        if origin and (self._allows_any or origin in self._origins):
            found.append(("Access-Control-Allow-Origin", ANY if self._allows_any else origin))
            found.append(("Access-Control-Expose-Headers", READ))
        return found

    def preflight(self, origin: str) -> Headers | None:
        """Return the headers for a preflight request, or None if the origin is not allowed."""
        if not (self._allows_any or origin in self._origins):
            return None
        return [
            ("Access-Control-Allow-Methods", "GET, POST"),
            ("Access-Control-Allow-Headers", SENT),
            ("Access-Control-Max-Age", SECONDS_TO_KEEP),
        ]
