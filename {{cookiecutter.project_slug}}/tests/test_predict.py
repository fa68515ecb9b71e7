"""POST /predict for a table of numbers, with valid and invalid requests."""

import io
import json

import pytest

from inference.config import Settings
from tests.models import LIMITS, NUMBERS, make_app

CARD = NUMBERS


def post(client, body):
    return client.post("/predict", data=body, content_type="application/json")


def test_response_names_the_model_and_the_request(client, row):
    response = client.post(
        "/predict", json={"instances": [row]}, headers={"X-Request-ID": "my-request"}
    )
    assert response.headers["X-Model-Name"]
    assert len(response.headers["X-Model-Version"]) == 12
    assert response.headers["X-Request-ID"] == "my-request"


@pytest.mark.parametrize(
    ("body", "status", "detail"),
    [
        ("", 400, "The body is not JSON"),
        ("{", 400, "The body is not JSON"),
        ("\xff", 400, "The body is not JSON"),
        ("[" * 4000, 422, "Expected `object`"),
        (b'{"\xff": 1}', 400, "The body is not JSON"),
        (b'{"instances": "\xff"}', 422, "instances: Expected `array`"),
        ("null", 422, "Expected `object`"),
        ("[[1, 2]]", 422, "Expected `object`"),
        ("{}", 422, "missing required field `instances`"),
        ('{"instances": [], "parameters": 1}', 422, "length >= 1"),
        ('{"rows": []}', 422, "unknown field `rows`"),
        ('{"instances": 1}', 422, "instances: Expected `array`"),
        ('{"instances": []}', 422, "instances: Expected `array` of length >= 1"),
        ('{"instances": [1]}', 422, "instances[0]: Expected"),
        ('{"instances": [null]}', 422, "instances[0]: Expected"),
        ('{"instances": [[]]}', 422, "the model takes"),
        ('{"instances": [{}]}', 422, "instances[0]: Object missing required field `length`"),
        ('{"instances": [{"no such feature": 1}]}', 422, "unknown field `no such feature`"),
    ],
)
def test_invalid_body_is_refused(client, body, status, detail):
    response = post(client, body)
    assert response.status_code == status
    assert response.mimetype == "application/problem+json"
    assert response.json["status"] == status
    assert detail in response.json["detail"]


@pytest.mark.parametrize(
    "value", ["NaN", "Infinity", "-Infinity", "3.4028236e38", "1e39", "1e400", "-1e39"]
)
def test_number_that_float32_cannot_hold_is_refused(client, card, row, value):
    body = json.dumps({"instances": [row, [*row[:-1], None]]})
    assert post(client, body.replace("null", "3.4028235e38")).status_code == 200
    response = post(client, body.replace("null", value))
    assert response.status_code == 422
    last = len(row) - 1
    assert response.json["detail"].startswith(f"instances[1].{card.columns[last].name}: ")
    assert response.json["errors"][0]["pointer"] == f"/instances/1/{last}"


def test_nan_in_a_column_that_is_not_a_number_is_refused(client):
    response = post(client, '{"instances": NaN}')
    assert response.status_code == 422
    assert response.json["errors"][0]["pointer"] == "/instances"


@pytest.mark.parametrize("value", ["1", None, True, [1], {"a": 1}])
def test_value_that_is_not_a_number_is_refused(client, card, row, value):
    name = card.columns[0].name
    response = client.post("/predict", json={"instances": [[value, *row[1:]]]})
    assert response.status_code == 422
    assert response.json["detail"].startswith(f"instances[0].{name}: Expected `float`")


@pytest.mark.parametrize(
    "wrong", [[5.5, 3.25, 1.0], ["x", 3.25], [5.5, 3.25, 1.0, 0.5, 1.0], [1, 2, 3, 4, "x"]]
)
def test_row_of_wrong_length_is_refused(client, row, wrong):
    response = client.post("/predict", json={"instances": [row, wrong]})
    assert response.status_code == 422
    assert response.json["detail"].startswith(f"instances[1]: {len(wrong)} values instead of 4")
    assert f"the model takes {len(row)} columns" in response.json["detail"]


def test_too_many_rows_are_refused(client, row):
    response = client.post("/predict", json={"instances": [row] * 9})
    assert response.status_code == 422
    assert response.json["detail"] == (
        "instances: more than 8 rows: split them into several requests, or raise MAX_ROWS"
    )


def test_default_limits_allow_ten_thousand_rows(tmp_path, monkeypatch, row):
    defaults = {name: getattr(Settings(), name) for name in LIMITS}
    client = make_app(CARD, tmp_path, monkeypatch, **defaults).test_client()
    response = client.post("/predict", json={"instances": [row] * 10_000})
    assert response.status_code == 200
    assert len(response.json["predictions"]) == 10_000
    response = client.post("/predict", json={"instances": [row] * 10_001})
    assert response.status_code == 422
    assert "more than 10000 rows" in response.json["detail"]


def test_too_large_a_body_is_refused(client):
    response = post(client, b" " * 65_537)
    assert response.status_code == 413
    assert response.mimetype == "application/problem+json"
    assert response.json["detail"] == (
        "The body has more than 65536 bytes: send less at once, or raise MAX_BODY_BYTES"
    )


@pytest.mark.parametrize(("length", "status"), [(65_536, 200), (65_537, 413)])
def test_too_large_a_body_of_unknown_length_is_refused(client, row, length, status):
    body = json.dumps({"instances": [row]}).encode().ljust(length)
    response = client.post(
        "/predict",
        input_stream=io.BytesIO(body),
        content_type="application/json",
        environ_overrides={"wsgi.input_terminated": True, "CONTENT_LENGTH": ""},
    )
    assert response.status_code == status


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", None])
def test_wrong_content_type_is_refused(client, row, content_type):
    body = json.dumps({"instances": [row]})
    response = client.post("/predict", data=body, content_type=content_type)
    assert response.status_code == 415
    assert "application/json" in response.json["detail"]
