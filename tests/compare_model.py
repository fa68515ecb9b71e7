"""Run in a generated project: train ``training/train.py``, serve it, and compare every endpoint with the framework.

``check_doors`` makes the same comparison for any model.
"""

import csv
import io
import json

import numpy as np
from inference.app import create_app
from inference.config import Settings
from inference.formats.csv import Cells
from inference.formats.tensors import pack
from inference.http.protocol import inputs_of
from inference.runtime.signature import to_inputs
from msgspec.structs import replace
from training import export
from training.__main__ import HELD_OUT, main
from training.train import SEED, fit, load_data

ROWS = 100
# Relative and absolute tolerance.
TOLERANCE = (1e-3, 1e-3)
DTYPES = {"FP32": "<f4", "FP64": "<f8", "INT32": "<i4", "INT64": "<i8", "BOOL": "?"}


def by_output(card, predictions):
    """Return each instance's values and probabilities, grouped by output."""
    return {
        output.name: (values, probabilities)
        for output, (values, probabilities) in zip(card.outputs, predictions, strict=True)
    }


def same(values, expected, is_exact):
    if is_exact or isinstance(expected[0], str):
        assert list(values) == list(expected), (values, expected)
    else:
        np.testing.assert_allclose(np.array(values, float), np.array(expected, float), *TOLERANCE)


def check_json(client, card, instances, expected, kind="/predict"):
    answer = client.post(kind, json={"instances": instances})
    assert answer.status_code == 200, answer.text
    several = len(card.outputs) > 1
    for output in card.outputs:
        values, probabilities = expected[output.name]
        mine = [p[output.name] if several else p for p in answer.json["predictions"]]
        same(mine, values, output.classes)
        assert {type(value) for value in mine} <= {type(values[0]), int, float}
        if probabilities is not None:
            mine = [p[output.name] if several else p for p in answer.json["probabilities"]]
            same([list(p.values()) for p in mine], probabilities, False)


def check_named(client, card, instances, expected):
    names = [column.name for column in card.columns]
    named = [
        {name: value for name, value in zip(names, row, strict=True) if value is not None}
        for row in instances
    ]
    check_json(client, card, named, expected)


def check_csv(client, card, instances, expected):
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(column.name for column in Cells(card).columns)
    for row in instances:
        values = np.ravel(row).tolist() if card.tensors else row
        writer.writerow(json.dumps(value) if isinstance(value, bool) else value for value in values)
    headers = {"Content-Type": "text/csv", "Accept": "text/csv"}
    answer = client.post("/invocations", data=text.getvalue().encode(), headers=headers)
    assert answer.status_code == 200, answer.text
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    for output in card.outputs:
        values, _ = expected[output.name]
        mine = [row[output.name] for row in rows]
        if output.type == "string":
            same(mine, values, True)
        else:
            same(list(map(json.loads, mine)), values, output.classes)


def check_tensors(client, card, instances, expected, is_binary):
    tensors, raw = [], b""
    arrays = to_inputs(card, instances)
    for wanted in inputs_of(card):
        values = arrays[wanted.name]
        tensor = {"name": wanted.name, "shape": values.shape, "datatype": wanted.datatype}
        if is_binary:
            is_text = wanted.datatype == "BYTES"
            part = pack(values) if is_text else values.astype(DTYPES[wanted.datatype]).tobytes()
            tensor["parameters"] = {"binary_data_size": len(part)}
            raw += part
        else:
            # JSON has no NaN.
            tensor["data"] = np.where(values == values, values, None).tolist()
        tensors.append(tensor)
    head = json.dumps({"inputs": tensors}).encode()
    headers = {"Inference-Header-Content-Length": str(len(head))}
    answer = client.post(f"/v2/models/{card.name}/infer", data=head + raw, headers=headers)
    assert answer.status_code == 200, answer.text
    outputs = {output["name"]: output["data"] for output in answer.json["outputs"]}
    for output in card.outputs:
        name = "predictions" if len(card.outputs) == 1 else output.name
        same(outputs[name], expected[output.name][0], output.classes)


def predict(model, card, data, instances):
    """Return the framework's own predictions."""
    module = export.framework_of(model) if hasattr(export, "framework_of") else export
    if hasattr(module, "expect"):
        return module.expect(model, card, data, instances)
    from training.frameworks.heads import answer_by
    from training.frameworks.onnx import ask

    original = module.to_original(model, data) if hasattr(module, "to_original") else model
    return answer_by(*ask(original, card, instances))


def check_doors(app, instances, predictions):
    """Send the instances to every endpoint; each must answer what the framework predicts."""
    client, card = app.test_client(), app.extensions["service"].engine.card
    if len(card.tensors) == 1 and isinstance(instances[0], dict):
        (name,) = instances[0]
        instances = [instance[name] for instance in instances]
    expected = by_output(card, predictions)
    check_json(client, card, instances, expected)
    check_json(client, card, instances, expected, "/invocations")
    if card.columns:
        check_named(client, card, instances, expected)
    if card.columns or [-1 in tensor.shape for tensor in card.tensors] == [False]:
        check_csv(client, card, instances, expected)
    check_tensors(client, card, instances, expected, False)
    check_tensors(client, card, instances, expected, True)
    assert client.get("/").status_code == 200
    document = client.get("/openapi.json").json
    content = document["paths"]["/invocations"]["post"]["requestBody"]["content"]
    if "text/csv" in content:
        body = content["text/csv"]["example"].encode()
        answer = client.post("/invocations", data=body, content_type="text/csv")
        assert answer.status_code == 200


if __name__ == "__main__":
    main()
    app = create_app(replace(Settings(), max_body_bytes=2**22))
    card = app.extensions["service"].engine.card
    data = load_data()
    fitted, _ = data.split(HELD_OUT, SEED)
    instances = data.inputs()[:ROWS]
    model = fit(fitted)
    check_doors(app, instances, predict(model, card, data, instances))
    print(f"{len(instances)} instances agree")
