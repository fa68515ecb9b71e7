"""Metrics of a model, measured as it will be served."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import accuracy_score, f1_score, mean_absolute_error, r2_score

from inference.predictor import Predictor
from inference.runtime.contract import keep
from inference.runtime.signature import ModelCard, Output, to_inputs
from training.dataset import Dataset


def evaluate(predictor: Predictor, data: Dataset) -> dict[str, float]:
    """Measure the model as it will be served, on labeled instances.

    The metric of a model trained without labels is the share of its smallest class.
    """
    card, instances = predictor.card, data.inputs()
    predictions = keep(card, predictor.predict(to_inputs(card, instances)), len(instances))
    predicted = [np.array(prediction.values) for prediction in predictions]
    actual = None if data.labels is None else data.labels.reshape(len(instances), -1).T
    return measure(card, actual, predicted)


def measure(
    card: ModelCard, actual: Sequence[NDArray[Any]] | None, predicted: Sequence[NDArray[Any]]
) -> dict[str, float]:
    """Compare predictions with the labels, if any; both have an array of shape (instances,) for each output."""
    metrics: dict[str, float] = {}
    labels = [None] * len(predicted) if actual is None else actual
    for output, truth, values in zip(card.outputs, labels, predicted, strict=True):
        several = f"{output.name}_" if len(card.outputs) > 1 else ""
        scores = score(output, truth, values)
        # Four significant digits, which a sample and the gate compare; four decimals would make a small error 0.
        metrics |= {f"{several}{name}": float(f"{value:.4g}") for name, value in scores.items()}
    return metrics


def score(output: Output, actual: NDArray[Any] | None, predicted: NDArray[Any]) -> dict[str, float]:
    """Return the metrics of one output."""
    if actual is None:
        _, counts = np.unique(predicted, return_counts=True)
        return {"smallest_share": counts.min() / len(predicted)}
    if output.classes:
        # The type without its length: the dtype of text would cut labels to the longest predicted class.
        actual = actual.astype(predicted.dtype.type)
        return {
            "accuracy": accuracy_score(actual, predicted),
            "f1_macro": f1_score(actual, predicted, average="macro"),
        }
    return {
        "r2": r2_score(actual, predicted),
        "mean_absolute_error": mean_absolute_error(actual, predicted),
    }


def describe_metrics(metrics: dict[str, float]) -> str:
    """Format metrics on one line."""
    return ", ".join(f"{name} {value:.4g}" for name, value in metrics.items())
