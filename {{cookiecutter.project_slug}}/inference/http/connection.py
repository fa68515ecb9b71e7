"""A client connection: reads HTTP/1.1 requests (RFC 9112) within limits, and writes their responses.

A slow client costs a socket and the bytes that it sent, but no thread. Deadlines cut it off: one for the
headers, one for the body, however slowly it trickles in, one for reading a response, and one for being idle.
"""

import asyncio
import logging
import math
from collections import deque
from typing import TYPE_CHECKING, Any

import httptools
from werkzeug.exceptions import (
    BadRequest,
    HTTPException,
    NotImplemented,
    RequestHeaderFieldsTooLarge,
    RequestTimeout,
    RequestURITooLarge,
)

from inference.errors import BodyTooLarge, Overloaded

if TYPE_CHECKING:
    from inference.http.server import Job, Server

logger = logging.getLogger(__name__)

LONGEST_TARGET = 8192
MAX_HEADERS = 100
# The number of pipelined requests of one client that are answered in a row.
TURN = 16
# Bodies up to this size do not count against the buffer of large bodies.
SMALL_BODY = 16_384
# Time for the client to read a refusal before the connection closes.
LINGER_SECONDS = 2

# What is being read: nothing yet, headers, a body, or bytes to discard.
IDLE, HEADERS, BODY, DISCARD = range(4)


class Request:
    """A complete request: ``target`` as sent, ``headers`` by lower-case name."""

    __slots__ = ("body", "headers", "is_last", "method", "target", "version")

    def __init__(self) -> None:
        self.method = b""
        self.target = b""
        self.version = ""
        self.headers: dict[bytes, bytes] = {}
        self.body: bytes | bytearray = b""
        # Whether to close the connection after the response.
        self.is_last = False

    def header(self, name: str, default: str = "") -> str:
        """Return the value of a header, or ``default`` if there is none."""
        value = self.headers.get(name.lower().encode())
        return default if value is None else value.decode("latin-1")


class Connection(asyncio.Protocol):
    """Reads one request after another and hands each, once complete, to the server."""

    def __init__(self, server: "Server") -> None:
        self.server = server
        self.transport: Any = None
        self.peer: tuple[str, int] = ("", 0)
        self.parser = httptools.HttpRequestParser(self)
        self.reading = IDLE
        self.request = Request()
        # Bytes of the last packet; of the current message, in the packets after its first; and of its body, as
        # counted against the buffer of large bodies.
        self.packet = self.received = self.held = 0
        # Headers of the current message, as received.
        self.fields: list[tuple[bytes, bytes]] = []
        self.waiting: deque[Request] = deque()
        # The request that is being answered, and its job if another thread works on it.
        self.active: Request | None = None
        self.job: Job | None = None
        self.fault: HTTPException | None = None
        self.deadline = math.inf
        # The reading state that the deadline belongs to.
        self.timed = IDLE
        self.unread_since = math.inf
        # Requests answered since the event loop last served other clients.
        self.turn = 0
        self.can_write = True
        self.is_paused = False
        self.is_advancing = False

    # Callbacks of the event loop.

    def connection_made(self, transport: Any) -> None:
        """Start to wait for a request."""
        self.transport = transport
        peer = transport.get_extra_info("peername")
        self.peer = (str(peer[0]), peer[1]) if peer else ("", 0)
        self.deadline = self.server.now() + self.server.idle_seconds()
        self.server.add(self)

    def connection_lost(self, error: Exception | None) -> None:
        """Forget the client, and cancel its work that has not started."""
        self.server.remove(self)
        self._release()
        self.waiting.clear()
        self.reading = DISCARD
        self.is_paused = False
        if self.job:
            self.job.future.cancel()

    def data_received(self, data: bytes) -> None:
        """Feed the parser."""
        if self.reading == DISCARD:
            return
        self.packet = len(data)
        self.received += self.packet
        self.turn = 0
        try:
            self._feed(data)
        except httptools.HttpParserCallbackError as error:
            logger.error("Unexpected error", exc_info=error)
            self.transport.abort()
        except httptools.HttpParserError as error:
            self._fail(BadRequest(f"The request is not HTTP/1.1: {error}"))
        if self.reading == HEADERS and self.received > self.server.settings.max_header_bytes:
            self._fail(RequestHeaderFieldsTooLarge())
        elif self.reading == BODY and self.received > self.server.most_bytes:
            self._fail(BodyTooLarge(self.server.settings.max_body_bytes))
        elif self.reading in (HEADERS, BODY) and self.timed != self.reading:
            self._set_deadline()
        if self.fault:
            self._advance()

    def eof_received(self) -> bool:
        """Refuse an incomplete request; a client may close its side and wait for the response."""
        if self.reading in (HEADERS, BODY):
            self._fail(BadRequest("The request ended before it was complete."))
            self._advance()
            return True
        last = self.waiting[-1] if self.waiting else self.active
        if last:
            last.is_last = True
            self.reading = DISCARD
        return last is not None

    def pause_writing(self) -> None:
        """Stop answering a client that does not read its responses."""
        self.can_write = False

    def resume_writing(self) -> None:
        """Continue with the waiting requests."""
        self.can_write = True
        self._advance()

    # Callbacks of the parser.

    def on_message_begin(self) -> None:
        """Start a request."""
        self.request = Request()
        self.received = 0
        self.fields = []
        if self.reading == DISCARD:
            return
        self.reading = HEADERS
        self.timed = IDLE

    def on_url(self, part: bytes) -> None:
        """Append a part of the target."""
        target = self.request.target
        self.request.target = target + part if target else part

    def on_header(self, name: bytes, value: bytes) -> None:
        """Add a header; trailers after the body are ignored."""
        if self.reading == HEADERS:
            self.fields.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """Refuse a request that cannot be answered, before its body is read."""
        if self.reading != HEADERS:
            return
        request = self.request
        headers = request.headers = dict(self.fields)
        if len(headers) < len(self.fields) <= MAX_HEADERS:
            for name in headers:
                headers[name] = b", ".join([value for key, value in self.fields if key == name])
        request.method = self.parser.get_method()
        request.version = self.parser.get_http_version()
        fault = self._find_fault(request)
        has_body = b"content-length" in headers or b"transfer-encoding" in headers
        if fault:
            self._fail(fault)
        # With an Upgrade it comes again, from _feed.
        elif has_body and not self.parser.should_upgrade():
            self.reading = BODY
            self.received = 0
            expects = headers.get(b"expect", b"").lower() == b"100-continue"
            # HTTP/1.0 has no such response.
            if expects and request.version == "1.1" and not self.active:
                self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, part: bytes) -> None:
        """Append a part of the body, up to the limit."""
        if self.reading != BODY:
            return
        request = self.request
        if not request.body:
            request.body = part
        else:
            if isinstance(request.body, bytes):
                request.body = bytearray(request.body)
            request.body += part
        size = len(request.body)
        if size > self.server.settings.max_body_bytes:
            self._fail(BodyTooLarge(self.server.settings.max_body_bytes))
        elif size > SMALL_BODY:
            held = size - self.held
            if not self.server.hold(held):
                self._fail(Overloaded())
            else:
                self.held = size

    def on_message_complete(self) -> None:
        """Queue the request for the server."""
        if self.reading == DISCARD or self.parser.should_upgrade():
            return
        request = self.request
        request.is_last = not self.parser.should_keep_alive()
        self.reading = IDLE
        self.waiting.append(request)
        self._advance()

    def _feed(self, data: bytes) -> None:
        """Feed the parser, once more for each request that asks for an upgrade."""
        rest: bytes | memoryview = data
        while True:
            try:
                self.parser.feed_data(rest)
                return
            except httptools.HttpParserUpgrade as error:
                if self.reading == DISCARD:
                    return
                # The parser skips the body, but Java's client sends Upgrade: h2c with every request.
                rest, request = memoryview(rest)[error.args[0] :], self.request
                line = b"%b %b HTTP/%b" % (request.method, request.target, request.version.encode())
                kept = [b"%b: %b" % field for field in self.fields if field[0] != b"upgrade"]
                self.parser = httptools.HttpRequestParser(self)
                self.parser.feed_data(b"\r\n".join([line, *kept, b"", b""]))

    # Called by the server.

    def send(self, data: bytes, close: bool) -> None:
        """Write a response; if ``close``, the connection ends with it."""
        self.active = self.job = None
        self._release()
        if self.transport.is_closing():
            return
        self.transport.write(data)
        if close:
            self.waiting.clear()
            self._end()
        else:
            self._advance()

    def expire(self) -> None:
        """Cut off a client whose time is up."""
        if self.reading in (HEADERS, BODY):
            what = "headers" if self.reading == HEADERS else "body"
            self._fail(RequestTimeout(f"The {what} of the request took too long to arrive."))
            self._advance()
        elif self.reading == IDLE:
            self.transport.close()
        else:
            self.transport.abort()

    def _advance(self) -> None:
        """Answer the waiting requests, one after another."""
        if self.is_advancing:
            return
        self.is_advancing = True
        while self.waiting and not self.active and self.can_write:
            if self.turn == TURN:
                self.server.later(self._take_turn)
                break
            self.turn += 1
            self.active = self.waiting.popleft()
            self.server.handle(self, self.active)
        self.is_advancing = False
        if self.active or self.waiting:
            self._pause()
            return
        if self.fault:
            self._refuse()
            return
        if self.is_paused:
            self.is_paused = False
            self.transport.resume_reading()
        if self.reading != DISCARD:
            self._set_deadline()

    def _set_deadline(self) -> None:
        """Set the deadline for what the client has to send next."""
        self.timed = self.reading
        if self.reading == HEADERS:
            seconds: float = self.server.settings.header_seconds
        elif self.reading == BODY:
            seconds = self.server.settings.body_seconds
        else:
            seconds = self.server.idle_seconds()
        self.deadline = self.server.now() + seconds

    def _take_turn(self) -> None:
        """Continue after all other clients had their turn."""
        self.turn = 0
        self._advance()

    def _pause(self) -> None:
        """Stop reading from the client until its waiting requests are answered."""
        if self.waiting and not self.is_paused and not self.transport.is_closing():
            self.is_paused = True
            self.transport.pause_reading()

    def _find_fault(self, request: Request) -> HTTPException | None:
        headers, version, fields = request.headers, request.version, self.fields
        coding = headers.get(b"transfer-encoding")
        if version not in ("1.1", "1.0"):
            return BadRequest(f"HTTP/{version} is not supported, use HTTP/1.1.")
        if len(request.target) > LONGEST_TARGET:
            return RequestURITooLarge()
        if request.method == b"CONNECT":
            return NotImplemented("The service is no proxy.")
        most_bytes = self.server.settings.max_header_bytes
        # The headers are no longer than the bytes received, whose number is cheaper to check.
        if len(fields) > MAX_HEADERS or (
            self.received + self.packet > most_bytes
            and sum(len(name) + len(value) + 4 for name, value in fields) > most_bytes
        ):
            return RequestHeaderFieldsTooLarge()
        hosts = [name for name, _ in fields].count(b"host")
        if hosts > 1 or (version == "1.1" and not hosts):
            return BadRequest(f"A request must have one Host header, this one has {hosts}.")
        if coding is not None and version == "1.0":
            return BadRequest("HTTP/1.0 has no Transfer-Encoding.")
        if coding is not None and coding.lower() != b"chunked":
            return NotImplemented("The Transfer-Encoding is not chunked.")
        length = headers.get(b"content-length")
        if length and int(length) > self.server.settings.max_body_bytes:
            return BodyTooLarge(self.server.settings.max_body_bytes)
        return None

    def _fail(self, fault: HTTPException) -> None:
        """Stop reading; the fault is answered after the requests before it."""
        if self.reading != DISCARD:
            self.reading = DISCARD
            # After a response that closes the connection, anything else the client sends is ignored.
            self.fault = None if self.active and self.active.is_last else fault
            self.request.body = b""

    def _refuse(self) -> None:
        fault, self.fault = self.fault, None
        if fault and not self.transport.is_closing():
            self.active = self.request
            self.server.refuse(self, self.request, fault)

    def _end(self) -> None:
        """Close after the written data; if the client may still be sending, give it time to read that first."""
        if self.reading == IDLE:
            self.transport.close()
            return
        self.reading = DISCARD
        self.deadline = self.server.now() + LINGER_SECONDS
        if self.is_paused:
            self.is_paused = False
            self.transport.resume_reading()
        if self.transport.can_write_eof():
            self.transport.write_eof()

    def _release(self) -> None:
        if self.held:
            self.server.hold(-self.held)
            self.held = 0
