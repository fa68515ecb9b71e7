"""The body of a request: never more of it than the limit, whatever the client says."""

import zlib
from collections.abc import Callable
from typing import Any

from werkzeug.exceptions import (
    BadRequest,
    ClientDisconnected,
    RequestEntityTooLarge,
    UnsupportedMediaType,
)
from werkzeug.wsgi import get_input_stream

# Reads the body of a WSGI request.
Reader = Callable[[dict[str, Any]], bytes]

GZIP = 16 + zlib.MAX_WBITS
# How zlib reads each coding; x-gzip is another name of gzip (RFC 9110).
WINDOW_BITS = {"gzip": GZIP, "x-gzip": GZIP, "deflate": zlib.MAX_WBITS}
# More parts than any compressor makes of a body; each costs some microseconds, though it be empty.
MAX_GZIP_MEMBERS = 1000


class UnsupportedEncoding(UnsupportedMediaType):
    """A Content-Encoding that is not read here; the answer says which are (RFC 9110, 12.5.3)."""

    def __init__(self, encoding: str) -> None:
        super().__init__(f"Content-Encoding {encoding} is not gzip or deflate.")

    def get_headers(self, *args: Any, **kwargs: Any) -> list[tuple[str, str]]:
        """The headers of any error, and Accept-Encoding."""
        return [*super().get_headers(*args, **kwargs), ("Accept-Encoding", "gzip, deflate")]


def read_body(max_bytes: int, environ: dict[str, Any]) -> bytes:
    """Return the body of a WSGI request, without its Content-Encoding.

    Raises RequestEntityTooLarge, also where the client did not say how long the body is (Werkzeug
    would cut that one off at the limit) and where it is too large once it is decompressed.
    """
    length = environ.get("CONTENT_LENGTH") or ""
    if not length.isdecimal():
        body: bytes = get_input_stream(environ, max_content_length=max_bytes + 1).read()
        if len(body) > max_bytes:
            raise RequestEntityTooLarge
    elif int(length) > max_bytes:
        raise RequestEntityTooLarge
    else:
        body = environ["wsgi.input"].read(int(length))
        if len(body) < int(length):
            raise ClientDisconnected
    encoding = environ.get("HTTP_CONTENT_ENCODING")
    return decompress(body, encoding.lower(), max_bytes) if encoding else body


def decompress(body: bytes, encoding: str, max_bytes: int) -> bytes:
    """Undo a Content-Encoding, in lower case; several members of gzip are one body (RFC 1952).

    Raises UnsupportedEncoding, BadRequest where the body is not of that coding, or not whole, and
    RequestEntityTooLarge where more than ``max_bytes`` would come of it.
    """
    if encoding == "identity":
        return body
    if encoding not in WINDOW_BITS:
        raise UnsupportedEncoding(encoding)
    bits = WINDOW_BITS[encoding]
    content = b""
    for _ in range(MAX_GZIP_MEMBERS if bits == GZIP else 1):
        stream = zlib.decompressobj(bits)
        try:
            # One byte too many tells a body that is too large; a limit of 0 would mean none.
            content += stream.decompress(body, max_bytes - len(content) + 1)
        except zlib.error as error:
            raise BadRequest(f"The body is not {encoding}: {error}") from None
        if len(content) > max_bytes:
            raise RequestEntityTooLarge
        body = stream.unused_data
        if not stream.eof or not body:
            break
    if not stream.eof or body:
        raise BadRequest(f"The body is not one whole {encoding} stream")
    return content
