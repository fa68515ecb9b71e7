"""The Open Inference Protocol below /v2, for a table of numbers."""

import gzip
import json
import re
import zlib

import numpy as np
import pytest

from tests.models import NUMBERS

CARD = NUMBERS
BINARY = "application/octet-stream"
HEADER = "Inference-Header-Content-Length"


@pytest.fixture
def infer(client, card):
    """Send an inference request; ``raw`` follows the JSON."""

    def infer(body, raw=b"", **headers):
        text = body if isinstance(body, bytes) else json.dumps(body).encode()
        if raw:
            headers.setdefault(HEADER, str(len(text)))
        url = f"/v2/models/{card.name}/infer"
        return client.post(url, data=text + raw, headers=headers)

    return infer


@pytest.fixture
def tensor(row):
    """Two rows as a JSON tensor."""
    return {"name": "instances", "shape": [2, len(row)], "datatype": "FP32", "data": [row, row]}


def values(response, name):
    """Return an output of a JSON response."""
    return next(output for output in response.json["outputs"] if output["name"] == name)


def test_health_and_metadata(client, card):
    assert client.get("/v2/health/live").json == {"live": True}
    assert client.get("/v2/health/ready").json == {"live": True, "ready": True}
    assert client.get(f"/v2/models/{card.name}/ready").json == {"name": card.name, "ready": True}
    assert client.get("/v2").json["extensions"] == ["binary_tensor_data"]
    metadata = client.get(f"/v2/models/{card.name}").json
    (version,) = metadata["versions"]
    assert client.get(f"/v2/models/{card.name}/versions/{version}").json == metadata
    (given,) = metadata["inputs"]
    assert given == {"name": "instances", "datatype": "FP32", "shape": [-1, len(card.columns)]}


@pytest.mark.parametrize(
    "path", ["/other", "/other/ready", "/{name}/versions/0", "/{name}/nothing"]
)
def test_unknown_model_is_not_found_in_the_protocols_own_format(client, card, path):
    response = client.get(f"/v2/models{path.format(name=card.name)}")
    assert response.status_code == 404
    assert list(response.json) == ["error"]


def test_inference_agrees_with_predict(client, infer, tensor, row):
    expected = client.post("/predict", json={"instances": [row, row]}).json
    response = infer({"id": "42", "inputs": [tensor]})
    assert response.status_code == 200
    assert response.json["id"] == "42"
    assert response.json["model_version"] == response.headers["X-Model-Version"]
    assert values(response, "predictions")["data"] == expected["predictions"]
    nulls = {"id": None, "parameters": None, "outputs": None}
    assert infer({"inputs": [{**tensor, "parameters": None}], **nulls}).status_code == 200
    flat = {**tensor, "data": row + row}
    assert infer({"inputs": [flat]}).json["outputs"] == response.json["outputs"]


@pytest.mark.parametrize("datatype", ["FP32", "FP64", "INT32", "INT64"])
def test_tensors_are_sent_as_bytes(infer, tensor, row, datatype):
    dtype = {"FP32": "<f4", "FP64": "<f8", "INT32": "<i4", "INT64": "<i8"}[datatype]
    rows = np.array([row, row]).astype(dtype)
    plain = infer({"inputs": [{**tensor, "datatype": datatype, "data": rows.tolist()}]})
    raw = rows.tobytes()
    given = {k: v for k, v in tensor.items() if k != "data"} | {
        "datatype": datatype,
        "parameters": {"binary_data_size": len(raw)},
    }
    body = {"inputs": [given], "parameters": {"binary_data_output": True}}
    response = infer(body, raw)
    assert response.mimetype == BINARY
    length = int(response.headers[HEADER])
    rest = response.data[length:]
    for output in json.loads(response.data[:length])["outputs"]:
        size = output["parameters"]["binary_data_size"]
        part, rest = rest[:size], rest[size:]
        expected = values(plain, output["name"])["data"]
        if output["datatype"] == "BYTES":
            texts = b"".join(len(t).to_bytes(4, "little") + t.encode() for t in expected)
            assert part == texts
        else:
            dtype = {"FP32": "<f4", "FP64": "<f8"}[output["datatype"]]
            assert np.array_equal(np.frombuffer(part, dtype), np.array(expected, dtype))
    assert not rest


def test_client_chooses_outputs(infer, tensor):
    response = infer({"inputs": [tensor], "outputs": [{"name": "predictions"}]})
    assert [output["name"] for output in response.json["outputs"]] == ["predictions"]
    for outputs, error in [
        ([{"name": "nothing"}], "nothing is not among the outputs, or requested twice"),
        ([{"name": "predictions"}] * 2, "requested twice"),
        ([{"name": "predictions", "parameters": {"classification": 2}}], "no shared memory"),
    ]:
        refused = infer({"inputs": [tensor], "outputs": outputs})
        assert (refused.status_code, error in refused.json["error"]) == (400, True)


@pytest.mark.parametrize(
    ("encoding", "compress"),
    [("gzip", gzip.compress), ("x-gzip", gzip.compress), ("deflate", zlib.compress)],
)
def test_body_may_be_compressed(infer, tensor, encoding, compress):
    body = json.dumps({"inputs": [tensor]}).encode()
    headers = {"Content-Encoding": encoding}
    assert infer(compress(body), **headers).json == infer(body).json
    assert infer(compress(body)[:-5], **headers).status_code == 400
    assert infer(b"nonsense", **headers).status_code == 400
    assert infer(compress(body) + compress(body), **headers).status_code == 400
    assert infer(compress(body), **{"Content-Encoding": encoding.upper()}).status_code == 200
    assert infer(compress(b" " * 70_000), **headers).status_code == 413


@pytest.mark.parametrize("encoding", ["br", "gzip, gzip"])
def test_unknown_encoding_is_refused_with_the_supported_ones(infer, tensor, encoding):
    response = infer({"inputs": [tensor]}, **{"Content-Encoding": encoding})
    assert response.status_code == 415
    assert response.headers["Accept-Encoding"] == "gzip, deflate"


def test_several_gzip_members_form_one_body(infer, tensor):
    body = json.dumps({"inputs": [tensor]}).encode()
    members = [gzip.compress(part) for part in (body[:9], b"", body[9:])]
    headers = {"Content-Encoding": "gzip"}
    assert infer(b"".join(members), **headers).json == infer(body).json
    assert infer(b"".join(members)[:-1], **headers).status_code == 400
    assert infer(b"".join(members) + b"x", **headers).status_code == 400
    # The limit applies to all members together.
    assert infer(gzip.compress(b" " * 33_000) * 2, **headers).status_code == 413
    exact = gzip.compress(b" " * 32_768) + gzip.compress(body.ljust(32_768))
    assert infer(exact, **headers).status_code == 200
    assert infer(gzip.compress(b"") * 1001 + members[0], **headers).status_code == 400


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"name": "x"}, "x is not among the inputs: instances"),
        ({"shape": [2]}, "shape [2] is not [rows, "),
        ({"shape": [-2, -4]}, "Expected `int` >= 0"),
        ({"shape": [0, ...], "data": []}, "0 rows: send between 1 and 8"),
        (
            {"shape": [9, ...]},
            "instances: more than 8 rows: split them into several requests, or raise",
        ),
        ({"shape": [10**30, ...]}, "more than 8 rows"),
        ({"shape": [3, ...]}, "values do not fill shape"),
        ({"datatype": "FP16"}, "datatype FP16 is not BOOL, INT32, INT64, FP32, FP64, BYTES"),
        ({"datatype": "BYTES"}, "datatype BYTES is not FP32, which the model takes"),
        ({"datatype": "INT32", "data": [[0.5]]}, "data is not of datatype INT32"),
        ({"datatype": "INT32", "data": [2**31] * 4}, "data is not of datatype INT32"),
        ({"data": None}, "data is not of datatype FP32"),
        (
            {"data": ["1", "2"]},
            "data is not of datatype FP32: Expected `float | array | null`, got `str`",
        ),
        ({"data": [[["1"]]]}, "Expected `float | null`, got `array`"),
        ({"data": [[1], [1, 2]]}, "data is neither flat nor nested evenly"),
        ({"data": 1}, "Expected `array`, got `int`"),
        (
            {"data": [True, 1, 1, 1] * 2},
            "data is not of datatype FP32: Expected `float | array | null`",
        ),
        ({"data": [[True, 1, 1, 1]] * 2, "datatype": "INT32"}, "Expected `int`, got `bool`"),
        ({"data": [1] * 8, "datatype": "BOOL"}, "data is not of datatype BOOL"),
        ({"data": [2**63] * 8, "datatype": "INT64"}, "data is not of datatype INT64"),
        ({"data": [10**30] * 8, "datatype": "INT64"}, "data is not of datatype INT64"),
        ({"shape": [1] * 65}, "Expected `array` of length <= 64"),
        ({"parameters": {"x": []}}, "Expected `bool | int | float | str | null`, got `array`"),
        ({"parameters": {str(x): 1 for x in range(65)}}, "Expected `object` of length <= 64"),
        ({"parameters": {"binary_data_size": 99}}, "binary_data_size is 99, 0 bytes are left"),
        ({"parameters": {"binary_data_size": -1}}, "binary_data_size is -1"),
        ({"parameters": {"binary_data_size": True}}, "binary_data_size is True"),
    ],
)
def test_tensor_that_does_not_fit_is_refused(infer, tensor, row, change, error):
    if change.get("shape", [0])[-1] is ...:
        change = {**change, "shape": [change["shape"][0], len(row)]}
    response = infer({"inputs": [{**tensor, **change}]})
    assert response.status_code == 400
    assert error in response.json["error"]


@pytest.mark.parametrize("value", [1e39, -1e39, 10**400])
def test_value_that_fp32_cannot_hold_is_refused(infer, tensor, row, value):
    response = infer({"inputs": [{**tensor, "data": [*row, *row[:-1], value]}]})
    assert response.status_code == 400


@pytest.mark.parametrize("length", ["-1", "x", "0", "1", "999999", "1" * 5000])
def test_wrong_length_of_the_json_is_refused(infer, tensor, length):
    response = infer({"inputs": [tensor]}, **{HEADER: length})
    assert response.status_code == 400
    assert response.json["error"]


@pytest.mark.parametrize(("length", "is_valid"), [("10", True), ("0", False), ("-1", False)])
def test_length_of_the_json_is_described_as_it_is_checked(client, card, length, is_valid):
    document = client.get("/openapi.json").json
    (header,) = document["paths"][f"/v2/models/{card.name}/infer"]["post"]["parameters"]
    assert header["name"] == HEADER
    assert bool(re.search(header["schema"]["pattern"], length)) == is_valid


def test_bytes_that_do_not_fit_are_refused(infer, tensor, row):
    given = {key: value for key, value in tensor.items() if key != "data"}
    raw = np.array([row, row], "<f4").tobytes()

    def error(size, part):
        body = {"inputs": [{**given, "parameters": {"binary_data_size": size}}]}
        response = infer(body, part)
        assert response.status_code == 400
        return response.json["error"]

    assert "bytes are left" in error(len(raw), raw[:-1])
    assert "belong to no input" in error(len(raw), raw + b"x")
    assert "bytes are not the" in error(len(raw) - 4, raw[:-4])
    nan = np.full((2, len(row)), np.nan, "<f4").tobytes()
    assert "not a number that FP32 can hold" in error(len(nan), nan)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b'{"inputs": []}',
        b'{"inputs": 1}',
        b"\xff",
        b'{"id": "\xff"}',
        b"[" * 50_000,
    ],
)
def test_body_that_is_not_a_request_is_refused(infer, body):
    response = infer(body)
    assert response.status_code == 400
    assert list(response.json) == ["error"]
