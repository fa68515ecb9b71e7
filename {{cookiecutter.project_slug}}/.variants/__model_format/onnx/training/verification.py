"""Compare the converted model with the original: values and probabilities of each instance."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from inference.predictor import Predictor
from inference.runtime.contract import keep
from inference.runtime.signature import ModelCard, Predictions, Scalar, to_inputs
from training.dataset import Dataset

# The share of instances that may disagree, and the tolerance for probabilities and numbers.
DISAGREE = 0.005
TOLERANCE = 1e-3
# 16-bit numbers have three digits.
HALF_TOLERANCE = 1e-2
INSTANCES_TO_CHECK = 2000


class Converted(NamedTuple):
    """A converted model file, the number of instances compared with the framework, and how closely they agreed."""

    content: bytes
    instances: int
    agreed: int
    difference: float


def answer(predictor: Predictor, instances: Sequence[Any]) -> Predictions:
    """Return the predictions of the service."""
    card = predictor.card
    return keep(card, predictor.predict(to_inputs(card, instances)), len(instances))


def other_order(model: Any, card: ModelCard, content: bytes, data: Dataset) -> list[Scalar]:
    """Return the order of the classes that fits the labels, if they fit the indices of ``model`` in another one."""
    (output, *more) = card.outputs
    if more or output.type != "string" or isinstance(getattr(model, "classes_", [0])[0], str):
        return []
    predicted = pd.Series(answer(Predictor.load(content), data.inputs())[0].values, dtype=object)
    likely = pd.Series(data.labels).groupby(predicted).agg(lambda labels: labels.mode()[0])
    found = [likely.get(name) for name in output.classes]
    return found if set(found) == set(output.classes) and found != [*output.classes] else []


def agreement(
    card: ModelCard, served: Predictions, expected: Predictions, tolerance: float = TOLERANCE
) -> NDArray[np.bool_]:
    """Return which instances agree in every output: an array of shape (instances,)."""
    agree = np.ones(len(served[0].values), bool)
    for output, mine, its in zip(card.outputs, served, expected, strict=True):
        if output.classes or output.type != "number":
            agree &= [a == b for a, b in zip(mine.values, its.values, strict=True)]
        else:
            spread = tolerance * max(float(np.std(np.array(its.values, float))), 1e-6)
            agree &= np.isclose(mine.values, its.values, rtol=tolerance, atol=spread)
        if mine.probabilities is not None and its.probabilities is not None:
            agree &= (np.abs(mine.probabilities - its.probabilities) <= tolerance).all(axis=1)
    return agree


def largest_difference(
    served: Predictions, expected: Predictions, agree: NDArray[np.bool_]
) -> float:
    """Return the largest difference in a number or probability among instances that agree."""
    pairs = []
    for mine, its in zip(served, expected, strict=True):
        if mine.probabilities is not None and its.probabilities is not None:
            pairs.append((mine.probabilities, its.probabilities))
        elif isinstance(mine.values[0], float):
            pairs.append((np.array(mine.values), np.array(its.values, float)))
    differences = [np.abs(a - b)[agree].max() for a, b in pairs if agree.any()]
    return max(map(float, differences), default=0.0)
