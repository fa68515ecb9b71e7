"""A worker's event loop: takes connections, answers what it can at once, lets threads do the rest."""

import asyncio
import errno
import itertools
import math
import signal
import socket
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
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
# A longer body is decoded by a thread: it takes longer than a light prediction.
INLINE_BYTES = 32_768
# All large bodies that a worker holds at a time, in bodies of the largest size.
LARGE_BODIES = 32
# A chunked body may be so many times as long as what it holds.
CHUNK_OVERHEAD = 8
# Of those deadlines that are looked at together.
SWEEP_SECONDS = 0.25
DRAIN_SECONDS = 1.0
# How long a worker leaves a new connection to one that has fewer.
YIELD_SECONDS = 0.002
BACKLOG = 2048
# New connections that are taken before those that are there are looked at.
AT_ONCE = 64

STATUS_LINES = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus
}
HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length"}
WITHOUT_BODY = {204, 304}
# As nginx counts a client that went before its answer; RFC 9110 has no status for it.
CLIENT_CLOSED = 499


class Job:
    """A request that waits for a thread, or for the model's queue."""

    __slots__ = ("call", "connection", "future", "latest", "request")

    def __init__(
        self,
        connection: Connection,
        request: Request,
        call: Call | None,
        future: Future[Any],
        latest: float,
    ) -> None:
        self.connection = connection
        self.request = request
        # None where the application counts it itself.
        self.call = call
        self.future = future
        self.latest = latest


class Light(NamedTuple):
    """A request whose rows are few enough to be predicted on the event loop."""

    connection: Connection
    request: Request
    call: Call
    inputs: Inputs
    rows: int
    encode: Encode


class Server:
    """Serves ``application`` on ``listener`` until it is told to stop.

    It is ``app``, or what its owner has wrapped around it. ``shares`` holds how many connections each worker
    has, for all to see, of which this one is ``worker``.
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
        # In the order in which they came.
        self.connections: dict[Connection, None] = {}
        self.is_draining = False
        self.hooks = added_hooks(app) + ["application"] * (application is not app)
        # Without Flask: only while nobody has an interest in seeing it there.
        doors = {} if self.hooks else self.service.doors
        self._doors = {path.encode(): (path, *door) for path, door in doors.items()}
        self._head = encode_headers(self.service.headers)
        # Of a body with all that its chunks say around it.
        self.most_bytes = settings.max_body_bytes * CHUNK_OVERHEAD + settings.max_header_bytes
        self._listener = listener
        self._shares, self._worker = shares, worker
        self._yielded = False
        self._busy = 0
        self._held = 0
        # Those that wait, the oldest first.
        self._jobs: dict[Job, None] = {}
        # Those whose rows will be predicted together.
        self._batch: list[Light] = []
        waits_in_threads = self.service.engine.batcher and not self._doors
        threads = settings.max_concurrent + 8 if waits_in_threads else LIGHT_THREADS
        self._threads = ThreadPoolExecutor(threads, "request")
        # Of its own, so that no prediction is in its way.
        self._health_thread = ThreadPoolExecutor(1, "health")
        self._date = b""

    async def run(self, ready: Callable[[], None]) -> None:
        """Serve until SIGTERM, then finish what was begun; ``ready`` is called once it listens."""
        self._loop = asyncio.get_running_loop()
        self.now = self._loop.time
        self._stopped = asyncio.Event()
        self._sweep()
        self._loop.add_signal_handler(signal.SIGTERM, self.drain)
        self._listener.setblocking(False)
        self._listener.listen(BACKLOG)
        self._loop.add_reader(self._listener, self._accept)
        ready()
        await self._stopped.wait()

    def drain(self) -> None:
        """Take no further connection, answer what is asked, and end when nobody is left."""
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
        """Take new connections, as long as no other worker has fewer."""
        taken = 0
        while self._yielded or self._shares[self._worker] <= min(self._shares):
            self._yielded = False
            taken += 1
            if taken > AT_ONCE or not self._accept_one():
                return
        # The others are asked too; if they are busy, it is this one's turn after all.
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
        """Keep a connection; where there are too many, the one that has been idle for longest goes."""
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
        """Forget a connection that is closed."""
        self.connections.pop(connection, None)
        self._shares[self._worker] -= 1

    def hold(self, size: int) -> bool:
        """Count bytes of large bodies as held; False where all together are too many."""
        if size > 0 and self._held + size > LARGE_BODIES * self.settings.max_body_bytes:
            return False
        self._held += size
        return True

    def idle_seconds(self) -> float:
        """How long a connection may be silent between requests."""
        return DRAIN_SECONDS if self.is_draining else self.settings.keep_alive_seconds

    def _sweep(self) -> None:
        """Look at all deadlines."""
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
        """Answer a request that is whole."""
        if request.method == b"POST":
            found = self._doors.get(request.target)
            if found:
                self._predict(connection, request, *found)
                return
        self._ask_application(connection, request)

    def refuse(self, connection: Connection, request: Request, error: HTTPException) -> None:
        """Answer what is no request, or one too many, and end the connection."""
        request.is_last = True
        self._answer_fault(connection, request, self._begin(request), error)

    def _begin(self, request: Request, path: str = "") -> Call:
        """The call of a request, which is counted as being answered from now on."""
        call = current.call = call_of(request, path)
        if self.service.origins:
            call.more_headers = self.service.origins.headers(request.header("origin"))
        self.service.begin()
        return call

    def _predict(
        self, connection: Connection, request: Request, path: str, door: Door, route: str
    ) -> None:
        """Answer a request for predictions without Flask, in which nobody has an interest."""
        service = self.service
        call = self._begin(request, path)
        call.route = route
        try:
            headers = request.headers
            if service.keys.are_needed_for(call.path):
                key, authorization = request.header("x-api-key"), request.header("authorization")
                service.keys.require(key, authorization)
            is_light = service.inline_rows or service.engine.batcher
            is_small = len(request.body) <= INLINE_BYTES and b"content-encoding" not in headers
            if not (is_light and is_small):
                work = lambda: service.predict(call, door, asked_of(request, self.settings))  # noqa: E731
                self._submit(connection, request, call, work)
                return
            inputs, encode = door(asked_of(request, self.settings))
            if service.engine.batcher:
                self._queue(connection, request, call, inputs, encode)
            elif (rows := count(inputs)) > service.inline_rows:
                predict = service.engine.predict
                work = lambda: service.finish(call, inputs, predict(inputs), encode)  # noqa: E731
                self._submit(connection, request, call, work)
            elif len(self.connections) > 1:
                self._predict_soon(Light(connection, request, call, inputs, rows, encode))
            else:
                predictions = service.engine.predict(inputs)
                reply = service.finish(call, inputs, predictions, encode)
                self._answer(connection, request, call, reply)
        except Exception as error:
            self._answer_fault(connection, request, call, error)

    def _predict_soon(self, light: Light) -> None:
        """Predict here, together with what others have sent by now: a model answers many rows sooner."""
        self._batch.append(light)
        if len(self._batch) == 1:
            self._loop.call_soon(self._predict_batch)

    def _predict_batch(self) -> None:
        """Answer what was collected, no more rows at a time than may be predicted on the event loop."""
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
        """Let a thread make the reply; raises Overloaded."""

        def run() -> Reply:
            current.call = call
            return work()

        self._wait(connection, request, call, lambda: self._threads.submit(run), self._end_job)

    def _queue(
        self, connection: Connection, request: Request, call: Call, inputs: Inputs, encode: Encode
    ) -> None:
        """Let the model's queue predict the rows; raises Overloaded."""
        end = partial(
            self._end_job, finish=partial(self.service.finish, call, inputs, encode=encode)
        )
        self._wait(connection, request, call, lambda: self.service.engine.submit(inputs), end)

    def _wait(
        self,
        connection: Connection,
        request: Request,
        call: Call | None,
        submit: Callable[[], Future[Any]],
        end: Callable[[Job], None],
        counts: bool = True,
    ) -> None:
        """Let a request wait for what is submitted, then ``end`` it here.

        Raises Overloaded where it ``counts`` and too many wait.
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

        job.future.add_done_callback(lambda _: self._later(finish))

    def later(self, function: Callable[[], None]) -> None:
        """Call a function when all that has come until now was looked at."""
        self._loop.call_soon(function)

    def _later(self, function: Callable[..., None], *arguments: Any) -> None:
        """Call a function on the event loop, from any thread; nobody waits for it once that has ended."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(function, *arguments)

    def _end_job(self, job: Job, finish: Callable[..., Reply] | None = None) -> None:
        call = job.call
        # Refused before its turn came.
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
        self.service.end(call, 200)
        body, content_type, headers = reply
        # The usual answer has no other: its value was checked, and needs no look for line breaks.
        more = b"X-Request-ID: %b\r\n" % call.request_id.encode()
        if headers or call.trace or call.more_headers:
            more = encode_headers([*headers, *call.headers()])
        close, ending = self._ending(request)
        connection.send(
            b"HTTP/1.1 200 OK\r\nDate: %b\r\nContent-Type: %b\r\nContent-Length: %d\r\n%b%b%b\r\n%b"
            % (self._date, content_type.encode(), len(body), self._head, more, ending, body),
            close,
        )

    def _answer_fault(
        self, connection: Connection, request: Request, call: Call, error: Exception
    ) -> None:
        current.call = call
        if isinstance(error, HTTPException):
            response = problems.describe(error)
        else:
            response = problems.describe_unexpected(error)
        headers = [*response.headers, *self.service.headers, *call.headers()]
        self.service.end(call, response.status_code)
        connection.send(*self._encode(request, response.status_code, headers, response.get_data()))

    def _ask_application(self, connection: Connection, request: Request) -> None:
        """Let a thread ask the WSGI application, which counts and logs the request itself."""
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
            # Raised around the service, which answers for its own faults.
            self._answer_fault(job.connection, job.request, self._begin(job.request), error)
        else:
            job.connection.send(*data)

    def _encode(
        self, request: Request, status: int, headers: Headers, body: bytes
    ) -> tuple[bytes, bool]:
        """The bytes of an answer of any kind, and whether the connection ends with it.

        Raises ValueError for a header that would end its line.
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
        """Whether the connection ends with the answer to a request, and the header that says so."""
        if request.is_last or self.is_draining:
            return True, b"Connection: close\r\n"
        return False, b"Connection: keep-alive\r\n" if request.version == "1.0" else b""


def is_idle(connection: Connection) -> bool:
    """Whether nobody waits for anything of a connection."""
    return not (connection.active or connection.waiting or connection.reading)


def encode_headers(headers: Sequence[tuple[str, str]]) -> bytes:
    """Headers as they are sent; raises ValueError for one that would end its line."""
    text = "".join([f"{name}: {value}\r\n" for name, value in headers])
    if text.count("\n") != len(headers) or text.count("\r") != len(headers):
        raise ValueError("a header of the answer holds a line break")
    return text.encode("latin-1")


def call_of(request: Request, path: str) -> Call:
    """The call of a request that Flask may not see; its ``path`` where it is known."""
    path = path or path_of(request.target)[0].encode("latin-1").decode(errors="replace")
    return Call(
        request.method.decode() or "-",
        path or "-",
        request.header("x-request-id"),
        request.header("traceparent"),
    )


def asked_of(request: Request, settings: Settings) -> Asked:
    """What a request sent to a door; raises as ``decompress`` does."""
    body = bytes(request.body)
    encoding = request.headers.get(b"content-encoding")
    if encoding:
        body = decompress(body, encoding.decode("latin-1").lower(), settings.max_body_bytes)
    return Asked(body, request.header)
