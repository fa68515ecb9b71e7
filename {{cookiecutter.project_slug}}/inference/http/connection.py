"""One client's connection: reads requests of HTTP/1.1 (RFC 9112) within limits, and writes their answers.

A client that is slow costs a socket and the bytes that it sent, no thread. It is cut off by a deadline for
the headers, one for the body, however it trickles, one for taking an answer, and one for saying nothing.
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
    RequestEntityTooLarge,
    RequestHeaderFieldsTooLarge,
    RequestTimeout,
    RequestURITooLarge,
)

from inference.errors import Overloaded

if TYPE_CHECKING:
    from inference.http.server import Job, Server

logger = logging.getLogger(__name__)

LONGEST_TARGET = 8192
MAX_HEADERS = 100
# So many requests of a client are answered in a row, where it sent them together.
TURN = 16
# Bodies up to this size do not count against the buffer of large bodies.
SMALL_BODY = 16_384
# After a refusal, for the client to read it before the connection is gone.
LINGER_SECONDS = 2

# The state of reading: nothing yet, headers, a body, or bytes to discard.
IDLE, HEADERS, BODY, DISCARD = range(4)


class Request:
    """A request, whole: ``target`` as sent, ``headers`` by lower-case name."""

    __slots__ = ("body", "headers", "is_last", "method", "target", "version")

    def __init__(self) -> None:
        self.method = b""
        self.target = b""
        self.version = ""
        self.headers: dict[bytes, bytes] = {}
        self.body: bytes | bytearray = b""
        # Whether the client wants the connection to end with its answer.
        self.is_last = False

    def header(self, name: str, default: str = "") -> str:
        """The value of a header, ``default`` where there is none."""
        value = self.headers.get(name.lower().encode())
        return default if value is None else value.decode("latin-1")


class Connection(asyncio.Protocol):
    """Reads one request after another and hands each, once it is whole, to the server."""

    def __init__(self, server: "Server") -> None:
        self.server = server
        self.transport: Any = None
        self.peer: tuple[str, int] = ("", 0)
        self.parser = httptools.HttpRequestParser(self)
        self.reading = IDLE
        self.request = Request()
        # Bytes of the packet that came last, those of the current message in packets after its first, and of its
        # body those that count.
        self.packet = self.received = self.held = 0
        # Its headers, as they came.
        self.fields: list[tuple[bytes, bytes]] = []
        self.waiting: deque[Request] = deque()
        # The request that is being answered, and the work on it where another thread does it.
        self.active: Request | None = None
        self.job: Job | None = None
        self.fault: HTTPException | None = None
        self.deadline = math.inf
        # The state that the deadline belongs to.
        self.timed = IDLE
        self.unread_since = math.inf
        # Requests answered since the event loop last looked at other clients.
        self.turn = 0
        self.can_write = True
        self.is_paused = False
        self.is_advancing = False

    # Callbacks of the event loop.

    def connection_made(self, transport: Any) -> None:
        """Begin to wait for a request."""
        self.transport = transport
        peer = transport.get_extra_info("peername")
        self.peer = (str(peer[0]), peer[1]) if peer else ("", 0)
        self.deadline = self.server.now() + self.server.idle_seconds()
        self.server.add(self)

    def connection_lost(self, error: Exception | None) -> None:
        """Forget the client, and the work for it that has not begun."""
        self.server.remove(self)
        self._release()
        self.waiting.clear()
        self.reading = DISCARD
        self.is_paused = False
        if self.job:
            self.job.future.cancel()

    def data_received(self, data: bytes) -> None:
        """Read on."""
        if self.reading == DISCARD:
            return
        self.packet = len(data)
        self.received += self.packet
        self.turn = 0
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserCallbackError as error:
            logger.error("Unexpected error", exc_info=error)
            self.transport.abort()
        except httptools.HttpParserUpgrade:
            # It was answered as HTTP/1.1; what follows would be of the other protocol.
            self.reading = DISCARD
        except httptools.HttpParserError as error:
            self._fail(BadRequest(f"The request is not HTTP/1.1: {error}"))
        if self.reading == HEADERS and self.received > self.server.settings.max_header_bytes:
            self._fail(RequestHeaderFieldsTooLarge())
        elif self.reading == BODY and self.received > self.server.most_bytes:
            self._fail(RequestEntityTooLarge())
        elif self.reading in (HEADERS, BODY) and self.timed != self.reading:
            self._set_deadline()
        if self.fault:
            self._advance()

    def eof_received(self) -> bool:
        """Refuse half a request; a client may end its side and wait for the answer."""
        if self.reading in (HEADERS, BODY):
            self._fail(BadRequest("The request ended before all of it was sent."))
            self._advance()
            return True
        last = self.waiting[-1] if self.waiting else self.active
        if last:
            last.is_last = True
            self.reading = DISCARD
        return last is not None

    def pause_writing(self) -> None:
        """Answer no further request of a client that does not take its answers."""
        self.can_write = False

    def resume_writing(self) -> None:
        """Go on with the requests that wait."""
        self.can_write = True
        self._advance()

    # Callbacks of the parser.

    def on_message_begin(self) -> None:
        """Begin a request."""
        self.request = Request()
        self.received = 0
        self.fields = []
        if self.reading == DISCARD:
            return
        self.reading = HEADERS
        self.timed = IDLE

    def on_url(self, part: bytes) -> None:
        """Take a part of the target."""
        target = self.request.target
        self.request.target = target + part if target else part

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header; those after the body say nothing here."""
        if self.reading == HEADERS:
            self.fields.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """Refuse what cannot be answered before its body is read."""
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
        if fault:
            self._fail(fault)
            return
        if b"content-length" in headers or b"transfer-encoding" in headers:
            self.reading = BODY
            self.received = 0
            if headers.get(b"expect", b"").lower() == b"100-continue" and not self.active:
                self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, part: bytes) -> None:
        """Take a part of the body, no more in all than is allowed."""
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
            self._fail(RequestEntityTooLarge())
        elif size > SMALL_BODY:
            held = size - self.held
            if not self.server.hold(held):
                self._fail(Overloaded())
            else:
                self.held = size

    def on_message_complete(self) -> None:
        """Hand the request over."""
        if self.reading == DISCARD:
            return
        request = self.request
        request.is_last = not self.parser.should_keep_alive() or self.parser.should_upgrade()
        self.reading = IDLE
        self.waiting.append(request)
        self._advance()

    # Called by the server.

    def send(self, data: bytes, close: bool) -> None:
        """Write an answer; the connection ends with it where ``close``."""
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
        """Cut off a client that has had its time."""
        if self.reading in (HEADERS, BODY):
            what = "headers" if self.reading == HEADERS else "body"
            self._fail(RequestTimeout(f"The {what} of the request took too long to arrive."))
            self._advance()
        elif self.reading == IDLE:
            self.transport.close()
        else:
            self.transport.abort()

    def _advance(self) -> None:
        """Answer the requests that wait, one after another."""
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
        """Give the client its time for what it is to send now."""
        self.timed = self.reading
        if self.reading == HEADERS:
            seconds: float = self.server.settings.header_seconds
        elif self.reading == BODY:
            seconds = self.server.settings.body_seconds
        else:
            seconds = self.server.idle_seconds()
        self.deadline = self.server.now() + seconds

    def _take_turn(self) -> None:
        """Go on once all other clients have had their turn."""
        self.turn = 0
        self._advance()

    def _pause(self) -> None:
        """Leave what the client sends next where it is, until the requests before it are answered."""
        if self.waiting and not self.is_paused and not self.transport.is_closing():
            self.is_paused = True
            self.transport.pause_reading()

    def _find_fault(self, request: Request) -> HTTPException | None:
        headers, version, fields = request.headers, request.version, self.fields
        coding = headers.get(b"transfer-encoding")
        if version not in ("1.1", "1.0"):
            return BadRequest(f"HTTP/{version} is not spoken here, HTTP/1.1 is.")
        if len(request.target) > LONGEST_TARGET:
            return RequestURITooLarge()
        most_bytes = self.server.settings.max_header_bytes
        # They are no longer than what came, which costs less to look at.
        if len(fields) > MAX_HEADERS or (
            self.received + self.packet > most_bytes
            and sum(len(name) + len(value) + 4 for name, value in fields) > most_bytes
        ):
            return RequestHeaderFieldsTooLarge()
        hosts = int(b"host" in headers)
        if len(headers) < len(fields):
            hosts = [name for name, _ in fields].count(b"host")
        if hosts > 1 or (version == "1.1" and not hosts):
            return BadRequest(f"A request has one header Host, this one has {hosts}.")
        if coding is not None and version == "1.0":
            return BadRequest("HTTP/1.0 has no Transfer-Encoding.")
        if coding is not None and coding.lower() != b"chunked":
            return NotImplemented("The Transfer-Encoding is not chunked.")
        length = headers.get(b"content-length")
        if length and int(length) > self.server.settings.max_body_bytes:
            return RequestEntityTooLarge()
        return None

    def _fail(self, fault: HTTPException) -> None:
        """Read nothing further; the fault is answered when the requests before it are."""
        if self.reading != DISCARD:
            self.reading = DISCARD
            # A client that was told that this is its last answer may send what it likes.
            self.fault = None if self.active and self.active.is_last else fault
            self.request.body = b""

    def _refuse(self) -> None:
        fault, self.fault = self.fault, None
        if fault and not self.transport.is_closing():
            self.active = self.request
            self.server.refuse(self, self.request, fault)

    def _end(self) -> None:
        """Close after what was written; where the client may still be sending, when it has read that."""
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
