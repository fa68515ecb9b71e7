"""Reading the body of a request, never beyond the limit, whatever length the client declares."""

import zlib
from typing import Any

from werkzeug.exceptions import BadRequest, ClientDisconnected, UnsupportedMediaType
from werkzeug.wsgi import get_input_stream

from inference.errors import BodyTooLarge

GZIP = 16 + zlib.MAX_WBITS
# The zlib parameter for each coding; x-gzip is an alias of gzip (RFC 9110).
WINDOW_BITS = {"gzip": GZIP, "x-gzip": GZIP, "deflate": zlib.MAX_WBITS}
# More members than any compressor produces; each costs some microseconds, even if it is empty.
MAX_GZIP_MEMBERS = 1000


class UnsupportedEncoding(UnsupportedMediaType):
    """An unsupported Content-Encoding; the response lists the supported ones (RFC 9110, 12.5.3)."""

    def __init__(self, encoding: str) -> None:
        super().__init__(f"Content-Encoding {encoding} is not gzip or deflate.")

    def get_headers(self, *args: Any, **kwargs: Any) -> list[tuple[str, str]]:
        """Add Accept-Encoding to the headers of the error."""
        return [*super().get_headers(*args, **kwargs), ("Accept-Encoding", "gzip, deflate")]


def read_body(max_bytes: int, environ: dict[str, Any]) -> bytes:
    """Return the body of a WSGI request, with its Content-Encoding decoded.

    Raises BodyTooLarge, even if the client declared no length (Werkzeug would truncate
    the body at the limit) or if the body is too large only after decompression.
    """
    length = environ.get("CONTENT_LENGTH") or ""
    if not length.isdecimal():
        body: bytes = get_input_stream(environ, max_content_length=max_bytes + 1).read()
        if len(body) > max_bytes:
            raise BodyTooLarge(max_bytes)
    elif int(length) > max_bytes:
        raise BodyTooLarge(max_bytes)
    else:
        body = environ["wsgi.input"].read(int(length))
        if len(body) < int(length):
            raise ClientDisconnected
    encoding = environ.get("HTTP_CONTENT_ENCODING")
    return decompress(body, encoding.lower(), max_bytes) if encoding else body


def decompress(body: bytes, encoding: str, max_bytes: int) -> bytes:
    """Decode a Content-Encoding, given in lower case; several gzip members are one body (RFC 1952).

    Raises UnsupportedEncoding, BadRequest if the body is not in that coding or incomplete, and
    BodyTooLarge if it decompresses to more than ``max_bytes``.
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
            # One extra byte reveals a body that is too large; and to zlib, 0 would mean no limit.
            content += stream.decompress(body, max_bytes - len(content) + 1)
        except zlib.error as error:
            raise BadRequest(f"The body is not {encoding}: {error}") from None
        if len(content) > max_bytes:
            raise BodyTooLarge(max_bytes)
        body = stream.unused_data
        if not stream.eof or not body:
            break
    if not stream.eof or body:
        raise BadRequest(f"The body is not one complete {encoding} stream")
    return content
