"""The event loop of a worker: accepts connections, answers what it can immediately, leaves the rest to threads."""

import asyncio
import errno
import itertools
import math
import signal
import socket
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from email.utils import formatdate
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, NamedTuple

from flask import Flask
from werkzeug.exceptions import HTTPException

from inference.config import Settings
from inference.errors import Overloaded
from inference.http import problems
from inference.http.body import decompress
from inference.http.connection import DISCARD, Connection, Request
from inference.http.context import Call, current
from inference.http.middleware import added_hooks
from inference.http.service import Asked, Door, Encode, Headers, Reply, Service
from inference.http.wsgi import ask, environ_of, path_of
from inference.runtime.signature import Inputs, Predictions, count

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

LIGHT_THREADS = 4
# A longer body is decoded in a thread: it takes longer than a light prediction.
INLINE_BYTES = 32_768
# Limit for all large bodies that a worker holds at a time, in multiples of the largest body.
LARGE_BODIES = 32
# A chunked body may be this many times as long as its content.
CHUNK_OVERHEAD = 8
# Interval at which all deadlines are checked.
SWEEP_SECONDS = 0.25
DRAIN_SECONDS = 1.0
# How long a worker leaves new connections to workers that have fewer.
YIELD_SECONDS = 0.002
BACKLOG = 2048
# New connections that are accepted before existing ones are served.
AT_ONCE = 64

STATUS_LINES = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus
}
HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length"}
WITHOUT_BODY = {204, 304}
# nginx's status for a client that disconnected before its response; RFC 9110 has none.
CLIENT_CLOSED = 499


@dataclass(slots=True, eq=False)
class Job:
    """A request that waits for a thread or for the model's queue."""

    connection: Connection
    request: Request
    # None if the application counts the request itself.
    call: Call | None
    future: Future[Any]
    latest: float


class Light(NamedTuple):
    """A request with few enough rows to be predicted on the event loop."""

    connection: Connection
    request: Request
    call: Call
    inputs: Inputs
    rows: int
    encode: Encode


class Server:
    """Serves ``application`` on ``listener`` until it is told to stop.

    ``application`` is ``app``, or middleware that the project wraps around it. ``shares`` is shared memory with the
    number of connections of each worker; ``worker`` is the number of this one.
    """

    def __init__(
        self,
        app: Flask,
        application: "WSGIApplication",
        listener: socket.socket,
        shares: "memoryview[int]",
        worker: int,
    ) -> None:
        self.application = application
        self.service: Service = app.extensions["service"]
        self.settings = settings = self.service.settings
        # In order of arrival.
        self.connections: dict[Connection, None] = {}
        self.is_draining = False
        self.hooks = added_hooks(app) + ["application"] * (application is not app)
        # Requests bypass Flask only if no hook or middleware needs to see them.
        doors = {} if self.hooks else self.service.doors
        self._doors = {path.encode(): (path, *door) for path, door in doors.items()}
        self._head = encode_headers(self.service.headers)
        # Limit for a body including its chunk headers and trailers.
        self.most_bytes = settings.max_body_bytes * CHUNK_OVERHEAD + settings.max_header_bytes
        self._listener = listener
        self._shares, self._worker = shares, worker
        self._yielded = False
        self._busy = 0
        self._held = 0
        # Waiting jobs, the oldest first.
        self._jobs: dict[Job, None] = {}
        # Requests whose rows will be predicted together.
        self._batch: list[Light] = []
        waits_in_threads = self.service.engine.batcher and not self._doors
        threads = settings.max_concurrent + 8 if waits_in_threads else LIGHT_THREADS
        self._threads = ThreadPoolExecutor(threads, "request")
        # A thread of its own, so that predictions never delay health checks.
        self._health_thread = ThreadPoolExecutor(1, "health")
        self._date = b""

    async def run(self, ready: Callable[[], None]) -> None:
        """Serve until SIGTERM, then finish open requests; ``ready`` is called once the server listens."""
        self._loop = asyncio.get_running_loop()
        self.now = self._loop.time
        # Calls a function after everything that has arrived by now was handled.
        self.later = self._loop.call_soon
        self._stopped = asyncio.Event()
        self._sweep()
        self._loop.add_signal_handler(signal.SIGTERM, self.drain)
        self._listener.setblocking(False)
        self._listener.listen(BACKLOG)
        self._loop.add_reader(self._listener, self._accept)
        ready()
        await self._stopped.wait()

    def drain(self) -> None:
        """Accept no more connections, answer open requests, and stop when no client is left."""
        if self.is_draining:
            return
        self.is_draining = True
        self._loop.remove_reader(self._listener)
        while self._accept_one():
            pass
        self._listener.close()
        self._end_by = self.now() + self.settings.shutdown_seconds
        for connection in self.connections:
            connection.deadline = min(connection.deadline, self._end_by)
            if is_idle(connection):
                connection.deadline = self.now() + DRAIN_SECONDS

    # Connections.

    def _accept(self) -> None:
        """Accept new connections as long as no other worker has fewer."""
        taken = 0
        while self._yielded or self._shares[self._worker] <= min(self._shares):
            self._yielded = False
            taken += 1
            if taken > AT_ONCE or not self._accept_one():
                return
        # The other workers see the connection too; if they are busy, this one accepts it after all.
        self._loop.remove_reader(self._listener)
        self._loop.call_later(YIELD_SECONDS, self._listen_again)

    def _listen_again(self) -> None:
        if not self.is_draining:
            self._yielded = True
            self._loop.add_reader(self._listener, self._accept)

    def _accept_one(self) -> bool:
        try:
            client, _ = self._listener.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return False
        except OSError as error:
            if error.errno not in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                raise
            self._loop.remove_reader(self._listener)
            self._loop.call_later(1, self._listen_again)
            return False
        client.setblocking(False)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._shares[self._worker] += 1
        connection = Connection(self)
        task = self._loop.create_task(
            self._loop.connect_accepted_socket(lambda: connection, client)
        )
        task.add_done_callback(self._check_taken)
        return True

    def _check_taken(self, task: "asyncio.Task[Any]") -> None:
        if task.cancelled() or task.exception():
            self._shares[self._worker] -= 1

    def add(self, connection: Connection) -> None:
        """Add a connection; if there are too many, close the one that has been idle longest, or refuse the new one."""
        self.connections[connection] = None
        if len(self.connections) > self.settings.max_connections:
            others = (one for one in self.connections if one is not connection and is_idle(one))
            longest = min(others, key=lambda one: one.deadline, default=None)
            if longest:
                longest.transport.close()
            else:
                connection.active = connection.request
                connection.reading = DISCARD
                self.refuse(connection, connection.request, Overloaded())

    def remove(self, connection: Connection) -> None:
        """Forget a closed connection."""
        self.connections.pop(connection, None)
        self._shares[self._worker] -= 1

    def hold(self, size: int) -> bool:
        """Count bytes of large bodies as held; return False if the total would be too large."""
        if size > 0 and self._held + size > LARGE_BODIES * self.settings.max_body_bytes:
            return False
        self._held += size
        return True

    def idle_seconds(self) -> float:
        """Return how long a connection may be idle between requests."""
        return DRAIN_SECONDS if self.is_draining else self.settings.keep_alive_seconds

    def _sweep(self) -> None:
        """Check all deadlines."""
        self._loop.call_later(SWEEP_SECONDS, self._sweep)
        now = self.now()
        self._date = formatdate(usegmt=True).encode()
        for connection in list(self.connections):
            if connection.transport.get_write_buffer_size():
                connection.unread_since = min(connection.unread_since, now)
                if now - connection.unread_since > self.settings.send_seconds:
                    connection.transport.abort()
            else:
                connection.unread_since = math.inf
                if now >= connection.deadline and not (connection.active or connection.waiting):
                    connection.expire()
        for job in list(itertools.takewhile(lambda job: job.latest <= now, self._jobs)):
            del self._jobs[job]
            if job.future.cancel():
                self._refuse_job(job)
        if self.is_draining and (not self.connections or now >= self._end_by):
            self._stopped.set()

    # Requests.

    def handle(self, connection: Connection, request: Request) -> None:
        """Answer a complete request."""
        if request.method == b"POST":
            found = self._doors.get(request.target)
            if found:
                self._predict(connection, request, *found)
                return
        self._ask_application(connection, request)

    def refuse(self, connection: Connection, request: Request, error: HTTPException) -> None:
        """Answer an invalid request, or one too many, and close the connection."""
        request.is_last = True
        self._answer_fault(connection, request, self._begin(request), error)

    def _begin(self, request: Request, path: str = "") -> Call:
        """Return the call of a request, counted as in flight from now on."""
        call = current.call = call_of(request, path)
        if self.service.origins:
            call.more_headers = self.service.origins.headers(request.header("origin"))
        self.service.metrics.enter()
        return call

    def _predict(
        self, connection: Connection, request: Request, path: str, door: Door, route: str
    ) -> None:
        """Answer a prediction request without Flask, since nothing hooks into it."""
        service = self.service
        call = self._begin(request, path)
        call.route = route
        try:
            headers = request.headers
            if service.keys.are_needed_for(call.path):
                key, authorization = request.header("x-api-key"), request.header("authorization")
                service.keys.require(key, authorization)
            batcher = service.engine.batcher
            is_light = service.inline_rows or batcher
            is_small = len(request.body) <= INLINE_BYTES and b"content-encoding" not in headers
            if not (is_light and is_small):
                work = lambda: service.predict(call, door, asked_of(request, self.settings))  # noqa: E731
                self._submit(connection, request, call, work)
                return
            inputs, encode = door(asked_of(request, self.settings))
            if batcher:
                finish = partial(service.finish, call, inputs, encode=encode)
                end = partial(self._end_job, finish=finish)
                self._wait(connection, request, call, partial(batcher.submit, inputs), end)
            elif (rows := count(inputs)) > service.inline_rows:
                predict = service.engine.predict
                work = lambda: service.finish(call, inputs, predict(inputs), encode)  # noqa: E731
                self._submit(connection, request, call, work)
            elif len(self.connections) > 1:
                # The model is faster on many rows: predict with the requests that arrive by then.
                self._batch.append(Light(connection, request, call, inputs, rows, encode))
                if len(self._batch) == 1:
                    self._loop.call_soon(self._predict_batch)
            else:
                predictions = service.engine.predict(inputs)
                reply = service.finish(call, inputs, predictions, encode)
                self._answer(connection, request, call, reply)
        except Exception as error:
            self._answer_fault(connection, request, call, error)

    def _predict_batch(self) -> None:
        """Answer the collected requests, with no more rows at a time than may be predicted on the event loop."""
        batch, self._batch = self._batch, []
        while batch:
            ends = itertools.accumulate(light.rows for light in batch)
            size = sum(end <= self.service.inline_rows for end in ends)
            part, batch = batch[:size], batch[size:]
            answers = self.service.engine.predict_together([light.inputs for light in part])
            for light, answer in zip(part, answers, strict=True):
                self._finish(light, answer)

    def _finish(self, light: Light, answer: Predictions | Exception) -> None:
        """Answer a request whose rows were predicted."""
        connection, request, call, inputs, _, encode = light
        current.call = call
        try:
            if isinstance(answer, Exception):
                raise answer
            reply = self.service.finish(call, inputs, answer, encode)
        except Exception as error:
            self._answer_fault(connection, request, call, error)
        else:
            self._answer(connection, request, call, reply)

    def _submit(
        self, connection: Connection, request: Request, call: Call, work: Callable[[], Reply]
    ) -> None:
        """Create the reply in a thread; raises Overloaded."""

        def run() -> Reply:
            current.call = call
            return work()

        self._wait(connection, request, call, lambda: self._threads.submit(run), self._end_job)

    def _wait(
        self,
        connection: Connection,
        request: Request,
        call: Call | None,
        submit: Callable[[], Future[Any]],
        end: Callable[[Job], None],
        counts: bool = True,
    ) -> None:
        """Let a request wait for the submitted work, then ``end`` it on the event loop.

        Raises Overloaded if it ``counts`` towards the limit of waiting requests and the limit is reached.
        """
        if counts and self._busy >= self.settings.max_concurrent:
            raise Overloaded
        self._busy += counts
        latest = self.now() + self.settings.request_seconds
        job = connection.job = Job(connection, request, call, submit(), latest)
        self._jobs[job] = None

        def finish() -> None:
            self._busy -= counts
            self._jobs.pop(job, None)
            end(job)

        def done(_: Future[Any]) -> None:
            # In any thread, and even after the loop was closed.
            if not self._loop.is_closed():
                self._loop.call_soon_threadsafe(finish)

        job.future.add_done_callback(done)

    def _end_job(self, job: Job, finish: Callable[..., Reply] | None = None) -> None:
        call = job.call
        # The request was refused before its turn came.
        if call is None:
            return
        if job.future.cancelled():
            self.service.end(call, CLIENT_CLOSED)
            return
        current.call = call
        try:
            result: Any = job.future.result()
            if finish:
                result = finish(result)
        except Exception as error:
            self._answer_fault(job.connection, job.request, call, error)
        else:
            self._answer(job.connection, job.request, call, result)

    def _refuse_job(self, job: Job) -> None:
        call, job.call = job.call or self._begin(job.request), None
        self._answer_fault(job.connection, job.request, call, Overloaded())

    def _answer(self, connection: Connection, request: Request, call: Call, reply: Reply) -> None:
        body, content_type, headers = reply
        # Usually the only extra header; the ID was validated, so it needs no check for line breaks.
        more = b"X-Request-ID: %b\r\n" % call.request_id.encode()
        if headers or call.trace or call.more_headers:
            more = encode_headers([*headers, *call.headers()])
        close, ending = self._ending(request)
        connection.send(
            b"HTTP/1.1 200 OK\r\nDate: %b\r\nContent-Type: %b\r\nContent-Length: %d\r\n%b%b%b\r\n%b"
            % (self._date, content_type.encode(), len(body), self._head, more, ending, body),
            close,
        )
        # Once it is sent: no client waits for the statistics and the log.
        self.service.end(call, 200)

    def _answer_fault(
        self, connection: Connection, request: Request, call: Call, error: Exception
    ) -> None:
        current.call = call
        if isinstance(error, HTTPException):
            response = problems.describe(error)
        else:
            response = problems.describe_unexpected(error)
        headers = [*response.headers, *self.service.headers, *call.headers()]
        connection.send(*self._encode(request, response.status_code, headers, response.get_data()))
        self.service.end(call, response.status_code)

    def _ask_application(self, connection: Connection, request: Request) -> None:
        """Call the WSGI application in a thread; it counts and logs the request itself."""
        environ = environ_of(request, connection.peer, self.settings)
        is_health = environ["PATH_INFO"] in self.service.keys.health
        threads = self._health_thread if is_health else self._threads
        submit = partial(threads.submit, ask, self.application, environ)
        try:
            self._wait(connection, request, None, submit, self._end_asking, counts=not is_health)
        except Overloaded as error:
            self._answer_fault(connection, request, self._begin(request), error)

    def _end_asking(self, job: Job) -> None:
        if job.future.cancelled():
            return
        try:
            status, headers, body = job.future.result()
            data = self._encode(job.request, status, headers, body)
        except Exception as error:
            # Raised outside the service, which handles its own errors.
            self._answer_fault(job.connection, job.request, self._begin(job.request), error)
        else:
            job.connection.send(*data)

    def _encode(
        self, request: Request, status: int, headers: Headers, body: bytes
    ) -> tuple[bytes, bool]:
        """Return the bytes of any response, and whether the connection ends with it.

        Raises ValueError for a header with a line break.
        """
        kept = [pair for pair in headers if pair[0].lower() not in HOP_BY_HOP]
        if request.method == b"HEAD":
            kept += [pair for pair in headers if pair[0].lower() == "content-length"]
            body = b""
        elif status not in WITHOUT_BODY:
            kept.append(("Content-Length", str(len(body))))
        else:
            body = b""
        close, ending = self._ending(request)
        line = STATUS_LINES.get(status) or f"HTTP/1.1 {status} Unknown\r\n".encode()
        head = b"%bDate: %b\r\n%b%b\r\n" % (line, self._date, encode_headers(kept), ending)
        return head + body, close

    def _ending(self, request: Request) -> tuple[bool, bytes]:
        """Return whether the connection ends with the response, and the Connection header to send."""
        if request.is_last or self.is_draining:
            return True, b"Connection: close\r\n"
        return False, b"Connection: keep-alive\r\n" if request.version == "1.0" else b""


def is_idle(connection: Connection) -> bool:
    """Whether a connection is between requests."""
    return not (connection.active or connection.waiting or connection.reading)


def encode_headers(headers: Sequence[tuple[str, str]]) -> bytes:
    """Encode headers for sending; raises ValueError for one with a line break."""
    text = "".join([f"{name}: {value}\r\n" for name, value in headers])
    if text.count("\n") != len(headers) or text.count("\r") != len(headers):
        raise ValueError("a response header contains a line break")
    return text.encode("latin-1")


def call_of(request: Request, path: str) -> Call:
    """Create the call of a request that Flask may not see, with its ``path`` if known."""
    path = path or path_of(request.target)[0].encode("latin-1").decode(errors="replace")
    return Call(
        request.method.decode() or "-",
        path or "-",
        request.header("x-request-id"),
        request.header("traceparent"),
    )


def asked_of(request: Request, settings: Settings) -> Asked:
    """Return the decoded request for a door; raises what ``decompress`` raises."""
    body = bytes(request.body)
    encoding = request.headers.get(b"content-encoding")
    if encoding:
        body = decompress(body, encoding.decode("latin-1").lower(), settings.max_body_bytes)
    return Asked(body, request.header)
