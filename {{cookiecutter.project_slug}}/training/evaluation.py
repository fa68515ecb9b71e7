"""How good a model is, measured as it will be served."""

import numpy as np
from sklearn.metrics import accuracy_score, f1_score, mean_absolute_error, r2_score

from inference.predictor import Predictor
from inference.runtime.contract import keep
from inference.runtime.signature import to_inputs
from training.dataset import Dataset


def evaluate(predictor: Predictor, data: Dataset) -> dict[str, float]:
    """Measure the model as it will be served, on instances whose labels are known.

    A model that learned without labels is told by how it parts them: the share of its least class.
    """
    card, instances = predictor.card, data.inputs()
    predictions = keep(card, predictor.predict(to_inputs(card, instances)), len(instances))
    metrics: dict[str, float] = {}
    for place, (output, prediction) in enumerate(zip(card.outputs, predictions, strict=True)):
        predicted = np.array(prediction.values)
        several = f"{output.name}_" if len(card.outputs) > 1 else ""
        if data.labels is None:
            _, counts = np.unique(predicted, return_counts=True)
            scores = {"smallest_share": counts.min() / len(predicted)}
        elif output.classes:
            actual = data.labels.reshape(len(instances), -1)[:, place].astype(predicted.dtype)
            scores = {
                "accuracy": accuracy_score(actual, predicted),
                "f1_macro": f1_score(actual, predicted, average="macro"),
            }
        else:
            actual = data.labels.reshape(len(instances), -1)[:, place]
            scores = {
                "r2": r2_score(actual, predicted),
                "mean_absolute_error": mean_absolute_error(actual, predicted),
            }
        metrics |= {f"{several}{name}": round(float(score), 4) for name, score in scores.items()}
    return metrics


def describe_metrics(metrics: dict[str, float]) -> str:
    """Metrics as a line has them."""
    return ", ".join(f"{name} {value:.4g}" for name, value in metrics.items())
