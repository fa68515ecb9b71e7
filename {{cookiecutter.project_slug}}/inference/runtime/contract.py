"""What the service relies on: checked once of the model at the start, and kept of its answers."""

import math
from typing import Any, cast

import numpy as np
from numpy import ndarray
from numpy.typing import ArrayLike

from inference.errors import InvalidInstances
from inference.runtime.signature import ModelCard, Predict, Prediction

# What JSON, CSV and metrics write without asking.
PLAIN = frozenset((str, float, int))


def check_card(card: ModelCard) -> None:
    """Raise ValueError where the names of a model card cannot be served."""
    features = [feature.name for feature in card.features]
    if not features:
        raise ValueError("the card names no feature")
    for kind, names in (("feature", features), ("class", card.classes), ("target", [card.target])):
        for place, name in enumerate(names):
            # A JSON decoder finds a feature by the bytes of its name.
            if not name.strip() or not name.isprintable() or not {'"', "\\"}.isdisjoint(name):
                raise ValueError(
                    f"the name of {kind} {place} is {name!r}: one is not blank and has no "
                    "control or invisible character, quote or backslash"
                )
            if name in names[:place]:
                raise ValueError(f"two of the card's names of a {kind} are {name!r}")
    if not card.name.isprintable() or not card.name.isascii() or not card.name:
        raise ValueError(f"the model's name is {card.name!r}: HTTP headers carry ASCII")


def check_example(card: ModelCard, predict: Predict) -> bool:
    """Whether the model gives probabilities: it answers its card's example, as one row and as two.

    Raises ValueError where the answer does not fit the card, and what the model raises.
    """
    example = np.array([[feature.example for feature in card.features]], np.float32)
    given: Any = predict(example)
    if not isinstance(given, tuple) or len(given) != 2:
        raise ValueError(f"predict gives a {type(given).__name__}, not a Prediction")
    check_prediction(card, check_finite(keep(Prediction(*given), 1)), 1)
    try:
        prediction = keep(predict(np.repeat(example, 2, axis=0)), 2)
    except Exception as error:
        # A graph of a fixed batch size says so in words of its own.
        raise ValueError(
            "the model answers one row and not two: export it with a free first dimension, "
            f"the rows ({error})"
        ) from error
    check_prediction(card, prediction, 2)
    return prediction.probabilities is not None


def check_prediction(card: ModelCard, prediction: Prediction, rows: int) -> None:
    """Raise ValueError where the answer for ``rows`` rows does not fit the card."""
    values, probabilities = prediction
    for value in values:
        if card.classes and value not in card.classes:
            raise ValueError(f"the model answers {value!r}, its card has {list(card.classes)}")
        if not card.classes and type(value) not in (int, float):
            raise ValueError(f"the model answers {value!r}, its card has no classes")
    if probabilities is None:
        return
    if probabilities.dtype.kind != "f":
        raise ValueError(f"the model's probabilities are {probabilities.dtype}, not floats")
    if not card.classes:
        raise ValueError("the model gives probabilities, its card has no classes")
    if probabilities.shape != (rows, len(card.classes)):
        raise ValueError(
            f"the model gives probabilities of shape {probabilities.shape} for {rows} row(s), "
            f"its card has {len(card.classes)} classes"
        )


def keep(prediction: Prediction, rows: int) -> Prediction:
    """A prediction as the rest of the service takes it.

    Its values are a list of str, int or float, one for each of ``rows`` rows; probabilities are an array.
    NumPy's arrays and scalars, and lists of probabilities, become that; ValueError where the number of
    values is another.
    """
    values, probabilities = prediction
    # The usual case costs no more than these looks; a list is taken to be of one type.
    if (
        type(values) is list
        and len(values) == rows
        and type(values[0]) in PLAIN
        and (probabilities is None or type(probabilities) is ndarray)
    ):
        return prediction
    given: Any = values.ravel() if isinstance(values, ndarray) else values
    # item() of each: tolist() would keep the scalars in an array of objects.
    values = [value.item() if isinstance(value, np.generic) else value for value in given]
    if len(values) != rows:
        raise ValueError(f"the model gives {len(values)} values for {rows} row(s)")
    if probabilities is not None:
        probabilities = np.asarray(probabilities, np.float64)
    return Prediction(values, probabilities)


def check_finite(prediction: Prediction) -> Prediction:
    """Return the prediction, or raise InvalidInstances, which names the first row without a finite answer."""
    values, probabilities = prediction
    # A sum is not finite where a number is not: cheaper than to ask each.
    if probabilities is not None:
        numbers = probabilities.ravel()
        if not math.isfinite(numbers.dot(numbers)):
            find_infinite(probabilities, len(values))
    elif type(values[0]) is not str and not math.isfinite(sum(cast(Any, values))):
        find_infinite(values, len(values))
    return prediction


def find_infinite(numbers: ArrayLike, rows: int) -> None:
    """Raise InvalidInstances, which names the first of ``rows`` that has no finite answer, if any."""
    is_finite = np.isfinite(numbers).reshape(rows, -1).all(axis=1)
    if not is_finite.all():
        row = int(np.argmin(is_finite))
        raise InvalidInstances(
            f"instances[{row}]: the model has no finite answer for it", f"/instances/{row}"
        )
