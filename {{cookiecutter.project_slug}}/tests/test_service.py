"""The routes beside /predict, errors of any kind, and the logs."""

import json
import logging
import sys

import pytest
from markupsafe import escape

from inference.logs import JSONFormatter


def test_ping_answers(client):
    assert client.get("/ping").status_code == 200


def test_page_has_a_field_for_each_feature(client, card):
    response = client.get("/")
    assert response.status_code == 200
    for feature in card.features:
        assert f'name="{escape(feature.name)}"' in response.text
    assert "default-src 'self'" in response.headers["Content-Security-Policy"]


@pytest.mark.parametrize("file", ["page.css", "page.js"])
def test_page_finds_its_files(client, file):
    path = f"/static/{file}"
    assert path in client.get("/").text
    with client.get(path) as response:
        assert response.status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/nowhere", 404), ("GET", "/predict", 405)]
)
def test_unknown_route_is_a_problem_document(client, method, path, status):
    response = client.open(path, method=method)
    assert response.status_code == status
    assert response.mimetype == "application/problem+json"
    assert response.json["status"] == status
    assert response.json["request_id"] == response.headers["X-Request-ID"]


def test_wrong_method_says_which_are_allowed(client):
    assert "POST" in client.get("/predict").headers["Allow"]


def test_unexpected_error_is_logged_and_tells_the_client_nothing(app, caplog):
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


def test_each_request_is_logged_as_one_json_line(client, row, caplog):
    caplog.set_level("INFO")
    client.post("/predict", json={"instances": [row, row]}, headers={"X-Request-ID": "one"})
    (record,) = caplog.records
    line = JSONFormatter().format(record)
    assert "\n" not in line
    entry = json.loads(line)
    assert entry["message"] == "POST /predict 200"
    assert entry["level"] == "INFO"
    assert entry["request_id"] == "one"
    assert entry["rows"] == 2
    assert entry["duration_ms"] > 0


def test_exception_is_logged_with_its_traceback():
    try:
        raise RuntimeError("reason")
    except RuntimeError:
        record = logging.LogRecord("name", logging.ERROR, "", 0, "failed", None, sys.exc_info())
    assert "RuntimeError: reason" in json.loads(JSONFormatter().format(record))["exception"]


def test_unfit_request_id_is_replaced(client):
    response = client.get("/ping", headers={"X-Request-ID": "a b"})
    assert len(response.headers["X-Request-ID"]) == 32
