"""The routes other than /predict, errors of all kinds, and the logs."""

import json
import logging
import os
import sys
from urllib.parse import quote

import pytest
from markupsafe import escape

from inference.app import create_app
from inference.config import Settings
from inference.monitoring import logs
from inference.runtime.signature import Prediction
from tests.models import NUMBERS, Stub, examples_of, make_app, metric


def test_page_has_a_field_for_each_input(client, card):
    response = client.get("/")
    assert response.status_code == 200
    for part in (*card.columns, *card.tensors):
        assert f'name="{escape(part.name)}"' in response.text
    assert "default-src 'none'" in response.headers["Content-Security-Policy"]


@pytest.mark.parametrize("file", ["page.css", "page.js"])
def test_page_finds_its_files(client, file):
    path = f"/static/{file}"
    assert path in client.get("/").text
    with client.get(path) as response:
        assert response.status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/nowhere", 404), ("GET", "/static//page.js", 404), ("GET", "/predict", 405)],
)
def test_unknown_route_is_a_problem_document(client, method, path, status):
    response = client.open(path, method=method)
    assert response.status_code == status
    assert response.mimetype == "application/problem+json"
    assert response.json["status"] == status
    assert response.json["request_id"] == response.headers["X-Request-ID"]
    assert ("POST" in response.headers.get("Allow", "")) == (status == 405)


def test_unexpected_error_is_logged_and_hidden_from_the_client(app, caplog):
    @app.get("/broken")
    def broken():
        raise RuntimeError("a secret")

    response = app.test_client().get("/broken")
    assert response.status_code == 500
    assert response.mimetype == "application/problem+json"
    assert "secret" not in response.text
    (record,) = (record for record in caplog.records if record.levelname == "ERROR")
    assert "RuntimeError: a secret" in caplog.text
    assert record.fields == {"request_id": response.headers["X-Request-ID"]}


@pytest.fixture
def access_log(capfd):
    """The access log of answered requests."""
    logging.getLogger("inference.access").setLevel("INFO")

    def lines():
        logs.writer.flush(seconds=10)
        return [json.loads(line) for line in capfd.readouterr().out.splitlines()]

    yield lines
    logging.getLogger("inference.access").setLevel("NOTSET")


def test_each_request_is_logged_as_one_json_line(client, row, access_log):
    client.post("/predict", json={"instances": [row, row]}, headers={"X-Request-ID": "one"})
    (entry,) = access_log()
    assert entry["message"] == "POST /predict 200"
    assert entry["level"] == "INFO"
    assert entry["request_id"] == "one"
    assert entry["rows"] == 2
    assert entry["duration_ms"] > 0


def test_failing_log_refuses_no_request(client, row, access_log, monkeypatch):
    def fail(*arguments):
        raise BrokenPipeError

    monkeypatch.setattr("os.write", fail)
    assert client.post("/predict", json={"instances": [row]}).status_code == 200


def test_unread_log_blocks_nothing_and_reports_dropped_lines(monkeypatch):
    monkeypatch.setattr(logs, "LINES", 100)
    reader, pipe = os.pipe()
    dropped = []
    writer = logs.Writer(pipe)
    writer.count_dropped = lambda: dropped.append(1)
    line = b"x" * 10_000
    # More than a pipe and the queue hold.
    for _ in range(500):
        writer.write(line)
    assert len(dropped) >= 300
    kept = 500 - len(dropped)
    with open(reader, "rb") as log:
        assert [log.readline() for _ in range(kept)] == [line + b"\n"] * kept
        said = json.loads(log.readline())
    assert (said["level"], said["dropped"]) == ("WARNING", len(dropped))
    os.close(pipe)


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("/" + "a" * 60_000, "/" + "a" * 1023),
        ("/\u202e\x7f\u2028", "/\\u202e\\x7f\\u2028"),
        ("/é", "/é"),
    ],
)
def test_path_is_logged_truncated_and_escaped(client, access_log, path, shown):
    client.get(quote(path))
    (entry,) = access_log()
    assert entry["path"] == shown
    assert entry["message"] == f"GET {shown} 404"


def test_no_request_is_logged_above_the_configured_level(client, access_log):
    logging.getLogger("inference.access").setLevel("WARNING")
    client.get("/ping")
    assert access_log() == []


def test_exception_is_logged_with_its_traceback():
    try:
        raise RuntimeError("reason")
    except RuntimeError:
        record = logging.LogRecord("name", logging.ERROR, "", 0, "failed", None, sys.exc_info())
    assert "RuntimeError: reason" in json.loads(logs.Handler().format(record))["exception"]


def test_wrong_logger_call_breaks_no_request(app, capsys):
    logger = logging.Logger("mine")
    logger.addHandler(logs.Handler())

    @app.get("/careless")
    def careless():
        logger.warning("%d rows", "two")
        return "done"

    assert app.test_client().get("/careless").status_code == 200
    assert "Logging error" in capsys.readouterr().err


def test_request_without_a_valid_id_gets_its_own(client):
    given = [{}, {"X-Request-ID": "a b"}] * 10
    ids = {client.get("/ping", headers=headers).headers["X-Request-ID"] for headers in given}
    assert len(ids) == 20
    assert {len(one) for one in ids} == {32}


TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


def test_trace_continues_in_the_response_and_the_log(client, access_log):
    response = client.get("/ping", headers={"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"})
    version, trace, span, flags = response.headers["traceparent"].split("-")
    assert (version, trace, flags) == ("00", TRACE, "01")
    assert span != "00f067aa0ba902b7"
    (entry,) = access_log()
    assert entry["trace_id"] == TRACE
    assert entry["span_id"] == span


@pytest.mark.parametrize(
    ("start", "end", "flags"), [("00", "00", "00"), ("00", "ff", "01"), ("cc", "01-later", "01")]
)
def test_trace_of_a_later_version_continues_without_unknown_parts(client, start, end, flags):
    given = f"{start}-{TRACE}-00f067aa0ba902b7-{end}"
    answer = client.get("/ping", headers={"traceparent": given}).headers["traceparent"]
    assert answer[:36] == f"00-{TRACE}-"
    assert answer[-3:] == f"-{flags}"


@pytest.mark.parametrize(
    "given",
    [
        "",
        "nonsense",
        f"00-{'0' * 32}-00f067aa0ba902b7-01",
        f"00-{TRACE}-00f067aa0ba902b7-01-later",
        f"ff-{TRACE}-00f067aa0ba902b7-01",
    ],
)
def test_invalid_trace_is_ignored(client, access_log, given):
    assert "traceparent" not in client.get("/ping", headers={"traceparent": given}).headers
    assert "span_id" not in access_log()[0]


def test_log_contains_no_part_of_a_body(client, card, access_log, caplog):
    caplog.set_level("DEBUG")
    client.post("/predict", data=b'{"instances": "a secret"}', content_type="application/json")
    client.post("/predict", json={"instances": [{"no such name": 0.123456789}]})
    text = caplog.text + str(access_log())
    assert "422" in text
    assert "secret" not in text
    assert "0.123456789" not in text


def test_metrics_count_requests_rows_and_classes(client, card, row):
    answer = client.post("/predict", json={"instances": [row, row]}).json
    client.post("/predict", json={"instances": []})
    client.get("/predict")
    for status in (200, 405, 422):
        labels = {"route": "/predict", "status": status}
        assert metric(client, "http_request_duration_seconds_count", **labels) == 1
    assert metric(client, "http_requests_in_flight") == 1
    assert metric(client, "inference_request_rows_sum") == 2
    assert metric(client, "inference_model_info", name=card.name) == 1
    if card.outputs[0].type == "string" and len(card.outputs) == 1:
        name = answer["predictions"][0]
        assert metric(client, "inference_predictions_total", **{"class": name}) == 2


def test_class_missing_from_the_card_is_answered(tmp_path, monkeypatch):
    client = make_app(NUMBERS, tmp_path, monkeypatch, batching="off").test_client()
    monkeypatch.setattr(Stub, "predict", lambda self, _: Prediction(["odd"]))
    body = {"instances": [NUMBERS.example]}
    assert client.post("/predict", json=body).json == {"predictions": ["odd"]}
    assert metric(client, "http_requests_in_flight") == 1


def test_unknown_paths_create_no_metrics(client):
    client.get("/nowhere/1")
    client.open("/ping", method="NONSENSE")
    assert "nowhere" not in client.get("/metrics").text
    assert "NONSENSE" not in client.get("/metrics").text


@pytest.fixture
def guarded(model_path):
    """A client of a service that requires one of two keys."""
    return create_app(Settings(model_path=str(model_path), api_key="old, n=ew")).test_client()


@pytest.mark.parametrize("path", ["/predict", "/invocations", "/v2/models/x/infer"])
def test_key_is_required(guarded, row, path):
    for headers in ({}, {"X-API-Key": "wrong"}, {"X-API-Key": ""}, {"Authorization": "Bearer x"}):
        response = guarded.post(path, json={"instances": [row]}, headers=headers)
        assert response.status_code == 401
        assert response.headers["WWW-Authenticate"].startswith("Bearer")


def test_either_key_is_accepted_in_either_header(guarded, row):
    for key in ("old", "n=ew"):
        for headers in (
            {"X-API-Key": key},
            {"Authorization": f"Bearer {key}"},
            {"X-API-Key": key, "Authorization": "Bearer another"},
        ):
            response = guarded.post("/predict", json={"instances": [row]}, headers=headers)
            assert response.status_code == 200
    assert guarded.get("/metrics").status_code == 401


def test_health_page_and_documents_need_no_key(guarded, card):
    open_paths = ["/", "/ping", "/docs", "/openapi.json", "/static/page.js"]
    open_paths += ["/v2/health/live", "/v2/health/ready", f"/v2/models/{card.name}/ready"]
    for path in open_paths:
        with guarded.get(path) as response:
            assert response.status_code == 200, path


def test_too_many_concurrent_requests_are_refused_but_health_checks_are_not(model_path, row):
    app = create_app(Settings(model_path=str(model_path), max_concurrent=1))
    seen = []

    @app.get("/slow")
    def slow():
        other = app.test_client()
        seen.append(other.post("/predict", json={"instances": [row]}))
        seen.append(other.get("/ping"))
        return "done"

    client = app.test_client()
    assert client.get("/slow").status_code == 200
    refused, health = seen
    assert refused.status_code == 503
    assert refused.headers["Retry-After"] == "1"
    assert health.status_code == 200
    assert client.post("/predict", json={"instances": [row]}).status_code == 200


def test_every_response_has_security_headers(client):
    for path in ("/", "/ping", "/nowhere", "/openapi.json"):
        headers = client.get(path).headers
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert "unsafe" not in headers["Content-Security-Policy"]
        assert headers["Referrer-Policy"] == "no-referrer"


def test_openapi_describes_every_route(client, app, card):
    document = client.get("/openapi.json").json
    assert document["openapi"] == "3.1.0"
    described = {path.replace(card.name, "<name>") for path in document["paths"]}
    pages = {"/", "/docs", "/monitor", "/openapi.json", "/static/<path:filename>"}
    routes = {rule.rule for rule in app.url_map.iter_rules() if "<of_version>" not in rule.rule}
    assert described == routes - pages
    operations = [each for path in document["paths"].values() for each in path.values()]
    assert len({each["operationId"] for each in operations}) == len(operations)
    assert sum("content" not in each["responses"]["200"] for each in operations) == 1


def test_openapi_examples_are_answered(client):
    for path, kind, body in examples_of(client):
        assert client.post(path, data=body, content_type=kind).status_code == 200, (path, kind)


def test_docs_page_lists_every_route(client):
    text = client.get("/docs").text
    for path in client.get("/openapi.json").json["paths"]:
        assert path in text
