"""Pages of other origins (the Fetch standard's CORS protocol): which may read the answers."""

from collections.abc import Sequence

Headers = list[tuple[str, str]]

ANY = "*"
# Headers that pages may send, and headers of a response that they may read.
SENT = (
    "Authorization, Content-Encoding, Content-Type, Inference-Header-Content-Length, traceparent, X-API-Key, "
    "X-Request-ID"
)
READ = "Inference-Header-Content-Length, Retry-After, traceparent, X-Model-Name, X-Model-Version, X-Request-ID"
SECONDS_TO_KEEP = "7200"


class Origins:
    """The origins whose pages may ask; with ``*`` all of them."""

    def __init__(self, origins: Sequence[str]) -> None:
        self._allows_any = ANY in origins
        self._origins = frozenset(origins)

    def __bool__(self) -> bool:
        """Whether any other origin may ask."""
        return bool(self._origins)

    def headers(self, origin: str) -> Headers:
        """What an answer to a page of that origin has; of none where there was no page."""
        if not self._origins:
            return []
        # A cache must not give one origin what is for another.
        found = [] if self._allows_any else [("Vary", "Origin")]
        if origin and (self._allows_any or origin in self._origins):
            found.append(("Access-Control-Allow-Origin", ANY if self._allows_any else origin))
            found.append(("Access-Control-Expose-Headers", READ))
        return found

    def preflight(self, origin: str) -> Headers | None:
        """What the question before a request gets besides, None where that origin may not ask."""
        if not (self._allows_any or origin in self._origins):
            return None
        return [
            ("Access-Control-Allow-Methods", "GET, POST"),
            ("Access-Control-Allow-Headers", SENT),
            ("Access-Control-Max-Age", SECONDS_TO_KEEP),
        ]
