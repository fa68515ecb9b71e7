"""A fitted scikit-learn estimator as an ONNX model that describes itself."""

import msgspec
import numpy as np
from onnx import ModelProto
from skl2onnx import to_onnx
from sklearn.base import BaseEstimator, is_classifier

from inference.predictor import Predictor
from inference.runtime.signature import ModelCard
from training.dataset import Dataset

AGREEMENT = 0.99


def export(model: BaseEstimator, card: ModelCard, data: Dataset) -> bytes:
    """Convert ``model`` to ONNX, with the fields of ``card`` as its metadata.

    Raises ValueError when skl2onnx cannot convert the model, or when the converted one answers the
    rows of ``data`` otherwise than scikit-learn does.
    """
    onnx = convert(model, card.name, data)
    for name, value in msgspec.structs.asdict(card).items():
        onnx.metadata_props.add(key=name, value=msgspec.json.encode(value).decode())
    content: bytes = onnx.SerializeToString()
    check(model, content, data)
    return content


def convert(model: BaseEstimator, name: str, data: Dataset) -> ModelProto:
    """Convert ``model`` to a graph with the outputs that ``Predictor`` knows."""
    rows = data.rows.astype(np.float32)
    outputs = [("values", None), ("probabilities", None)][: 1 + is_classifier(model)]
    # Probabilities as an array, not as a list of dictionaries; some estimators have no such choice.
    options = {id(model): {"zipmap": False}} if is_classifier(model) else None
    onnx: ModelProto
    try:
        try:
            onnx = to_onnx(model, rows[:1], name=name, options=options, final_types=outputs)
        except NameError:
            onnx = to_onnx(model, rows[:1], name=name, final_types=outputs)
    except Exception as error:
        raise ValueError(f"skl2onnx cannot convert {model}: {error}") from error
    if is_classifier(model) and not hasattr(model, "predict_proba"):
        del onnx.graph.output[1]
    # Otherwise in the order of a set, which changes from run to run.
    onnx.opset_import.sort(key=lambda opset: opset.domain)
    return onnx


def check(model: BaseEstimator, content: bytes, data: Dataset) -> None:
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
