"""The running service: third-party clients, load, misbehaving clients, and shutdown."""

import collections
import contextlib
import http.client
import http.server
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import tritonclient.http as triton
from conftest import ROOT, BakedProject, bake_with
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from served import find_failures
from test_project import SETOSA, ask, free_port

pytestmark = [
    pytest.mark.slow,
    # From tritonclient's own dependencies.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

NAME = "ml-inference-service"
FLOWERS = np.array([SETOSA, [6.7, 3.0, 5.2, 2.3], [5.9, 3.0, 4.2, 1.5]], np.float32)


@pytest.fixture(scope="module")
def project(cookies_session):
    project = BakedProject(bake_with(cookies_session, {}).project_path)
    shutil.copy(ROOT / "tests" / "models" / "iris.py", project.path / "training" / "train.py")
    project.check("make", "setup", "train")
    return project


class Service:
    """A service in its own process group, with its address and its log."""

    def __init__(self, project, folder, **variables):
        self.port = free_port()
        self.log = folder / f"service-{self.port}.log"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [".venv/bin/python", "-m", "inference"],
                cwd=project.path,
                env={**os.environ, "PORT": str(self.port), **variables},
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self.url = f"http://127.0.0.1:{self.port}"
        ask(f"{self.url}/ping")

    def stop(self):
        """Stop the service; return its exit code."""
        self.process.terminate()
        return self.process.wait(timeout=40)

    def entries(self):
        """Return the log's lines; each must be JSON."""
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    def workers(self):
        """Return the process ids of its workers."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return [int(pid) for pid in children.split()]


@contextlib.contextmanager
def serving(project, folder, **variables):
    service = Service(project, folder, **variables)
    try:
        yield service
    finally:
        if service.process.poll() is None:
            service.stop()


def copy_of(project, folder, **files):
    """Return a copy of the project with other text in some files, named with __ for each /."""
    copy = folder / "copy"
    shutil.copytree(project.path, copy, ignore=shutil.ignore_patterns(".venv"))
    (copy / ".venv").symlink_to(project.path / ".venv")
    for name, change in files.items():
        path = copy / f"{name.replace('__', '/')}.py"
        path.write_text(change(path.read_text()))
    return BakedProject(copy)


@pytest.fixture(scope="module")
def service(project, tmp_path_factory):
    with serving(project, tmp_path_factory.mktemp("service"), WORKERS="1") as service:
        yield service


@pytest.fixture(scope="module")
def expected(project):
    """What ONNX Runtime returns for the flowers when called directly: class numbers and probabilities."""
    script = (
        "import json, sys, numpy, onnxruntime;"
        "session = onnxruntime.InferenceSession('model/model.onnx');"
        "rows = numpy.array(json.load(sys.stdin), numpy.float32);"
        "answers = session.run(None, {session.get_inputs()[0].name: rows});"
        "json.dump([answer.tolist() for answer in answers], sys.stdout)"
    )
    answer = subprocess.run(
        [".venv/bin/python", "-c", script],
        cwd=project.path,
        env={**os.environ, "ORT_DISABLE_TELEMETRY": "1"},
        input=json.dumps(FLOWERS.tolist()),
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    values, probabilities = json.loads(answer.stdout)
    return np.array(values), np.array(probabilities, np.float32)


@pytest.fixture
def client(service):
    client = triton.InferenceServerClient(f"127.0.0.1:{service.port}")
    yield client
    client.close()


def test_triton_client_finds_health_and_metadata(client):
    assert client.is_server_live()
    assert client.is_server_ready()
    metadata = client.get_model_metadata(NAME)
    (version,) = metadata["versions"]
    assert client.is_model_ready(NAME)
    assert client.is_model_ready(NAME, version)
    assert client.get_server_metadata()["name"] == NAME
    assert metadata["inputs"][0]["shape"] == [-1, 4]


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("compression", [None, "gzip", "deflate"])
@pytest.mark.parametrize("named", [True, False])
def test_triton_client_gets_the_models_own_output(client, expected, binary, compression, named):
    tensor = triton.InferInput("instances", FLOWERS.shape, "FP32")
    tensor.set_data_from_numpy(FLOWERS, binary_data=binary)
    names = ("predictions", "probabilities")
    outputs = [triton.InferRequestedOutput(name, binary_data=binary) for name in names]
    result = client.infer(
        NAME,
        [tensor],
        outputs=outputs if named else None,
        request_id="7",
        request_compression_algorithm=compression,
    )
    values, probabilities = expected
    predictions = result.as_numpy("predictions")
    if not binary and named:
        predictions = np.array([str(text).encode() for text in predictions], object)
    assert result.get_response()["id"] == "7"
    assert [str(p) for p in predictions] == [str(str(value).encode()) for value in values]
    assert np.array_equal(result.as_numpy("probabilities"), probabilities)


def test_triton_client_gets_the_error(client):
    tensor = triton.InferInput("instances", [1, 3], "FP32")
    tensor.set_data_from_numpy(FLOWERS[:1, :3])
    with pytest.raises(triton.InferenceServerException, match=r"shape \[1, 3\] is not \[rows, 4\]"):
        client.infer(NAME, [tensor])


def test_schemathesis_finds_no_failure(service, tmp_path):
    assert find_failures(service.url, tmp_path, examples=100) > 500


def post(service, path, body, **headers):
    """Return the status of a request with an arbitrary body."""
    connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=30)
    try:
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request("POST", path, body, headers)
        return connection.getresponse().status
    finally:
        connection.close()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=3), inner),
)
TENSOR = st.fixed_dictionaries(
    {
        "name": st.sampled_from(["instances", "x"]),
        "shape": st.lists(st.integers(-1, 2**70) | st.sampled_from([1, 2, 4]), max_size=3),
        "datatype": st.sampled_from(["FP32", "FP64", "INT32", "INT64", "BOOL", "BYTES", "?"]),
    },
    optional={
        "data": JSON,
        "parameters": st.fixed_dictionaries({"binary_data_size": st.integers() | JSON}),
    },
)
FUZZ = settings(max_examples=300, suppress_health_check=list(HealthCheck))
REFUSED = {400, 413, 415, 422}


@FUZZ
@given(tensor=TENSOR, raw=st.binary(max_size=40), length=st.none() | st.integers(-2, 10**6))
def test_no_tensor_breaks_the_service(service, tensor, raw, length):
    body = json.dumps({"inputs": [tensor]}).encode()
    given = len(body) if length is None else length
    headers = {"Inference_Header_Content_Length": str(given)} if raw or length is not None else {}
    assert post(service, f"/v2/models/{NAME}/infer", body + raw, **headers) in {200, *REFUSED}


@FUZZ
@given(body=st.binary(max_size=60) | JSON.map(lambda value: json.dumps(value).encode()))
def test_no_body_breaks_the_service(service, body):
    for path in ("/predict", "/invocations", f"/v2/models/{NAME}/infer"):
        for kind in ("application/json", "text/csv"):
            assert post(service, path, body, Content_Type=kind) in {200, *REFUSED}


@FUZZ
@given(rows=st.lists(st.lists(st.floats() | st.text(max_size=4), max_size=5), max_size=4))
def test_no_table_breaks_the_service(service, rows):
    body = "\n".join(",".join(map(str, row)) for row in rows).encode()
    assert post(service, "/invocations", body, Content_Type="text/csv") in {200, *REFUSED}


BODY = json.dumps({"instances": [SETOSA]}).encode()


class Load(threading.Thread):
    """A client that sends requests on new connections until stopped and counts the outcomes."""

    def __init__(self, port, stop):
        super().__init__(daemon=True)
        self.port, self.stop = port, stop
        self.counts = collections.Counter()

    def run(self):
        while not self.stop.is_set():
            self.counts[self.ask()] += 1

    def ask(self):
        """Return the status; ``refused`` if the connection is not accepted, ``lost`` if no response arrives."""
        try:
            connection = socket.create_connection(("127.0.0.1", self.port), timeout=30)
        except OSError:
            time.sleep(0.05)
            return "refused"
        with connection:
            try:
                head = f"POST /predict HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {len(BODY)}\r\n\r\n"
                connection.sendall(head.encode() + BODY)
                answer = b""
                while part := connection.recv(4096):
                    answer += part
            except OSError:
                return "lost"
            return int(answer.split(b" ")[1]) if answer else "lost"


@contextlib.contextmanager
def load(service, clients):
    """Send requests from several clients until the end of the block; yield the clients."""
    stop = threading.Event()
    threads = [Load(service.port, stop) for _ in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield threads
    finally:
        stop.set()
        for thread in threads:
            thread.join(timeout=60)


def total(threads):
    """Return the sum of all counts."""
    return sum((thread.counts for thread in threads), collections.Counter())


@pytest.mark.parametrize("batching", ["off", "on"])
def test_shutdown_under_load_loses_no_accepted_request(project, tmp_path, batching):
    with serving(project, tmp_path, WORKERS="2", BATCHING=batching) as service:
        with load(service, 16) as clients:
            time.sleep(1.5)
            assert service.stop() == 0
            time.sleep(0.2)
        counts = total(clients)
        answered = [e for e in service.entries() if e.get("path") == "/predict"]
        assert counts[200] > 200
        assert len(answered) == counts[200]
        assert {entry["status"] for entry in answered} == {200}
        assert set(counts) <= {200, "refused", "lost"}


def test_killed_worker_is_replaced_under_load(project, tmp_path):
    with serving(project, tmp_path, WORKERS="2") as service:
        (first, second) = service.workers()
        with load(service, 8) as clients:
            time.sleep(1)
            os.kill(first, signal.SIGKILL)
            time.sleep(3)
            before = total(clients)[200]
            time.sleep(2)
            assert total(clients)[200] > before + 100
        assert len(service.workers()) == 2
        assert second in service.workers()
        assert first not in service.workers()
        assert set(total(clients)) <= {200, "lost", "refused"}
        assert service.stop() == 0


def descriptors(pid):
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


HEAD = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
TENSOR_HEAD = f"POST /v2/models/{NAME}/infer HTTP/1.1\r\nHost: x\r\n".encode()
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
# What each kind of slow client sends first, and then repeatedly.
SLOW = {
    "silent in the body": (HEAD + b"Content-Length: 99\r\n\r\n{", b""),
    "a byte at a time": (HEAD + b"Content-Length: 99\r\n\r\n{", b" "),
    "a chunk at a time": (CHUNKED, b"1\r\n \r\n"),
    "silent in a tensor": (TENSOR_HEAD + b"Content-Length: 99\r\n\r\n{", b""),
    "silent in the headers": (HEAD, b""),
    "no reader": (b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n" * 8, b""),
}


def test_slow_clients_of_each_kind_block_no_other_client(project, tmp_path):
    clients = 300
    with serving(project, tmp_path, WORKERS="1") as service, contextlib.ExitStack() as stack:
        (worker,) = service.workers()
        before = descriptors(worker)
        slow = []
        for first, more in SLOW.values():
            for _ in range(clients):
                connection = socket.create_connection(("127.0.0.1", service.port))
                slow.append((stack.enter_context(connection), more))
                connection.sendall(first)
        deadline = time.monotonic() + 40
        while descriptors(worker) > before and time.monotonic() < deadline:
            # No response is late: each request has its own timeout.
            assert ask(f"{service.url}/ping", seconds=5)[0] == 200
            assert ask(f"{service.url}/predict", {"instances": [SETOSA]}, seconds=5)[0] == 200
            for connection, more in slow:
                if more:
                    with contextlib.suppress(OSError):
                        connection.sendall(more)
            time.sleep(0.5)
        cut_off = [entry for entry in service.entries() if entry.get("status") == 408]
        assert len(cut_off) == 5 * clients
        stack.close()
        while descriptors(worker) > before:
            time.sleep(0.1)


def test_clients_that_go_away_do_no_harm(service):
    head = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    for part in (b"", head % len(BODY), head % len(BODY) + BODY[:9], head % len(BODY) + BODY):
        for _ in range(20):
            with socket.create_connection(("127.0.0.1", service.port)) as connection:
                connection.sendall(part)
    assert ask(f"{service.url}/predict", {"instances": [SETOSA]})[0] == 200


def test_overload_is_refused_and_health_checks_still_answered(project, tmp_path):
    slow = "        time.sleep(0.05)\n        outputs = self"
    copy = copy_of(
        project,
        tmp_path,
        inference__predictor=lambda text: text.replace("        outputs = self", slow).replace(
            "import os\n", "import os\nimport time\n"
        ),
    )
    variables = {"WORKERS": "1", "BATCHING": "on", "MAX_CONCURRENT": "4"}
    with serving(copy, tmp_path, **variables) as service:
        with load(service, 200) as clients:
            for _ in range(10):
                started = time.monotonic()
                assert ask(f"{service.url}/ping", seconds=5)[0] == 200
                assert time.monotonic() - started < 3
                time.sleep(0.2)
        counts = total(clients)
        assert counts[503] > counts[200] > 10
        assert set(counts) <= {200, 503}
        assert ask(f"{service.url}/predict", {"instances": [SETOSA]})[0] == 200


def test_paths_may_contain_any_bytes(service):
    for path in ("/%E2%82%AC", "/%ff", "/%00", "//predict", "/static/../predict"):
        assert ask(f"{service.url}{path}")[0] in (404, 405), path


def test_no_two_requests_have_the_same_id(project, tmp_path):
    with serving(project, tmp_path, WORKERS="2") as service:
        for number in range(60):
            if number == 40:
                # A killed worker loses the lines that it has not written yet.
                while sum(entry.get("path") == "/predict" for entry in service.entries()) < 40:
                    time.sleep(0.05)
                os.kill(service.workers()[0], signal.SIGKILL)
                time.sleep(2)
            assert post(service, "/predict", BODY, Content_Type="application/json") == 200
        service.stop()
        ids = [line["request_id"] for line in service.entries() if "request_id" in line]
    assert len(set(ids)) == len(ids) >= 60


def test_metrics_add_up_across_workers(project, tmp_path):
    with serving(project, tmp_path, WORKERS="2") as service:
        for _ in range(60):
            assert post(service, "/predict", BODY, Content_Type="application/json") == 200
        # A request is counted once it is answered.
        while b"inference_request_rows_sum 60.0" not in ask(f"{service.url}/metrics")[1]:
            time.sleep(0.05)
        os.kill(service.workers()[0], signal.SIGKILL)
        time.sleep(2)
        for _ in range(5):
            text = ask(f"{service.url}/metrics")[1].decode()
            counted = re.search(r'_seconds_count{.*route="/predict".*} (\S+)', text)
            assert float(counted[1]) == 60
            assert "inference_request_rows_sum 60.0" in text
            assert "http_requests_in_flight 1.0" in text


def test_model_that_cannot_predict_never_listens(project, tmp_path):
    broken = "1 / 0\n        outputs = self"
    copy = copy_of(
        project, tmp_path, inference__predictor=lambda text: text.replace("outputs = self", broken)
    ).path
    port = free_port()
    result = subprocess.run(
        [".venv/bin/python", "-m", "inference"],
        cwd=copy,
        env={**os.environ, "PORT": str(port), "WORKERS": "1"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert result.returncode == 1
    assert "division by zero; train or export it again" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.fixture(scope="module")
def extras(project, tmp_path_factory):
    """A folder with typical additions to a Flask application, and other WSGI servers."""
    folder = tmp_path_factory.mktemp("extras")
    packages = ("flask-cors==6.0.5", "opentelemetry-sdk==1.45.1")
    packages += (
        "opentelemetry-instrumentation-flask==0.66b1",
        "opentelemetry-distro==0.66b1",
        "opentelemetry-exporter-otlp-proto-http==1.45.1",
        "pyjwt[crypto]==2.15.1",
        "gunicorn==27.0.1",
        "waitress==3.0.2",
    )
    uv = Path(sys.executable).with_name("uv")
    python = project.path / ".venv" / "bin" / "python"
    command = (uv, "pip", "install", "--quiet", "--python", python, "--target", folder, *packages)
    subprocess.run(command, check=True)
    return folder


ABORT = """
from flask import abort

@app.before_request
def refuse():
    abort(429)
"""
CORS = """
from flask_cors import CORS

CORS(app)
"""
TRACES = """
from opentelemetry.instrumentation.flask import FlaskInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor

provider = TracerProvider()
provider.add_span_processor(
    SimpleSpanProcessor(ConsoleSpanExporter(formatter=lambda span: span.to_json(None) + chr(10)))
)
FlaskInstrumentor().instrument_app(app, tracer_provider=provider)
"""
MIDDLEWARE = """
class Stamp:
    def __init__(self, wrapped):
        self.wrapped = wrapped

    def __call__(self, environ, start_response):
        def start(status, headers, error=None):
            return start_response(status, [*headers, ("X-Stamp", "seen")], error)

        return self.wrapped(environ, start)

application = Stamp(app)
"""


@pytest.mark.parametrize(
    ("code", "status", "header", "line"),
    [
        ("", 200, None, '"message":"Listening at http://'),
        (ABORT, 429, None, '"flask_sees_all_because_of":"before_request"'),
        (CORS, 200, "Access-Control-Allow-Origin", '"flask_sees_all_because_of":"after_request"'),
        (TRACES, 200, None, '"http.route": "/predict"'),
        (MIDDLEWARE, 200, "X-Stamp", '"flask_sees_all_because_of":"application"'),
    ],
    ids=["nothing", "abort", "flask-cors", "opentelemetry", "middleware"],
)
def test_flask_hooks_see_every_prediction(project, extras, tmp_path, code, status, header, line):
    copy = copy_of(project, tmp_path, application=lambda text: text + code)
    with serving(copy, tmp_path, WORKERS="1", PYTHONPATH=str(extras)) as service:
        connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=30)
        for kind in ("application/json", "application/json; charset=utf-8"):
            given = {"Content-Type": kind, "Origin": "http://a"}
            connection.request("POST", "/predict", BODY, given)
            answer = connection.getresponse()
            assert answer.status == status
            assert header is None or answer.getheader(header)
            answer.read()
        connection.close()
        service.stop()
        text = service.log.read_text()
        assert line in text
        assert ("flask_sees_all" in text) == bool(code)


def recipe_with(project, word):
    """Return the lines of Python in the project's recipes that contain this word."""
    blocks = re.findall(r"^```python\n(.*?)^```$", project.read("docs/recipes.md"), re.M | re.S)
    (found,) = [block for block in blocks if word in block]
    return found


@contextlib.contextmanager
def answering(answer):
    """Yield the address of a server that answers with a function of path and body, called for each request."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            content = answer(self.path, body)
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def do_POST(self):
            self.do_GET()

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()


def test_traces_of_every_route_reach_a_collector(project, extras, tmp_path):
    received = []

    def collect(path, body):
        received.append((path, body))
        return b""

    lines = recipe_with(project, "opentelemetry")
    copy = copy_of(project, tmp_path, application=lambda text: text.replace("import sys\n", f"import sys\n{lines}", 1))  # fmt: skip
    with answering(collect) as collector:
        variables = {
            "PYTHONPATH": str(extras),
            "OTEL_SERVICE_NAME": "traced-model",
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector,
            "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
            "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
            "OTEL_TRACES_SAMPLER_ARG": "0",
            "OTEL_METRICS_EXPORTER": "none",
            "OTEL_LOGS_EXPORTER": "none",
        }
        trace = "4bf92f3577b34da6a3ce929d0e0e4736"
        with serving(copy, tmp_path, WORKERS="1", **variables) as service:
            sampled = {"traceparent": f"00-{trace}-00f067aa0ba902b7-01"}
            body = {"instances": [SETOSA]}
            for path in ("/predict", "/invocations", "/metrics", "/ping"):
                asked = body if path in ("/predict", "/invocations") else None
                assert ask(f"{service.url}{path}", asked, headers=sampled)[0] == 200
            # Sampled neither by the caller nor by the service's own share.
            assert ask(f"{service.url}/predict", body)[0] == 200
            service.stop()
    spans = b"".join(body for path, body in received if path == "/v1/traces")
    assert b"traced-model" in spans
    for route in (b"/predict", b"/invocations", b"/metrics", b"/ping"):
        assert route in spans
    assert spans.count(bytes.fromhex(trace)) == 4


ISSUE = """
import json

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa

private = rsa.generate_private_key(65537, 2048)
public = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(private.public_key()))
print(json.dumps({"keys": [public | {"kid": "one", "use": "sig", "alg": "RS256"}]}))
for audience in ("models", "others"):
    print(jwt.encode({"aud": audience}, private, "RS256", {"kid": "one"}))
"""


def test_token_is_required_at_every_route(project, extras, tmp_path):
    python = (".venv/bin/python", "-c", ISSUE)
    documents, good, other = project.check(*python, PYTHONPATH=str(extras)).splitlines()
    code = recipe_with(project, "jwt")
    copy = copy_of(project, tmp_path, application=lambda text: text + code)
    with answering(lambda *_: documents.encode()) as issuer:
        variables = {"JWKS_URL": f"{issuer}/jwks", "JWT_AUDIENCE": "models", "WORKERS": "1"}
        variables["STEPS_KEY"] = "of-the-steps"
        with serving(copy, tmp_path, PYTHONPATH=str(extras), **variables) as service:
            for path in ("/predict", "/invocations", "/metrics", "/", "/v2"):
                body = {"instances": [SETOSA]} if path in ("/predict", "/invocations") else None
                for token, status in ((good, 200), (other, 401), ("none", 401), ("", 401)):
                    headers = {"Authorization": f"Bearer {token}"}
                    assert ask(f"{service.url}{path}", body, headers=headers)[0] == status
                # The deploy steps, which have no token.
                for key, status in (("of-the-steps", 200), ("another", 401), ("", 401)):
                    headers = {"X-API-Key": key}
                    assert ask(f"{service.url}{path}", body, headers=headers)[0] == status
            assert ask(f"{service.url}/ping")[0] == 200


@pytest.mark.parametrize(
    "command",
    [
        ("flask", "--app", "application", "run", "--port", "{port}"),
        ("gunicorn", "--bind", "127.0.0.1:{port}", "application:application"),
        ("waitress", "--listen", "127.0.0.1:{port}", "application:application"),
    ],
    ids=lambda command: command[0],
)
def test_every_wsgi_server_gives_the_same_responses(project, service, extras, command):
    port = free_port()
    process = subprocess.Popen(
        [".venv/bin/python", "-m", *(part.format(port=port) for part in command)],
        cwd=project.path,
        env={**os.environ, "PYTHONPATH": str(extras)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        for path, body in [
            ("/predict", {"instances": [SETOSA]}),
            ("/predict", {}),
            ("/ping", None),
        ]:
            headers = {"X-Request-ID": "the-same"}
            assert ask(f"http://127.0.0.1:{port}{path}", body, headers=headers) == ask(
                f"{service.url}{path}", body, headers=headers
            )
    finally:
        process.terminate()
        process.wait(timeout=30)


def test_sleeping_prediction_does_not_block_health_checks(project, tmp_path):
    slow = "        import time; time.sleep(1.5)\n        outputs = self"
    copy = copy_of(
        project,
        tmp_path,
        inference__predictor=lambda text: text.replace("        outputs = self", slow),
    )
    serving_file = copy.path / "model" / "serving.json"
    # As training measures an owner's own predictor.
    serving_file.write_text('{"queue":false}')
    variables = {"WORKERS": "1", "REQUEST_SECONDS": "4"}
    with serving(copy, tmp_path, **variables) as service:
        outcomes = collections.Counter()

        def predict():
            outcomes[ask(f"{service.url}/predict", {"instances": [SETOSA]}, seconds=60)[0]] += 1

        clients = [threading.Thread(target=predict) for _ in range(100)]
        for client in clients:
            client.start()
        while any(client.is_alive() for client in clients):
            for path in ("/ping", "/v2/health/ready"):
                # A response that waits for a prediction would take longer.
                assert ask(f"{service.url}{path}", seconds=1)[0] == 200
            time.sleep(0.1)
        assert sum(outcomes.values()) == 100
        assert set(outcomes) == {200, 503}


def test_slow_upload_of_a_megabyte_is_accepted(service):
    body = BODY.ljust(1_000_000)
    with socket.create_connection(("127.0.0.1", service.port), timeout=30) as connection:
        connection.sendall(HEAD + b"Content-Length: %d\r\nConnection: close\r\n\r\n" % len(body))
        for start in range(0, len(body), 125_000):
            time.sleep(1)
            connection.sendall(body[start : start + 125_000])
        assert connection.recv(100).startswith(b"HTTP/1.1 200 OK")


def test_shutdown_notifies_clients_that_keep_their_connections(project, tmp_path):
    with serving(project, tmp_path, WORKERS="2") as service:
        stop, lock = threading.Event(), threading.Lock()
        outcomes = collections.Counter()

        def keep_asking():
            connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=30)
            connection.connect()
            outcome = "told"
            while True:
                try:
                    connection.request(
                        "POST", "/predict", BODY, {"Content-Type": "application/json"}
                    )
                    answer = connection.getresponse()
                    answer.read()
                except OSError:
                    outcome = "lost"
                    break
                if answer.getheader("Connection") == "close":
                    break
                if stop.wait(0.05):
                    outcome = "kept"
                    break
            with lock:
                outcomes[outcome] += 1

        clients = [threading.Thread(target=keep_asking) for _ in range(200)]
        for client in clients:
            client.start()
        time.sleep(2)
        assert service.stop() == 0
        stop.set()
        for client in clients:
            client.join(timeout=60)
        assert outcomes["told"] + outcomes["lost"] == 200
        assert outcomes["lost"] < 200 / 50
