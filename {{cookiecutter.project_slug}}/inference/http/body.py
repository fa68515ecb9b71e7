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

# What gives the body of a WSGI request.
Reader = Callable[[dict[str, Any]], bytes]

WINDOW_BITS = {"gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}


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
    """Undo a Content-Encoding; raises as ``read_body`` does."""
    if encoding == "identity":
        return body
    if encoding not in WINDOW_BITS:
        raise UnsupportedMediaType(f"Content-Encoding {encoding} is not gzip or deflate.")
    stream = zlib.decompressobj(WINDOW_BITS[encoding])
    try:
        content = stream.decompress(body, max_bytes)
    except zlib.error as error:
        raise BadRequest(f"The body is not {encoding}: {error}") from None
    if stream.unconsumed_tail:
        raise RequestEntityTooLarge
    if not stream.eof or stream.unused_data:
        raise BadRequest(f"The body is not one whole {encoding} stream")
    return content
