"""Every endpoint with every kind of signature: all must give the same answer."""

import copy
import csv
import io
import json
import re

import msgspec
import numpy as np
import pytest

from inference.errors import InvalidValue
from inference.formats.tensors import pack
from inference.http.protocol import COLUMN_DATATYPES
from inference.runtime.signature import MATRIX, ModelCard
from tests.models import (
    CARDS,
    GAPS,
    HARD_NAMES,
    IMAGE,
    MIXED,
    NUMBERS,
    SEVERAL,
    SPARSE,
    SPARSE_TEXT,
    TENSORS,
    Stub,
    examples_of,
    make_app,
)

HEADER = "Inference-Header-Content-Length"
CSV = {"Content-Type": "text/csv"}
TABLES = [card for card in CARDS if card.columns]
DTYPES = {"FP32": "<f4", "FP64": "<f8", "INT64": "<i8", "BOOL": "?"}


@pytest.fixture(params=CARDS, ids=lambda card: card.name)
def card(request):
    return request.param


@pytest.fixture
def client(card, tmp_path, monkeypatch):
    return make_app(card, tmp_path, monkeypatch).test_client()


def only(*cards):
    """Run a test for these signatures only."""
    return pytest.mark.parametrize("card", cards, ids=lambda card: card.name, indirect=True)


def predict(client, *instances):
    response = client.post("/predict", json={"instances": instances})
    assert response.status_code == 200, response.text
    return response.json


def refusal(client, *instances):
    response = client.post("/predict", json={"instances": instances})
    assert response.status_code == 422, response.text
    return response.json["detail"], response.json["errors"][0]["pointer"]


def named(card, instance):
    """Return an instance as an object by input name."""
    if card.columns:
        return dict(zip([column.name for column in card.columns], instance, strict=True))
    return instance if isinstance(instance, dict) else {card.tensors[0].name: instance}


def changed(card, name, value):
    """Return the example as an object, with one value changed."""
    return {**named(card, copy.deepcopy(card.example)), name: value}


def test_answer_has_the_types_of_the_signature(client, card):
    answer = predict(client, card.example, card.example)
    (prediction, same) = answer["predictions"]
    assert prediction == same
    values = prediction if len(card.outputs) > 1 else {card.outputs[0].name: prediction}
    assert list(values) == [output.name for output in card.outputs]
    kinds = {"string": str, "boolean": bool, "integer": int, "number": (int, float)}
    for output in card.outputs:
        assert isinstance(values[output.name], kinds[output.type])
    if len(card.outputs) == 1 and card.outputs[0].classes:
        names = [json.dumps(name).strip('"') for name in card.outputs[0].classes]
        assert list(answer["probabilities"][0]) == names


def test_instance_may_be_an_object_in_any_order(client, card):
    given = named(card, card.example)
    assert predict(client, given) == predict(client, card.example)
    assert predict(client, dict(reversed(given.items()))) == predict(client, card.example)
    both = predict(client, given, card.example)
    assert both == predict(client, card.example, given) == predict(client, given, given)


def example_inputs(client):
    """Return the inputs in the documented example of the protocol."""
    (body,) = [body for path, _, body in examples_of(client) if path.endswith("/infer")]
    return json.loads(body)["inputs"]


def test_metadata_describes_the_inputs_of_infer(client, card):
    metadata = client.get(f"/v2/models/{card.name}").json
    inputs = example_inputs(client)
    assert [given["name"] for given in metadata["inputs"]] == [given["name"] for given in inputs]
    for described, given in zip(metadata["inputs"], inputs, strict=True):
        assert described["datatype"] == given["datatype"]
        for size, one in zip(described["shape"], given["shape"], strict=True):
            assert size in (-1, one)
    answer = client.post(f"/v2/models/{card.name}/infer", json={"inputs": inputs}).json
    outputs = {(output["name"], output["datatype"]) for output in answer["outputs"]}
    assert outputs == {(output["name"], output["datatype"]) for output in metadata["outputs"]}


def infer(client, card, inputs, is_binary):
    """Return the protocol's outputs by name, for inputs by name with datatype and values."""
    tensors, raw = [], b""
    for name, (datatype, values) in inputs.items():
        tensor = {"name": name, "shape": list(values.shape), "datatype": datatype}
        if is_binary:
            part = (
                pack(values) if datatype == "BYTES" else values.astype(DTYPES[datatype]).tobytes()
            )
            raw += part
            tensor["parameters"] = {"binary_data_size": len(part)}
        else:
            tensor["data"] = values.tolist()
        tensors.append(tensor)
    text = json.dumps({"inputs": tensors}).encode()
    headers = {HEADER: str(len(text))} if is_binary else {}
    response = client.post(f"/v2/models/{card.name}/infer", data=text + raw, headers=headers)
    assert response.status_code == 200, response.text
    return {output["name"]: output["data"] for output in response.json["outputs"]}


@pytest.mark.parametrize("is_binary", [False, True], ids=["json", "binary"])
def test_tensors_are_answered_like_json(client, card, is_binary):
    inputs = {}
    for tensor in example_inputs(client):
        kind = object if tensor["datatype"] == "BYTES" else DTYPES[tensor["datatype"]]
        values = np.array(tensor["data"], kind).reshape(tensor["shape"])
        inputs[tensor["name"]] = tensor["datatype"], np.concatenate([values, values])
    outputs = infer(client, card, inputs, is_binary)
    expected = predict(client, card.example, card.example)["predictions"]
    if len(card.outputs) == 1:
        assert outputs["predictions"] == expected
    else:
        for output in card.outputs:
            assert outputs[output.name] == [prediction[output.name] for prediction in expected]


@only(NUMBERS, GAPS)
@pytest.mark.parametrize("shape", [(2,), (2, 1)])
def test_table_of_numbers_may_be_sent_as_one_tensor_per_column(client, card, shape):
    inputs = {
        column.name: ("FP32", np.full(shape, column.example)) for column in reversed(card.columns)
    }
    outputs = infer(client, card, inputs, False)
    assert outputs["predictions"] == predict(client, card.example, card.example)["predictions"]


def table(*rows):
    """Return rows, the first of which may be the heading, as CSV."""
    text = io.StringIO()
    for row in rows:
        csv.writer(text).writerow(json.dumps(v) if isinstance(v, bool) else v for v in row)
    return text.getvalue().encode()


@only(*TABLES)
@pytest.mark.parametrize("has_heading", [True, False])
def test_csv_is_answered_like_json(client, card, has_heading):
    heading = [named(card, card.example)] if has_heading else []
    body = table(*heading, card.example, card.example)
    response = client.post("/invocations", data=body, headers=CSV)
    assert response.json == predict(client, card.example, card.example)
    response = client.post("/invocations", data=body, headers={**CSV, "Accept": "text/csv"})
    first, second = csv.DictReader(io.StringIO(response.text))
    assert first == second
    assert next(iter(first)) == card.outputs[0].name
    assert {output.name for output in card.outputs} <= set(first)


@only(IMAGE)
def test_csv_line_may_hold_the_values_of_a_tensor(client, card):
    body = ",".join(map(str, np.ravel(card.example)))
    response = client.post("/invocations", data=body, headers=CSV)
    assert response.json == predict(client, card.example)


@only(TENSORS)
def test_tensors_that_do_not_fit_a_line_are_refused_as_csv(client):
    response = client.post("/invocations", data="1,2", headers=CSV)
    assert response.status_code == 415
    assert "several tensors" in response.json["detail"]


@only(SPARSE, SPARSE_TEXT)
def test_object_may_be_empty_if_nothing_is_required(client, card):
    nulls = [None] * len(card.columns)
    answer = predict(client, {}, {})
    assert answer == predict(client, nulls, nulls) == predict(client, {}, nulls)


@only(GAPS, MIXED, HARD_NAMES)
def test_missing_value_is_null_absent_empty_or_nan(client, card):
    for column in card.columns:
        if column.required:
            continue
        row = changed(card, column.name, None)
        expected = predict(client, row)
        assert (
            expected["predictions"] != predict(client, card.example)["predictions"] or card is MIXED
        )
        absent = {name: value for name, value in row.items() if name != column.name}
        for given in (absent, list(row.values())):
            assert predict(client, given) == expected
        for given in (row, absent):
            body = table(given, given.values())
            assert client.post("/invocations", data=body, headers=CSV).json == expected
        if column.type == "string":
            assert predict(client, changed(card, column.name, "")) == expected


@only(GAPS)
def test_nan_in_a_tensor_is_a_missing_value_only_if_allowed(client, card):
    expected = predict(client, [None, 7.25])["predictions"]
    matrix = {MATRIX: ("FP32", np.array([[np.nan, 7.25]]))}
    assert infer(client, card, matrix, True)["predictions"] == expected
    # JSON has no NaN.
    matrix = {MATRIX: ("FP32", np.array([[None, 7.25]], object))}
    assert infer(client, card, matrix, False)["predictions"] == expected
    url = f"/v2/models/{card.name}/infer"
    tensor = {"name": MATRIX, "shape": [1, 2], "datatype": "FP32"}
    sized = {**tensor, "parameters": {"binary_data_size": 8}}
    head = json.dumps({"inputs": [sized]}).encode()
    raw = np.array([[28.0, np.nan]], np.float32).tobytes()
    response = client.post(url, data=head + raw, headers={HEADER: str(len(head))})
    assert "a value is missing" in response.json["error"]
    for data in ([28.0, None], [[28.0], None], [[28.0, 1.0], None], None):
        response = client.post(url, json={"inputs": [{**tensor, "data": data}]})
        assert response.status_code == 400, data


@only(MIXED)
def test_input_of_an_optional_column_may_be_omitted(client, card):
    inputs = {
        column.name: (COLUMN_DATATYPES[column.type], np.array([column.example], object))
        for column in card.columns
        if column.required
    }
    row = [column.example if column.required else None for column in card.columns]
    assert infer(client, card, inputs, False)["predictions"] == predict(client, row)["predictions"]


@only(MIXED)
@pytest.mark.parametrize(
    ("name", "value", "fault"),
    [
        ("island", 7, "Expected `str`, got `int`"),
        ("island", None, "Expected `str`, got `null`"),
        ("island", "", "Expected `str` of length >= 1"),
        ("port", "X", "Invalid enum value 'X'"),
        ("age", "old", "Expected `float | null`, got `str`"),
        ("age", 1e39, "Expected `float` <="),
        ("note", 1, "Expected `str | null`, got `int`"),
        ("age", np.nan, "Expected a finite number, or null for a missing value"),
        ("note", np.nan, "Expected `str | null`, got `float`"),
        ("member", 1, "Expected `bool`, got `int`"),
        ("class", 1.5, "Expected `int`, got `float`"),
        ("class", 2**63, "Expected `int` <="),
    ],
)
def test_value_of_another_type_is_refused_by_row_and_column(client, card, name, value, fault):
    wrong = changed(card, name, value)
    place = [column.name for column in card.columns].index(name)
    for instance, key in ((wrong, name), (list(wrong.values()), str(place))):
        detail, pointer = refusal(client, card.example, instance)
        assert detail.startswith(f"instances[1].{name}: {fault}")
        assert pointer == f"/instances/1/{key}"


@only(MIXED)
def test_whole_number_may_have_decimals(client, card):
    expected = predict(client, changed(card, "class", 2))
    decimals = changed(card, "class", 2.0)
    assert predict(client, decimals) == predict(client, [*decimals.values()]) == expected


@only(MIXED)
@pytest.mark.parametrize(
    ("name", "cell", "fault"),
    [
        ("island", "", "a value is missing"),
        ("port", "X", "'X' is not C, Q, S"),
        ("age", "old", "'old' is not a finite number"),
        ("member", "yes", "'yes' is not true or false"),
        ("class", "1.5", "'1.5' is not a whole number"),
        ("class", "", "a value is missing"),
    ],
)
def test_cell_of_another_type_is_refused_by_line_and_column(client, card, name, cell, fault):
    wrong = changed(card, name, cell)
    body = table(wrong, card.example, wrong.values())
    response = client.post("/invocations", data=body, headers=CSV)
    assert response.status_code == 422
    assert response.json["detail"] == f"line 3, {name}: {fault}"


@only(MIXED)
@pytest.mark.parametrize(
    ("name", "datatype", "values", "fault"),
    [
        ("island", "FP32", [1], "datatype FP32 is not BYTES, which the model takes"),
        ("island", "BYTES", [""], "a text is empty, which is a missing value"),
        ("port", "BYTES", ["X"], "a text is not C, Q, S"),
        ("age", "BYTES", ["1"], "datatype BYTES is not FP32"),
        ("class", "FP64", [1.5], "a value is not of datatype INT64"),
        ("member", "INT64", [2], "a value is not of datatype BOOL"),
        ("class", "INT64", [1, 2], "2 rows, the inputs before it 1"),
        ("class", "INT64", [[1, 2]], "shape [1, 2] is not [rows]"),
        ("other", "INT64", [1], "is not among the inputs: island, port, age"),
    ],
)
def test_tensor_of_another_type_is_refused_by_name(client, card, name, datatype, values, fault):
    inputs = [tensor for tensor in example_inputs(client) if tensor["name"] != name]
    shape = list(np.array(values, object).shape)
    inputs.append({"name": name, "shape": shape, "datatype": datatype, "data": values})
    response = client.post(f"/v2/models/{card.name}/infer", json={"inputs": inputs})
    assert response.status_code == 400
    assert response.json["error"].startswith(f"{name}")
    assert fault in response.json["error"]


@only(MIXED)
def test_missing_tensor_is_named(client, card):
    inputs = [{"name": "class", "shape": [1], "datatype": "INT64", "data": [1]}]
    response = client.post(f"/v2/models/{card.name}/infer", json={"inputs": inputs})
    assert response.json["error"] == "the input island is missing"


@only(HARD_NAMES)
@pytest.mark.parametrize(
    ("change", "detail"),
    [
        ({"[0]": 1}, "instances[0].[0]: Expected `str`, got `int`"),
        ({'say "when", please': "x"}, 'instances[0].say "when", please: Expected `float`'),
        ({"other": 1}, "instances[0]: Object contains unknown field `other`"),
        ({"back\\slash": None}, "instances[0].back\\slash: Expected `float`, got `null`"),
    ],
)
def test_unusual_name_is_escaped_in_an_error(client, card, change, detail):
    assert refusal(client, {**named(card, card.example), **change})[0].startswith(detail)


@only(HARD_NAMES)
def test_missing_input_with_an_unusual_name_is_named(client, card):
    given = named(card, card.example)
    del given["back\\slash"]
    assert "missing required field `back\\slash`" in refusal(client, given)[0]


@only(HARD_NAMES, MIXED)
def test_duplicate_key_is_refused_even_if_another_is_absent(client, card):
    optional = next(column.name for column in card.columns if not column.required)
    given = {k: v for k, v in named(card, card.example).items() if k != optional}
    name = card.columns[0].name
    text = json.dumps({"instances": [given]})
    twice = text.replace("[{", f"[{{{json.dumps(name)}: {json.dumps(given[name])}, ", 1)
    response = client.post("/predict", data=twice, content_type="application/json")
    assert response.status_code == 422
    assert response.json["detail"] == f"duplicate key {name} in an object"


@only(IMAGE)
@pytest.mark.parametrize(
    ("instance", "detail", "pointer"),
    [
        ([[1, 2, 3]], "Expected `array` of length >= 2", "/instances/1"),
        ([[1, 2, 3], [4, 5]], "instances[1][1]: Expected `array` of length >= 3", "/instances/1/1"),
        ([[1, 2, 3], [4, "x", 6]], "instances[1][1][1]: Expected `float`", "/instances/1/1/1"),
        ({"pixels": [[1, 2, 3]]}, "instances[1].pixels: Expected", "/instances/1/pixels"),
        ([1, 2, 3], "Expected `array`", "/instances/1"),
    ],
)
def test_tensor_of_another_shape_is_refused(client, card, instance, detail, pointer):
    said, place = refusal(client, card.example, instance)
    assert detail in said
    assert place.startswith(pointer)


@only(TENSORS)
def test_instances_of_different_sizes_are_refused(client, card):
    longer = changed(card, "tokens", [1, 2, 3, 4])
    assert predict(client, longer)
    detail, pointer = refusal(client, card.example, longer)
    assert detail.startswith("instances[1]: its lists are uneven, or differ in length")
    assert pointer == "/instances/1"


def test_invalid_input_is_never_a_server_error(client, card):
    empty = [] if card in (SPARSE, SPARSE_TEXT) else [{}]
    for instance in (None, 1, "x", [], *empty, [[]], [None] * 6, {"x": 1}, [[[[1]]]], True):
        response = client.post("/predict", json={"instances": [instance]})
        assert response.status_code == 422, instance


def test_openapi_and_page_match_the_signature(client, card):
    document = client.get("/openapi.json").json
    rows = document["components"]["schemas"]["Request"]["properties"]["instances"]["items"]
    (row,) = [kind for kind in rows.get("anyOf", [rows]) if "properties" in kind or "$ref" in kind]
    if "$ref" in row:
        row = document["components"]["schemas"]["Instance"]
    assert list(row["properties"]) == [part.name for part in (*card.columns, *card.tensors)]
    needed = [column.name for column in card.columns if column.required]
    assert row["required"] == (needed or [tensor.name for tensor in card.tensors])
    (value, *_) = document["components"]["schemas"]["Answer"]["properties"].values()
    values = value["items"].get("properties", {card.outputs[0].name: value["items"]})
    types = {output.name: output.type for output in card.outputs}
    assert {name: one["type"] for name, one in values.items()} == types
    assert not re.search('"default": |"items": false', json.dumps(document["components"]))
    for path, kind, body in examples_of(client):
        response = client.post(path, data=body, content_type=kind)
        assert response.status_code == 200, (path, kind, response.text)
    assert client.get("/").status_code == 200


def test_metrics_count_by_class_and_output(client, card):
    predict(client, card.example)
    text = client.get("/metrics").text
    counted = [line for line in text.splitlines() if line.startswith("inference_predictions_total")]
    assert sum(float(line.rsplit(" ", 1)[1]) for line in counted) == sum(
        bool(output.classes) for output in card.outputs
    )
    if card is SEVERAL:
        assert any('output="sold"' in line for line in counted)


def test_card_of_the_previous_release_is_read():
    fields = {
        "name": "old",
        "dataset": "Iris",
        "trained_on": "2026-01-01",
        "metrics": {"accuracy": 0.9},
        "features": [{"name": "length", "minimum": 1.0, "maximum": 9.0, "example": 5.5}],
        "target": "species",
        "classes": ["a", "b"],
    }
    card = ModelCard.read(fields)
    assert card.is_matrix
    assert card.example == [5.5]
    assert card.outputs[0].type == "string"
    assert card.outputs[0].classes == ("a", "b")
    again = msgspec.json.decode(msgspec.json.encode(msgspec.structs.asdict(card)))
    assert ModelCard.read(again) == card


@only(MIXED)
@pytest.mark.parametrize("batching", ["on", "off"])
def test_predictor_may_refuse_a_value(card, tmp_path, monkeypatch, batching):
    client = make_app(card, tmp_path, monkeypatch, batching=batching).test_client()

    def refuse(self, inputs):
        raise InvalidValue("no such island", 0, "island")

    monkeypatch.setattr(Stub, "predict", refuse)
    detail, pointer = refusal(client, card.example)
    assert (detail, pointer) == ("instances[0].island: no such island", "/instances/0/island")


@only(MIXED)
@pytest.mark.parametrize("batching", ["on", "off"])
def test_predictor_error_is_logged_with_the_instance(card, tmp_path, monkeypatch, caplog, batching):
    client = make_app(card, tmp_path, monkeypatch, batching=batching).test_client()
    predict_well = Stub.predict

    def predict(self, inputs):
        if "Biscoe" in inputs["island"]:
            raise KeyError("of my own")
        return predict_well(self, inputs)

    monkeypatch.setattr(Stub, "predict", predict)
    instances = [card.example, changed(card, "island", "Biscoe"), card.example]
    response = client.post("/predict", json={"instances": instances})
    assert response.status_code == 500
    assert "of my own" not in response.text
    assert "KeyError: 'of my own'" in caplog.text
    assert "The predictor raises an error for instances[1]." in caplog.text
