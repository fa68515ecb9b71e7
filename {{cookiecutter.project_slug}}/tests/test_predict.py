"""POST /predict for a table of numbers, with valid and invalid requests."""

import io
import json

import pytest

from inference.config import Settings
from tests.models import LIMITS, NUMBERS, make_app

CARD = NUMBERS


def post(client, body):
    return client.post("/predict", data=body, content_type="application/json")


def test_each_row_gets_a_prediction(client, card, row):
    response = client.post("/predict", json={"instances": [row, row, row]})
    assert response.status_code == 200
    assert len(response.json["predictions"]) == 3
    for probabilities in response.json.get("probabilities", []):
        assert tuple(probabilities) == card.outputs[0].classes


def test_features_may_be_named_in_any_order(client, card, row):
    pairs = list(zip((column.name for column in card.columns), row, strict=True))
    named = client.post("/predict", json={"instances": [dict(reversed(pairs))]})
    assert named.json == client.post("/predict", json={"instances": [row]}).json


def test_rows_and_named_features_may_be_mixed(client, card, row):
    named = dict(zip((column.name for column in card.columns), row, strict=True))
    response = client.post("/predict", json={"instances": [row, named]})
    first, second = response.json["predictions"]
    assert first == second


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
        ('{"instances": [{}]}', 422, "instances[0]: Object missing required field"),
        ('{"instances": [{"no such feature": 1}]}', 422, "unknown field `no such feature`"),
    ],
)
def test_invalid_body_is_refused(client, body, status, detail):
    response = post(client, body)
    assert response.status_code == status
    assert response.mimetype == "application/problem+json"
    assert response.json["status"] == status
    assert detail in response.json["detail"]


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity", "1e39", "1e400", "-1e39"])
def test_number_that_float32_cannot_hold_is_refused(client, card, row, value):
    body = json.dumps({"instances": [row, [*row[:-1], None]]})
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


def test_missing_feature_is_named(client, card, row):
    named = dict(zip((column.name for column in card.columns), row, strict=True))
    name, _ = named.popitem()
    response = client.post("/predict", json={"instances": [named]})
    assert response.status_code == 422
    assert f"missing required field `{name}`" in response.json["detail"]


@pytest.mark.parametrize("change", [-1, 1])
def test_row_of_wrong_length_is_refused(client, row, change):
    wrong = row[:change] if change < 0 else [*row, 1.0]
    response = client.post("/predict", json={"instances": [row, wrong]})
    assert response.status_code == 422
    assert response.json["detail"].startswith("instances[1]: ")
    assert f"the model takes {len(row)} columns" in response.json["detail"]


def test_invalid_value_after_the_last_feature_is_refused(client, row):
    response = client.post("/predict", json={"instances": [[*row, "x"]]})
    assert response.status_code == 422
    assert "the model takes" in response.json["detail"]


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


def test_service_continues_after_a_bad_request(client, row):
    assert post(client, "nonsense").status_code == 400
    assert client.post("/predict", json={"instances": [row]}).status_code == 200
