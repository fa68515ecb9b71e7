"""The files of the model: the card and the result of ``fit``, as JSON."""

from typing import Any

import numpy as np
from msgspec.json import encode

from inference.runtime.signature import ModelCard, Output
from training.dataset import Dataset


def infer_signature(model: object, data: Dataset) -> dict[str, Any]:
    """Return the inputs and outputs of the model, as fields of the model card."""
    classes = tuple(np.unique(data.labels).tolist())
    output = Output(name=data.targets[0], type="string", classes=classes)
    columns, tensors = data.describe_columns(), data.describe_tensors()
    return {"columns": columns, "tensors": tensors, "outputs": (output,)}


def export(model: object, card: ModelCard, data: Dataset) -> dict[str, bytes]:
    """Return the files that ``Predictor.load`` reads, by name; ``data`` may be used to check the result."""
    return {"card.json": encode(card), "parameters.json": encode(model)}
