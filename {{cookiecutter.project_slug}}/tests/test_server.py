"""The server: valid and invalid HTTP/1.1, slow clients, limits, and shutdown."""

import contextlib
import fcntl
import gzip
import json
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from unittest.mock import Mock

import pytest
from flask import Flask, request_finished

from inference.app import create_app
from inference.config import ROOT, Settings
from inference.http import server as server_module
from inference.http.connection import Request
from inference.http.healthcheck import is_healthy
from inference.runtime import artifact
from inference.runtime.signature import count
from tests.server import Server, free_port, read_all, read_answer, serving, serving_here
from training.output import write_model

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks at processes in /proc")

PING = b"GET /ping HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture(scope="module")
def server(model_path, tmp_path_factory):
    log = tmp_path_factory.mktemp("server") / "log"
    with serving(log, MODEL_PATH=model_path, WORKERS=1, MAX_BODY_BYTES=65_536) as server:
        yield server


@pytest.fixture(scope="module")
def pair(model_path, tmp_path_factory):
    """A service with two workers that both listen."""
    log = tmp_path_factory.mktemp("pair") / "log"
    with serving(log, MODEL_PATH=model_path, WORKERS=2) as server:
        wait_for(lambda: sum(e["message"].startswith("Listening") for e in server.entries()) == 2)
        yield server


@pytest.fixture(scope="module")
def body(row):
    return json.dumps({"instances": [row]}).encode()


@pytest.fixture
def make_service(model_path):
    """Return a function that makes the service, whose deadlines may be fractions of a second."""
    return lambda **settings: create_app(Settings(model_path=str(model_path), **settings))


def post(body, path="/predict", kind="application/json", **headers):
    """Return a prediction request; headers have _ for -."""
    lines = [f"POST {path} HTTP/1.1", "Host: x", f"Content-Type: {kind}"]
    lines += [f"Content-Length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def ask(server, request):
    """Return the response to one request on a new connection."""
    with server.connect() as connection:
        connection.sendall(request)
        return read_answer(connection)


@pytest.mark.parametrize(
    "text", ["", "{", '{"instances": []}', '{"instances": [[1e400]]}', "x" * 70_000, None]
)
@pytest.mark.parametrize("encoding", ["identity", "gzip", "br"])
def test_the_path_that_bypasses_flask_responds_like_flask(server, row, text, encoding):
    text = json.dumps({"instances": [row, row]}) if text is None else text
    data = gzip.compress(text.encode()) if encoding == "gzip" else text.encode()
    given = {"Content_Encoding": encoding, "X_Request_ID": "the-same"}
    answers = [
        # The server treats the second path differently, Flask does not.
        ask(server, post(data, path=path, **given))
        for path in ("/predict", "/predict?")
    ]
    for _, headers, _ in answers:
        headers.pop("date")
    assert answers[0] == answers[1]


def override(app, see):
    class Own(Flask):
        def finalize_request(self, *arguments, **options):
            see()
            return super().finalize_request(*arguments, **options)

    app.__class__ = Own


@pytest.mark.parametrize(
    ("hook", "name"),
    [
        (lambda app, see: app.before_request(see), "before_request"),
        (lambda app, see: app.teardown_request(see), "teardown_request"),
        (lambda app, see: app.teardown_appcontext(see), "teardown_appcontext"),
        (lambda app, see: app.url_value_preprocessor(see), "url_value_preprocessors"),
        (lambda app, see: app.register_error_handler(400, see), "errorhandler"),
        (lambda app, see: request_finished.connect(see, app), "request_finished"),
        (override, "finalize_request"),
    ],
)
def test_hook_of_the_owner_sees_every_prediction(make_service, body, hook, name):
    seen = []

    def see(*arguments, **options):
        seen.append(arguments)
        return ("mine", 400) if name == "errorhandler" else None

    app = make_service()
    hook(app, see)
    try:
        with serving_here(app) as server:
            assert ask(server, post(body))[0] == 200
            assert ask(server, post(b"{"))[0] == 400
    finally:
        request_finished.disconnect(see, app)
    assert len(seen) == (1 if name == "errorhandler" else 2)


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET /ping HTTP/1.1\r\n\r\n", 400),
        (b"GET /ping HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", 400),
        (b"GET /ping HTTP/1.1\r\nHost : x\r\n\r\n", 400),
        (b"GET /ping HTTP/1.1\nHost: x\n\n", 400),
        (b"GET /ping HTTP/2.0\r\nHost: x\r\n\r\n", 400),
        (b"GET /ping\r\n\r\n", 400),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
        (b"NONSENSE / HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"GET /ping HTTP/1.1\r\nHost: x\r\nA: \0\r\n\r\n", 400),
        (b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414),
        (b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"a" * 40_000 + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: x\r\n" + b"A: a\r\n" * 9000 + b"\r\n", 431),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", 400),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\n", 413),
        (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501),
        (b"CONNECT x:443 HTTP/1.1\r\nHost: x\r\n\r\n", 501),
        (b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (
            b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            400,
        ),
    ],
)
def test_invalid_request_is_refused_logged_and_counted(server, request_, status):
    before = count_of(server, status)
    with server.connect() as connection:
        connection.sendall(request_)
        code, headers, body = read_answer(connection)
        assert read_all(connection) == b""
    assert code == status
    assert headers["connection"] == "close"
    assert json.loads(body)["status"] == status
    assert count_of(server, status) == before + 1
    wait_for(lambda: any(e.get("request_id") == headers["x-request-id"] for e in server.entries()))


def count_of(server, status):
    """Return how many requests with this status the metrics count."""
    _, _, text = ask(server, b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
    name = r"http_request_duration_seconds_count\{route=\"[^\"]*\",status=\"%d\"\} (.+)"
    return sum(map(float, re.findall(name % status, text.decode())))


@pytest.mark.parametrize("path", ["/predict", "/invocations"])
@pytest.mark.parametrize("end", [b"zz\r\n", b"5\r\nab", b""])
def test_incomplete_chunked_body_is_not_a_request(server, row, path, end):
    line = ",".join(map(str, row)).encode() + b"\n"
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: text/csv\r\n".encode()
    head += b"Transfer-Encoding: chunked\r\n\r\n"
    with server.connect() as connection:
        connection.sendall(head + b"%x\r\n%b\r\n" % (len(line), line) + end)
        connection.shutdown(1)
        assert read_answer(connection)[0] == 400


def test_chunked_body_with_trailers_is_answered(server, body):
    head = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    head += b"Transfer-Encoding: chunked\r\n\r\n"
    chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in body)
    with server.connect() as connection:
        for _ in range(2):
            connection.sendall(head + chunks + b"0\r\nContent-Type: text/plain\r\nHost: y\r\n\r\n")
            assert read_answer(connection)[0] == 200


def test_tiny_chunks_are_limited(server):
    head = b"POST /predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    with server.connect() as connection:
        connection.sendall(head + (b"1;" + b"a" * 10_000 + b"\r\na\r\n") * 120)
        assert read_answer(connection)[0] == 413


def test_pipelined_requests_are_answered_in_order(server, body):
    with server.connect() as connection:
        kinds = [post(body, X_Request_ID=f"a{number}") for number in range(5)]
        kinds[1] = b"GET /openapi.json HTTP/1.1\r\nHost: x\r\nX-Request-ID: a1\r\n\r\n"
        kinds[3] = post(body, path="/v2", X_Request_ID="a3")
        connection.sendall(b"".join(kinds))
        received = b""
        while received.count(b"HTTP/1.1 ") < 5:
            received += connection.recv(65_536)
    ids = [line for line in received.split(b"\r\n") if line.startswith(b"X-Request-ID")]
    assert ids == [b"X-Request-ID: a%d" % number for number in range(5)]


@pytest.mark.parametrize("path", ["/predict", "/invocations?"])
def test_bad_request_is_answered_after_the_requests_before_it(server, body, path):
    with server.connect() as connection:
        connection.sendall(post(body, path) * 40 + b"nonsense\r\n\r\n")
        received = read_all(connection)
    statuses = [part[:3] for part in received.split(b"HTTP/1.1 ")[1:]]
    assert statuses == [b"200"] * 40 + [b"400"]


def test_request_sent_byte_by_byte_is_answered(server, body):
    with server.connect() as connection:
        for byte in post(body):
            connection.sendall(bytes([byte]))
        assert read_answer(connection)[0] == 200


def test_half_closed_client_gets_its_response(server, body):
    for request in (post(body), b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"):
        with server.connect() as connection:
            connection.sendall(request)
            connection.shutdown(1)
            assert read_answer(connection)[0] == 200
            assert read_all(connection) == b""


def test_connection_is_kept_or_closed_as_the_client_requests(server, body):
    for version, given, kept in [
        ("1.1", None, True),
        ("1.1", "close", False),
        ("1.0", None, False),
        ("1.0", "keep-alive", True),
    ]:
        request = post(body, **({"Connection": given} if given else {}))
        with server.connect() as connection:
            connection.sendall(request.replace(b"HTTP/1.1", f"HTTP/{version}".encode()))
            assert read_answer(connection)[0] == 200
            connection.sendall(PING)
            if kept:
                assert read_answer(connection)[0] == 200
            else:
                assert read_all(connection) == b""


def test_response_before_the_whole_body_announces_the_close(server):
    with server.connect() as connection:
        connection.sendall(post(b"x" * 300_000))
        status, headers, answer = read_answer(connection)
        assert (status, headers["connection"]) == (413, "close")
        assert b"more than 65536 bytes" in answer


def test_expect_100_continue_is_honoured(server, body):
    with server.connect() as connection:
        head = post(body, Expect="100-continue").removesuffix(body)
        connection.sendall(head)
        assert connection.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(body)
        assert read_answer(connection)[0] == 200
        # HTTP/1.0 has no such response.
        connection.sendall(post(body, Expect="100-continue").replace(b"HTTP/1.1", b"HTTP/1.0"))
        assert read_answer(connection)[0] == 200


def test_head_and_options_are_answered(server):
    for target in (b"*", b"http://x", b"http://x/ping"):
        assert ask(server, b"OPTIONS %b HTTP/1.1\r\nHost: x\r\n\r\n" % target)[0] == 200
    raw = server.exchange(b"HEAD / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    head, _, rest = raw.partition(b"\r\n\r\n")
    assert rest == b""
    assert int(head.split(b"Content-Length: ")[1].split(b"\r\n")[0]) > 1000


@pytest.mark.parametrize("protocol", ["h2c", "websocket"])
def test_upgrade_is_ignored(server, body, protocol):
    for version, path in (("1.1", "/predict"), ("1.1", "/predict?"), ("1.0", "/predict")):
        request = post(body, path, Connection="keep-alive, Upgrade", Upgrade=protocol)
        request = request.replace(b"HTTP/1.1", f"HTTP/{version}".encode())
        with server.connect() as connection:
            for parts in ([request], [request[:20], request[20:-9], request[-9:]]):
                for part in parts:
                    connection.sendall(part)
                assert read_answer(connection)[0] == 200
    asking = f"x\r\nUpgrade: {protocol}\r\nConnection: Upgrade\r\n".encode()
    assert ask(server, PING.replace(b"x\r\n", asking))[0] == 200
    # What comes with it is the next request.
    assert server.exchange(request * 2 + post(body, Connection="close")).count(b" 200 OK") == 3


def test_header_with_an_underscore_is_not_a_key(make_service, body):
    with serving_here(make_service(api_key="key")) as server:
        for path in ("/predict", "/predict?"):
            assert ask(server, post(body, path=path, X_API_Key="key"))[0] == 200
            raw = post(body, path=path, X_API_Key="key").replace(b"X-API-Key", b"X_API_Key")
            assert ask(server, raw)[0] == 401


def test_health_check_finds_the_service(server):
    assert is_healthy(server.port)
    assert not is_healthy(free_port())


def descriptors(pid="self"):
    """Return the number of open files of a process."""
    return len(os.listdir(f"/proc/{pid}/fd"))


def wait_for(condition, seconds=30):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


SLOW = {
    "silent in the headers": b"POST /predict HTTP/1.1\r\nHos",
    "silent in the body": b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{",
    "silent in a chunk": b"POST /predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n9\r\n{",
    "silent in a tensor": b"POST /v2/models/x/infer HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\n{",
    "silent from the start": b"",
}


def test_slow_clients_block_no_one_and_are_disconnected(make_service, body):
    short = {"body_seconds": 0.4, "header_seconds": 0.4, "keep_alive_seconds": 1}
    with serving_here(make_service(max_concurrent=4, **short)) as server:
        assert ask(server, PING)[0] == 200
        before = descriptors()
        with contextlib.ExitStack() as stack:
            slow = []
            for kind, sent in list(SLOW.items()) * 30:
                slow.append((kind, stack.enter_context(server.connect())))
                slow[-1][1].sendall(sent)
            trickling = stack.enter_context(server.connect())
            trickling.sendall(post(b" " * 99).removesuffix(b" " * 99))
            # However slowly it arrives, the whole body has one deadline.
            for _ in range(10):
                assert ask(server, PING)[0] == 200
                assert ask(server, post(body))[0] == 200
                with contextlib.suppress(ConnectionError):
                    trickling.sendall(b" ")
                time.sleep(0.06)
            for kind, connection in slow:
                answer = read_all(connection)
                assert answer[9:12] == (b"" if kind == "silent from the start" else b"408"), kind
            assert b" 408 " in read_all(trickling)
        wait_for(lambda: descriptors() <= before)


def test_stuck_body_ends_neither_a_long_prediction_nor_an_idle_connection(make_service, body):
    names = ("body_seconds", "header_seconds", "request_seconds", "send_seconds")
    app = make_service(batching="off", **dict.fromkeys(names, 0.3))
    service = app.extensions["service"]
    service.inline_rows = 0
    predict = service.engine.predict
    is_predicting, is_over = threading.Event(), threading.Event()

    def predict_late(inputs):
        is_predicting.set()
        assert is_over.wait(30)
        return predict(inputs)

    service.engine.predict = predict_late
    with (
        serving_here(app) as server,
        server.connect() as idle,
        server.connect() as asking,
        server.connect() as stuck,
    ):
        idle.sendall(PING)
        assert read_answer(idle)[0] == 200
        asking.sendall(post(body))
        assert is_predicting.wait(30)
        stuck.sendall(SLOW["silent in the body"])
        assert read_answer(stuck)[0] == 408
        is_over.set()
        assert read_answer(asking)[0] == 200
        idle.sendall(PING)
        assert read_answer(idle)[0] == 200


def test_stuck_bodies_take_no_place_from_queued_predictions(make_service, body):
    app = make_service(batching="on", max_concurrent=1)
    with serving_here(app) as server, contextlib.ExitStack() as stack:
        for sent in list(SLOW.values()) * 2:
            stack.enter_context(server.connect()).sendall(sent)
        for path in ("/predict", "/predict?", "/invocations") * 3:
            assert ask(server, post(body, path))[0] == 200


@pytest.mark.parametrize("request_", [b"", PING])
def test_idle_connection_stays_open_beyond_the_other_deadlines(make_service, request_):
    names = ("body_seconds", "header_seconds", "request_seconds", "send_seconds")
    app = make_service(keep_alive_seconds=0.5, **dict.fromkeys(names, 0.1))
    with serving_here(app) as server:
        started = time.monotonic()
        with server.connect() as connection:
            connection.sendall(request_)
            if request_:
                assert read_answer(connection)[0] == 200
            assert read_all(connection) == b""
        assert time.monotonic() - started > 0.4


def test_client_that_does_not_read_its_responses_is_disconnected(make_service):
    with serving_here(make_service(send_seconds=0.3)) as server:
        assert ask(server, PING)[0] == 200
        before = descriptors()
        with server.connect(timeout=10) as connection, contextlib.suppress(OSError):
            while True:
                connection.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n" * 100)
        wait_for(lambda: descriptors() <= before)
        assert ask(server, PING)[0] == 200


def test_too_many_connections_close_those_idle_for_longest(make_service):
    with serving_here(make_service(max_connections=8)) as server, contextlib.ExitStack() as stack:
        idle = [stack.enter_context(server.connect()) for _ in range(8)]
        for connection in idle:
            connection.sendall(PING)
            read_answer(connection)
        assert ask(server, PING)[0] == 200
        assert read_all(idle[0]) == b""

        # Connections with a request in progress stay: eventually the next one is refused at once.
        def refused():
            connection = stack.enter_context(server.connect())
            connection.sendall(post(b"x" * 9).removesuffix(b"x"))
            status, headers, _ = ask(server, PING)
            return status == 503 and headers["retry-after"] == "1"

        wait_for(refused)


def cpu_seconds(pid):
    """Return the CPU time of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_connections_are_limited_to_what_descriptors_allow(model_path, tmp_path):
    limits = {"files": 100, "MODEL_PATH": model_path, "WORKERS": 1}
    with serving(tmp_path / "log", **limits) as server, contextlib.ExitStack() as stack:
        for _ in range(120):
            connection = stack.enter_context(server.connect())
            connection.sendall(PING)
            assert read_answer(connection)[0] == 200


def test_worker_without_free_descriptors_waits_for_one(server):
    (worker,) = server.workers()
    with contextlib.ExitStack() as stack, contextlib.ExitStack() as first:
        for _ in range(3):
            connection = first.enter_context(server.connect())
            connection.sendall(PING)
            assert read_answer(connection)[0] == 200
        limits = resource.prlimit(worker, resource.RLIMIT_NOFILE)
        stack.callback(resource.prlimit, worker, resource.RLIMIT_NOFILE, limits)
        resource.prlimit(worker, resource.RLIMIT_NOFILE, (descriptors(worker), limits[1]))
        more = [stack.enter_context(server.connect()) for _ in range(3)]
        for connection in more:
            connection.sendall(PING)
        before = cpu_seconds(worker)
        time.sleep(0.4)
        assert cpu_seconds(worker) - before < 0.15
        first.close()
        for connection in more:
            assert read_answer(connection)[0] == 200


def test_bodies_of_all_clients_together_are_bounded(server):
    size = 60_000
    before = count_of(server, 503)
    with contextlib.ExitStack() as stack:
        for _ in range(60):
            connection = stack.enter_context(server.connect())
            connection.sendall(post(b"x" * size)[:-1])
        wait_for(lambda: count_of(server, 503) >= before + 20)
    wait_for(lambda: ask(server, post(b" " * size))[0] == 400)


def test_unread_log_blocks_neither_responses_nor_shutdown(model_path, body):
    reader, pipe = os.pipe()
    # As small as a pipe can be: some twenty lines fill it.
    fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, 4096)
    server = Server(Path(f"/proc/self/fd/{pipe}"), MODEL_PATH=model_path, WORKERS=1)
    os.close(pipe)
    try:
        server.wait()
        with server.connect() as connection:
            for _ in range(300):
                connection.sendall(post(body))
                assert read_answer(connection)[0] == 200
        started = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - started < 15
    finally:
        server.process.kill()
        os.close(reader)


def test_idle_clients_get_a_last_response_at_shutdown(model_path, body, tmp_path):
    with serving(tmp_path / "log", MODEL_PATH=model_path, WORKERS=1) as server:
        with contextlib.ExitStack() as stack:
            clients = [stack.enter_context(server.connect()) for _ in range(20)]
            for connection in clients:
                connection.sendall(post(body))
                assert "connection" not in read_answer(connection)[1]
            server.process.send_signal(signal.SIGTERM)
            wait_for(lambda: not listens(server))
            for connection in clients:
                connection.sendall(post(body))
                status, headers, _ = read_answer(connection)
                assert (status, headers["connection"]) == (200, "close")
                assert read_all(connection) == b""
        assert server.process.wait(timeout=30) == 0


def listens(server):
    try:
        server.connect().close()
    except ConnectionRefusedError:
        return False
    return True


def test_workers_keep_nothing_in_dev_shm(pair):
    # Where it is full, writing to a page of such a file kills the process.
    for pid in (pair.process.pid, *pair.workers()):
        assert "/dev/shm/" not in Path(f"/proc/{pid}/maps").read_text()  # noqa: S108


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_stops_it_and_its_workers(model_path, tmp_path, number):
    with serving(tmp_path / "log", MODEL_PATH=model_path, WORKERS=2) as server:
        workers = server.workers()
        assert server.stop(number) == 0
        assert not any(Path(f"/proc/{pid}").exists() for pid in workers)


def test_workers_exit_with_their_parent(model_path, tmp_path):
    with serving(tmp_path / "log", MODEL_PATH=model_path, WORKERS=2) as server:
        workers = server.workers()
        server.process.kill()
        server.process.wait()
        wait_for(lambda: not any(is_running(pid) for pid in workers))


def is_running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_worker_that_exits_is_replaced_and_logged(pair):
    first, second = pair.workers()
    os.kill(first, signal.SIGKILL)
    wait_for(lambda: len(set(pair.workers()) - {first}) == 2)
    wait_for(lambda: any("replaces" in entry for entry in pair.entries()))
    assert second in pair.workers()
    (entry,) = (entry for entry in pair.entries() if "replaces" in entry)
    assert entry["replaces"] == f"worker {first} ended by SIGKILL"
    assert entry["level"] == "WARNING"


def test_worker_that_cannot_start_is_retried_and_the_reason_logged(model_path, tmp_path):
    model = write_model(tmp_path / "model", artifact.read(model_path).content)
    with serving(tmp_path / "log", MODEL_PATH=model.path, WORKERS=2) as server:
        wait_for(lambda: sum(e["message"].startswith("Listening") for e in server.entries()) == 2)
        model.path.rename(tmp_path / "away")
        old = set(server.workers())
        os.kill(min(old), signal.SIGKILL)
        # The replacement starts and fails, while the other worker continues to serve.
        wait_for(lambda: set(server.workers()) - old)
        wait_for(lambda: len(server.workers()) == 1)
        assert ask(server, PING)[0] == 200
        (tmp_path / "away").rename(model.path)
        wait_for(lambda: any("replaces" in entry for entry in server.entries()))
        (why,) = (entry["replaces"] for entry in server.entries() if "replaces" in entry)
        assert why.startswith(f"Could not read the model: {model.path}: No such file")


class Loop:
    """An event loop that only records its calls."""

    def __init__(self):
        self.taken = 0
        self.is_asked_for_readers = True
        self.later = []

    def create_task(self, coroutine):
        self.taken += 1
        return Mock()

    def connect_accepted_socket(self, factory, client):
        client.close()

    def add_reader(self, listener, function):
        self.is_asked_for_readers = True

    def remove_reader(self, listener):
        self.is_asked_for_readers = False

    def call_later(self, seconds, function):
        self.later.append(function)


def test_worker_leaves_connections_to_a_less_busy_one_but_not_for_long(app):
    with socket.create_server(("127.0.0.1", 0)) as listener, contextlib.ExitStack() as stack:
        listener.setblocking(False)
        clients = [
            stack.enter_context(socket.create_connection(listener.getsockname())) for _ in range(4)
        ]
        shares = [3, 5]
        server = server_module.Server(app, app, listener, shares, 0)
        loop = server._loop = Loop()
        server._accept()
        # It accepts until it has more than the other.
        assert (shares, loop.taken, loop.is_asked_for_readers) == ([6, 5], 3, False)
        loop.later.pop()()
        server._accept()
        # The other has not accepted any.
        assert (shares, loop.taken) == ([7, 5], 4)
        assert len(clients) == 4


def request_of(body):
    request = Request()
    request.method, request.target, request.body = b"POST", b"/predict", body
    request.headers = {b"content-type": b"application/json"}
    return request


def test_rows_of_concurrent_clients_are_batched_up_to_a_limit(app, row, monkeypatch):
    monkeypatch.setattr(server_module, "INLINE_BYTES", 16 * len(json.dumps(row)))
    service = app.extensions["service"]
    service.inline_rows = 4
    service.engine = Mock(wraps=service.engine, batcher=None)
    server = server_module.Server(app, app, Mock(), memoryview(bytearray(8)).cast("q"), 0)
    server._loop = Mock()
    clients = [Mock() for _ in range(5)]
    server.connections = dict.fromkeys(clients)
    counts = (1, 2, 1, 3, 4)
    for client, rows in zip(clients, counts, strict=True):
        server.handle(client, request_of(json.dumps({"instances": [row] * rows}).encode()))
    ((later,),) = [call.args for call in server._loop.call_soon.call_args_list]
    later()
    asked = [call.args[0] for call in service.engine.predict_together.call_args_list]
    assert [[count(inputs) for inputs in together] for together in asked] == [[1, 2, 1], [3], [4]]
    for client, rows in zip(clients, counts, strict=True):
        (answer, _), _ = client.send.call_args
        assert len(json.loads(answer.partition(b"\r\n\r\n")[2])["predictions"]) == rows


@pytest.mark.parametrize("is_valid", [True, False])
def test_request_is_answered_once_before_it_is_counted(app, body, monkeypatch, caplog, is_valid):
    server = server_module.Server(app, app, Mock(), memoryview(bytearray(8)).cast("q"), 0)
    client = Mock()

    def leave(*_):
        assert client.send.called
        raise TypeError("unhashable type")

    monkeypatch.setattr(server.service.metrics, "leave", leave)
    monkeypatch.setattr(server.service, "inline_rows", 1)
    server.handle(client, request_of(body if is_valid else b"{"))
    assert client.send.call_count == 1
    assert "unhashable type" in caplog.text


def test_concurrent_clients_each_get_their_own_answer(server, row):
    # As many rows as fit; far fewer for a model with many columns.
    most = min(8, 60_000 // len(json.dumps(row)))
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(server.connect()) for _ in range(40)]
        for number, client in enumerate(clients):
            rows = [row] * (1 + number % most) if number % 5 else [["x"]]
            client.sendall(post(json.dumps({"instances": rows}).encode(), X_Request_ID=number))
        for number, client in enumerate(clients):
            status, headers, body = read_answer(client)
            assert headers["x-request-id"] == str(number)
            assert status == (200 if number % 5 else 422)
            if number % 5:
                assert len(json.loads(body)["predictions"]) == 1 + number % most


def test_error_in_the_owners_code_is_shown_and_stops_the_startup(model_path, tmp_path):
    # This module comes before the project's own on the path.
    (tmp_path / "application.py").write_text("raise RuntimeError('my own mistake')")
    start = (
        "import sys; sys.path.insert(0, sys.argv[1]); from inference.__main__ import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", start, tmp_path],
        cwd=ROOT,
        env=os.environ | {"MODEL_PATH": str(model_path), "PORT": str(free_port())},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert "RuntimeError: my own mistake" in done.stderr
    assert "The service did not start: worker " in done.stderr
