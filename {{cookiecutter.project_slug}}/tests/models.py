"""Models with every kind of signature, independent of the project's model, and services for them."""

import json

import numpy as np

from inference.app import create_app
from inference.config import Settings
from inference.predictor import Predictor
from inference.runtime.signature import Column, ModelCard, Output, Prediction, Tensor, count
from training.output import write_model

# Limits small enough to reach in tests.
LIMITS = {"max_rows": 8, "max_body_bytes": 65_536}


def make_card(name, **parts):
    """Return a card with these columns or tensors, and outputs."""
    return ModelCard(name=name, dataset="none", trained_on="2026-01-01", metrics={}, **parts)


SPECIES = Output(name="species", type="string", classes=("setosa", "versicolor", "virginica"))
NUMBERS = make_card(
    "numbers",
    columns=tuple(
        Column(name=name, minimum=0.0, maximum=9.0, example=example)
        for name, example in (("length", 5.5), ("width", 3.25), ("height: cm", 1.0), ("a/b~c", 0.5))
    ),
    outputs=(SPECIES,),
)
GAPS = make_card(
    "gaps",
    columns=(Column(name="age", required=False, example=28.0), Column(name="fare", example=7.25)),
    outputs=(Output(name="price"),),
)
# All columns are optional.
SPARSE = make_card(
    "sparse",
    columns=tuple(Column(name=name, required=False, example=1.0) for name in ("a", "b")),
    outputs=(SPECIES,),
)
SPARSE_TEXT = make_card(
    "sparse-text",
    columns=(*SPARSE.columns, Column(name="c", type="string", required=False, example="x")),
    outputs=(SPECIES,),
)
MIXED = make_card(
    "mixed",
    columns=(
        Column(name="island", type="string", categories=("Biscoe", "Dream"), example="Dream"),
        Column(
            name="port", type="string", categories=("C", "Q, S"), is_closed=True, example="Q, S"
        ),
        Column(name="age", required=False, minimum=0.0, maximum=99.0, example=28.0),
        Column(name="note", type="string", required=False, example="it's: a \u201cnote\u201d"),
        Column(name="member", type="boolean", example=True),
        Column(name="class", type="integer", minimum=1, maximum=3, example=3),
    ),
    outputs=(Output(name="survived", type="boolean", classes=(False, True)),),
)
HARD_NAMES = make_card(
    "hard-names",
    columns=(
        Column(name='say "when", please', example=1.0),
        Column(name="back\\slash", example=2.0),
        Column(name="[0]", type="string", example="x"),
        Column(name=" blank ", type="boolean", example=False),
        Column(name="Länge, in cm", required=False, example=3.0),
    ),
    outputs=(Output(name="größe, cm", type="integer", classes=(5, 15, 25)),),
)
SEVERAL = make_card(
    "several",
    columns=NUMBERS.columns,
    outputs=(
        SPECIES,
        Output(name="price"),
        Output(name="sold", type="boolean", classes=(False, True)),
    ),
)
IMAGE = make_card(
    "image",
    tensors=(Tensor(name="pixels", shape=(2, 3), example=[[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]),),
    outputs=(Output(name="digit", type="integer", classes=tuple(range(10))),),
)
TENSORS = make_card(
    "tensors",
    tensors=(
        Tensor(name="tokens", datatype="INT64", shape=(-1,), example=[7, 8, 9]),
        Tensor(name="words", datatype="BYTES", shape=(2,), example=["one", "two"]),
        Tensor(name="is_new", datatype="BOOL", shape=(), example=True),
    ),
    outputs=(Output(name="score"),),
)
CARDS = (NUMBERS, GAPS, SPARSE, SPARSE_TEXT, MIXED, HARD_NAMES, SEVERAL, IMAGE, TENSORS)


class Stub:
    """Predict from the sum of all values of an instance, so that a value lost on the way shows."""

    may_block = False

    def __init__(self, card):
        self.card = card

    def predict(self, inputs):
        sums = [
            sum(weigh(place, array[row]) for place, array in enumerate(inputs.values(), start=1))
            for row in range(count(inputs))
        ]
        predictions = {output.name: answer(output, sums) for output in self.card.outputs}
        return predictions if len(predictions) > 1 else next(iter(predictions.values()))


def weigh(place, value):
    """Return a number for one input that depends on its value and its position."""
    total = 0.0
    for index, item in enumerate(np.ravel(np.array(value, object)), start=1):
        number = sum(map(ord, item)) if isinstance(item, str) else 77 if item != item else item
        total += index * float(number)
    return place * total


def answer(output, sums):
    """Return the prediction of an output."""
    if not output.classes:
        return Prediction(sums)
    places = [int(total) % len(output.classes) for total in sums]
    probabilities = np.full((len(sums), len(output.classes)), 0.125)
    probabilities[range(len(sums)), places] = 0.5
    return Prediction([output.classes[place] for place in places], probabilities)


def make_app(card, folder, monkeypatch, **settings):
    """Return a service with a stub for this signature."""
    monkeypatch.setattr(Predictor, "load", lambda content: Stub(card))
    model = write_model(folder / "model", card.name.encode())
    return create_app(Settings(model_path=str(model.path), **(LIMITS | settings)))


def examples_of(client):
    """Yield path, media type and body of each example in a service's documentation."""
    for path, operations in client.get("/openapi.json").json["paths"].items():
        request = operations.get("post", {}).get("requestBody", {"content": {}})
        for kind, content in request["content"].items():
            body = content["example"]
            yield path, kind, body if isinstance(body, str) else json.dumps(body)


def metric(client, name, /, **labels):
    """Return the value of the first metric with these labels."""
    for line in client.get("/metrics").text.splitlines():
        if line.startswith(name) and all(f'{k}="{v}"' in line for k, v in labels.items()):
            return float(line.rsplit(" ", 1)[1])
    raise KeyError(name)
