"""``deploy/ask.py``: how the deploy steps call a URL."""

import importlib.util
import ssl
import subprocess
import sys
import threading
import urllib.error
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from conftest import PROJECT_TEMPLATE

PROGRAM = PROJECT_TEMPLATE / "deploy" / "ask.py"


@pytest.fixture
def ask(monkeypatch):
    """The program as a module that does not wait between its attempts."""
    spec = importlib.util.spec_from_file_location("ask", PROGRAM)
    # The template must not hold a compiled module: a bake would copy it.
    spec.loader.set_data = lambda *_, **__: None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "SECONDS_BETWEEN", 0)
    monkeypatch.delenv("API_KEY", raising=False)
    return module


@contextmanager
def server(*answers):
    """Serve the answers in order, repeating the last; yield the URL and the requests received."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            status, text = answers[min(len(asked), len(answers) - 1)]
            asked.append((self.command, dict(self.headers.items()), body))
            self.send_response(status)
            if status == 302:
                self.send_header("Location", text)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text.encode())

        do_POST = do_GET  # noqa: N815

        def log_message(self, *arguments):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listener:
        threading.Thread(target=listener.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{listener.server_port}", asked
        listener.shutdown()


def test_answer_is_printed_and_json_is_posted_with_the_first_key(monkeypatch):
    monkeypatch.setenv("API_KEY", "secret,older")
    with server((200, "fine")) as (url, asked):
        command = [sys.executable, PROGRAM, f"{url}/predict", '{"a": 1}']
        done = subprocess.run(command, capture_output=True, check=True)
    assert (done.stdout, done.stderr) == (b"fine", b"")
    ((method, headers, body),) = asked
    assert (method, body) == ("POST", b'{"a": 1}')
    assert headers["Content-Type"] == "application/json"
    assert headers["X-Api-Key"] == "secret"


def test_starting_service_is_retried(ask):
    with server((503, ""), (502, ""), (200, "fine")) as (url, asked):
        assert ask.ask(url) == b"fine"
    assert len(asked) == 3


@pytest.mark.parametrize(("status", "attempts"), [(401, 1), (404, 1), (500, 10), (503, 10)])
def test_failure_is_one_line_with_the_status(ask, status, attempts):
    with server((status, "x")) as (url, asked), pytest.raises(ask.NoAnswerError) as failure:
        ask.ask(url)
    assert len(asked) == attempts
    assert str(failure.value).startswith(f"{url}: HTTP {status} ")
    assert failure.value.status == status
    assert "\n" not in str(failure.value)


def test_program_exits_with_its_failure(ask):
    with server((404, "x")) as (url, _):
        done = subprocess.run([sys.executable, PROGRAM, url], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"ask: {url}: HTTP 404 Not Found\n"


def test_redirect_is_reported(ask):
    with server((302, "https://id.example.com/authorize")) as (url, _):
        command = [sys.executable, PROGRAM, "--redirect", url]
        done = subprocess.run(command, capture_output=True, text=True)
        assert (done.returncode, done.stdout) == (0, "https://id.example.com/authorize\n")
    with (
        server((200, "fine")) as (url, _),
        pytest.raises(ask.NoAnswerError, match="does not redirect"),
    ):
        ask.redirect_of(url)
    with server((500, "x")) as (url, _), pytest.raises(ask.NoAnswerError, match="HTTP 500"):
        ask.redirect_of(url)
    with pytest.raises(ask.NoAnswerError, match="refused"):
        ask.redirect_of("http://127.0.0.1:1")


def test_refused_connection_is_one_line(ask):
    with pytest.raises(ask.NoAnswerError, match=r"^http://127\.0\.0\.1:1: .*refused$"):
        ask.ask("http://127.0.0.1:1")


def test_redirect_is_followed_only_without_a_key(ask, monkeypatch):
    with server((200, "there")) as (there, _), server((302, there)) as (here, _):
        assert ask.ask(here) == b"there"
        monkeypatch.setenv("API_KEY", "secret")
        with pytest.raises(ask.NoAnswerError, match="HTTP 302"):
            ask.ask(here)


def test_key_that_is_not_a_valid_header_is_not_shown(ask, monkeypatch):
    monkeypatch.setenv("API_KEY", "sec\nret")
    with server((200, "")) as (url, _), pytest.raises(ask.NoAnswerError) as failure:
        ask.ask(url)
    assert "API_KEY cannot be sent" in str(failure.value)
    assert "ret" not in str(failure.value).replace("cannot be sent in a header", "")


@pytest.mark.parametrize("name", ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"])
def test_loopback_bypasses_the_proxy(ask, monkeypatch, name):
    monkeypatch.setenv(name, "http://127.0.0.1:1")
    with server((200, "fine")) as (url, _):
        assert ask.ask(url) == b"fine"


def test_other_hosts_use_the_proxy_of_the_environment(ask, monkeypatch):
    with server((200, "by proxy")) as (proxy, asked):
        monkeypatch.setenv("http_proxy", proxy)
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        assert ask.ask("http://service.invalid/predict") == b"by proxy"
    assert asked[0][1]["Host"] == "service.invalid"


@pytest.mark.parametrize(
    ("has_any", "message"),
    [(False, "no CA certificates: install the package ca-certificates"), (True, "is not trusted")],
)
def test_certificate_that_cannot_be_verified_is_explained(ask, monkeypatch, has_any, message):
    monkeypatch.setattr(ask, "has_authorities", lambda: has_any)
    error = ssl.SSLCertVerificationError(1, "verify failed")
    error.verify_message = "unable to get local issuer certificate"
    text, may_pass = ask.explain(urllib.error.URLError(error))
    assert message in text
    assert not may_pass
