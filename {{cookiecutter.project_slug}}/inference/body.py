"""The body of a request: never more of it than the limit, whatever the client says."""

import zlib

from flask import request
from werkzeug.exceptions import BadRequest, RequestEntityTooLarge, UnsupportedMediaType

from inference import stalled

WINDOW_BITS = {"gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}


def read_body() -> bytes:
    """Return the request's body, without its Content-Encoding.

    Raises RequestEntityTooLarge, also where the client did not say how long the body is (Flask would
    cut that one off at the limit) and where it is too large once it is decompressed.
    """
    with stalled.reading():
        body = request.get_data(cache=False)
    if request.content_length is None and len(body) == request.max_content_length:
        raise RequestEntityTooLarge
    encoding = request.headers.get("Content-Encoding", "identity").lower()
    if encoding == "identity":
        return body
    if encoding not in WINDOW_BITS:
        raise UnsupportedMediaType(f"Content-Encoding {encoding} is not gzip or deflate.")
    stream = zlib.decompressobj(WINDOW_BITS[encoding])
    try:
        content = stream.decompress(body, request.max_content_length or 0)
    except zlib.error as error:
        raise BadRequest(f"The body is not {encoding}: {error}") from None
    if stream.unconsumed_tail:
        raise RequestEntityTooLarge
    if not stream.eof or stream.unused_data:
        raise BadRequest(f"The body is not one whole {encoding} stream")
    return content
