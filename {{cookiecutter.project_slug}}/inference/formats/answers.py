"""Predictions in JSON."""

from collections.abc import Sequence
from typing import Any

import msgspec

from inference.runtime.signature import ModelCard, Prediction, Predictions, Scalar


class Answer(msgspec.Struct, omit_defaults=True):
    """A prediction for each instance, and its probabilities by class if the model returns them."""

    predictions: list[Scalar | dict[str, Scalar]]
    probabilities: list[dict[str, float | dict[str, float]]] = []


def answer(card: ModelCard, classes: Sequence[Sequence[str]], predictions: Predictions) -> Answer:
    """Return the predictions with probabilities by class, and by output if there are several."""
    if len(predictions) == 1:
        (prediction,) = predictions
        return Answer(prediction.values, by_class(classes[0], prediction))  # type: ignore[arg-type]
    names = [output.name for output in card.outputs]
    values = zip(*(prediction.values for prediction in predictions), strict=True)
    given = {
        name: by_class(its_classes, prediction)
        for name, its_classes, prediction in zip(names, classes, predictions, strict=True)
        if prediction.probabilities is not None
    }
    probabilities: list[Any] = [
        dict(zip(given, row, strict=True)) for row in zip(*given.values(), strict=True)
    ]
    return Answer([dict(zip(names, row, strict=True)) for row in values], probabilities)


def by_class(classes: Sequence[str], prediction: Prediction) -> list[dict[str, float]]:
    """Return the probabilities of each instance by class, or an empty list if the model returns none."""
    if prediction.probabilities is None:
        return []
    return [dict(zip(classes, row, strict=True)) for row in prediction.probabilities.tolist()]
