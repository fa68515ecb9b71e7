"""The model file: the card, and the weights of a linear scikit-learn model."""

from typing import Any

import msgspec
import numpy as np
from inference.predictor import ModelFile
from inference.runtime.signature import ModelCard, Output, Prediction
from training.dataset import Dataset


def infer_signature(model: Any, data: Dataset) -> dict[str, Any]:
    """Return the card's description of inputs and output."""
    classes = tuple(getattr(model, "classes_", np.array([])).tolist())
    output = Output(name=data.targets[0], type="integer" if classes else "number", classes=classes)
    return {"columns": (), "tensors": data.describe_tensors(), "outputs": (output,)}


def export(model: Any, card: ModelCard, data: Dataset) -> bytes:
    """Return the model file's bytes."""
    weights, intercepts = np.atleast_2d(model.coef_), np.atleast_1d(model.intercept_)
    return msgspec.json.encode(
        ModelFile(
            card=msgspec.structs.asdict(card),
            weights=weights.tolist(),
            intercepts=intercepts.tolist(),
        )
    )


def expect(model: Any, card: ModelCard, data: Dataset, instances: Any) -> tuple[Prediction, ...]:
    """Return the estimator's own answers."""
    rows = np.reshape(instances, (len(instances), -1))
    probabilities = model.predict_proba(rows) if card.outputs[0].classes else None
    return (Prediction(model.predict(rows).tolist(), probabilities),)
