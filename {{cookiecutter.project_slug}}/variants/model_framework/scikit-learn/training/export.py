"""A fitted scikit-learn estimator as an ONNX model that describes itself."""

import msgspec
import numpy as np
from skl2onnx import to_onnx
from sklearn.base import is_classifier
from sklearn.pipeline import Pipeline

from inference.card import ModelCard
from inference.predictor import Predictor
from training.dataset import Dataset

AGREEMENT = 0.99


def export(model: Pipeline, card: ModelCard, data: Dataset) -> bytes:
    """Convert ``model`` to ONNX, with the fields of ``card`` as its metadata.

    Raises ValueError when the converted model answers the rows of ``data`` otherwise than
    scikit-learn does.
    """
    rows = data.rows.astype(np.float32)
    has_probabilities = is_classifier(model) and hasattr(model, "predict_proba")
    onnx = to_onnx(
        model,
        rows[:1],
        name=card.name,
        options={id(model): {"zipmap": False}} if has_probabilities else None,
        final_types=[("values", None), ("probabilities", None)][: 1 + is_classifier(model)],
    )
    if is_classifier(model) and not has_probabilities:
        del onnx.graph.output[1]
    for name, value in msgspec.structs.asdict(card).items():
        onnx.metadata_props.add(key=name, value=msgspec.json.encode(value).decode())
    content: bytes = onnx.SerializeToString()
    check(model, content, data)
    return content


def check(model: Pipeline, content: bytes, data: Dataset) -> None:
    """Hold the ONNX model's answers against scikit-learn's."""
    rows = data.rows.astype(np.float32)
    served = np.array(Predictor.load(content).predict(rows).values)
    if data.classes:
        agree = served == np.array(data.classes)[model.predict(rows)]
    else:
        expected = model.predict(rows)
        agree = np.isclose(served, expected, rtol=1e-3, atol=1e-3 * np.std(expected))
    if agree.mean() < AGREEMENT:
        raise ValueError(
            f"The ONNX model agrees with scikit-learn on {agree.mean():.1%} of the rows only: "
            "scale the features, or use an estimator that tolerates float32"
        )
