"""The model file: the card and what ``fit`` found, as JSON."""

from typing import Any

import msgspec
import numpy as np

from inference.predictor import ModelFile, Parameters
from inference.runtime.signature import ModelCard, Output
from training.dataset import Dataset


def infer_signature(model: Parameters, data: Dataset) -> dict[str, Any]:
    """What the model takes and predicts, as fields of the model card."""
    classes = tuple(np.unique(data.labels).tolist())
    output = Output(name=data.targets[0], type="string", classes=classes)
    columns, tensors = data.describe_columns(), data.describe_tensors()
    return {"columns": columns, "tensors": tensors, "outputs": (output,)}


def export(model: Parameters, card: ModelCard, data: Dataset) -> bytes:
    """Encode the model for ``Predictor.load``; ``data`` is there to check the result with."""
    return msgspec.json.encode(ModelFile(card=msgspec.structs.asdict(card), parameters=model))
