"""Pages of other origins: which may send requests, on every route and for every kind of response."""

import json

import pytest

from inference.config import Settings
from inference.errors import StartupError
from tests.models import NUMBERS, make_app
from tests.server import serving_here

APP, OTHER = "https://app.example.com", "https://other.example.com"
ALLOW = "Access-Control-Allow-Origin"
ASK = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "x-api-key"}
PATHS = (
    "/",
    "/predict",
    "/invocations",
    "/ping",
    "/metrics",
    "/v2/models/numbers/infer",
    "/nowhere",
)


@pytest.fixture(params=["https://app.example.com, http://localhost:3000", "*"])
def guarded(request, tmp_path, monkeypatch):
    """A client of a service with a key, and whether it allows any origin."""
    settings = {"cors_origins": request.param, "api_key": "secret"}
    app = make_app(NUMBERS, tmp_path, monkeypatch, **settings)
    return app.test_client(), request.param == "*"


@pytest.mark.parametrize("path", PATHS)
def test_every_response_says_who_may_read_it(guarded, path):
    client, is_any = guarded
    for method in ("GET", "POST"):
        for key in ({}, {"X-API-Key": "secret"}):
            answer = client.open(path, method=method, headers={"Origin": APP} | key)
            assert answer.headers[ALLOW] == ("*" if is_any else APP)
            assert "X-Request-ID" in answer.headers["Access-Control-Expose-Headers"]
            refused = client.open(path, method=method, headers={"Origin": OTHER} | key)
            assert refused.headers.get(ALLOW) == ("*" if is_any else None)
            assert (refused.headers.get("Vary") == "Origin") is not is_any


@pytest.mark.parametrize("path", PATHS)
def test_preflight_requests_need_no_key(guarded, path):
    client, is_any = guarded
    answer = client.options(path, headers=ASK | {"Origin": APP})
    assert answer.status_code == 204
    assert answer.headers[ALLOW] == ("*" if is_any else APP)
    assert "POST" in answer.headers["Access-Control-Allow-Methods"]
    assert "tracestate, X-API-Key" in answer.headers["Access-Control-Allow-Headers"]
    refused = client.options(path, headers=ASK | {"Origin": OTHER})
    assert ("Access-Control-Allow-Methods" in refused.headers) is is_any


def test_no_other_origin_is_allowed_by_default(client):
    answer = client.get("/ping", headers={"Origin": APP})
    assert ALLOW not in answer.headers
    assert "Vary" not in answer.headers
    assert "Access-Control-Allow-Methods" not in client.options("/ping", headers=ASK).headers


def test_the_event_loop_sends_the_headers_too(tmp_path, monkeypatch):
    body = json.dumps({"instances": [NUMBERS.example]}).encode()
    with serving_here(make_app(NUMBERS, tmp_path, monkeypatch, cors_origins=APP)) as server:
        for content, status in ((body, b" 200 "), (b"{", b" 400 ")):
            answer = server.exchange(
                b"POST /predict HTTP/1.1\r\nHost: x\r\nConnection: close\r\nOrigin: %b\r\n"
                b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
                % (APP.encode(), len(content), content)
            )
            assert status in answer
            assert b"Access-Control-Allow-Origin: https://app.example.com\r\n" in answer
            assert b"Vary: Origin\r\n" in answer
        before = (
            b"OPTIONS /predict HTTP/1.1\r\nHost: x\r\nConnection: close\r\nOrigin: %b\r\n"
            b"Access-Control-Request-Method: POST\r\n\r\n"
        )
        assert b" 204 No Content\r\n" in server.exchange(before % APP.encode())


@pytest.mark.parametrize(
    "origins", ["app.example.com", "https://app.example.com/page", "ftp://x", "*, *"]
)
def test_invalid_origin_is_refused(origins):
    with pytest.raises(StartupError, match="CORS_ORIGINS"):
        Settings.from_environment({"CORS_ORIGINS": origins})
