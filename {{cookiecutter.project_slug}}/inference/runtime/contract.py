"""The contract between service and model: checked once at startup, and enforced for every answer."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
from numpy import ndarray
from numpy.typing import ArrayLike

from inference.errors import InvalidInstances
from inference.runtime.signature import (
    DATATYPES,
    ModelCard,
    Output,
    Predict,
    Prediction,
    Predictions,
    Scalar,
    to_inputs,
)

# Types that can be written to JSON, CSV and metrics unchanged.
PLAIN = frozenset((str, float, int, bool))
# The Python types of each value type.
TYPES: dict[str, tuple[type, ...]] = {
    "number": (float, int),
    "integer": (int,),
    "boolean": (bool,),
    "string": (str,),
}


def check_card(card: ModelCard) -> None:
    """Raise ValueError if the signature in a model card cannot be served."""
    if bool(card.columns) == bool(card.tensors):
        raise ValueError("the card must name either columns or tensors")
    if not card.outputs:
        raise ValueError("the card names no output")
    for column in card.columns:
        if column.example is not None and type(column.example) not in TYPES[column.type]:
            raise ValueError(f"the example of {column.name!r} is {column.example!r}: {column.type}")
        if column.example is None and column.required:
            raise ValueError(f"column {column.name!r} has no example")
        if not column.required and column.type in ("integer", "boolean"):
            raise ValueError(f"column {column.name!r} may be missing: only numbers and text may")
    for tensor in card.tensors:
        shape = np.array(tensor.example, DATATYPES[tensor.datatype]).shape
        fits = len(shape) == len(tensor.shape) and all(
            size in (-1, given) for size, given in zip(tensor.shape, shape, strict=True)
        )
        if not fits:
            raise ValueError(
                f"the example of {tensor.name!r} has shape {list(shape)}, not {list(tensor.shape)}"
            )
    for output in card.outputs:
        check_names(f"class of {output.name!r}", output.classes)
    check_names("column", [column.name for column in card.columns])
    check_names("tensor", [tensor.name for tensor in card.tensors])
    check_names("output", [output.name for output in card.outputs])
    if not card.name.isprintable() or not card.name.isascii() or not card.name:
        raise ValueError(f"the model's name is {card.name!r}: HTTP headers carry ASCII")


def check_names(kind: str, names: Sequence[Scalar]) -> None:
    """Raise ValueError for a name that is blank, duplicated, or has invisible characters."""
    for place, name in enumerate(names):
        if type(name) is str and not (name.strip() and name.isprintable()):
            raise ValueError(
                f"the name of {kind} {place} is {name!r}: it must not be blank, or contain control or "
                "invisible characters"
            )
        if name in names[:place]:
            raise ValueError(f"the card has a duplicate {kind}: {name!r}")


def check_example(card: ModelCard, predict: Predict) -> tuple[bool, ...]:
    """Predict the card's example, as one row and as two; return, for each output, whether it has probabilities.

    Raises ValueError if the answer does not match the card, and whatever the model raises.
    """
    given: Any = predict(to_inputs(card, [card.example]))
    if not isinstance(given, tuple | Mapping) or (isinstance(given, tuple) and len(given) != 2):
        raise ValueError(f"predict gives a {type(given).__name__}, not a Prediction")
    predictions = check_finite(keep(card, given, 1))
    check_predictions(card, predictions, 1)
    try:
        twice = keep(card, predict(to_inputs(card, [card.example, card.example])), 2)
    except Exception as error:
        # A graph with a fixed batch size raises an error of its own.
        raise ValueError(
            "the model answers one row and not two: export it with a free first dimension, "
            f"the rows ({error})"
        ) from error
    check_predictions(card, twice, 2)
    return tuple(prediction.probabilities is not None for prediction in predictions)


def check_predictions(card: ModelCard, predictions: Predictions, rows: int) -> None:
    """Raise ValueError if the answer for ``rows`` instances does not match the card."""
    for output, (values, probabilities) in zip(card.outputs, predictions, strict=True):
        classes = output.classes
        of = f" for {output.name!r}" if len(card.outputs) > 1 else ""
        for value in values:
            if type(value) not in TYPES[output.type]:
                raise ValueError(f"the model answers {value!r}{of}, its card says {output.type}")
            if classes and value not in classes:
                raise ValueError(f"the model answers {value!r}{of}, its card has {list(classes)}")
        if probabilities is None:
            continue
        if probabilities.dtype.kind != "f":
            raise ValueError(f"the model's probabilities{of} are {probabilities.dtype}, not floats")
        if not classes:
            raise ValueError(f"the model gives probabilities{of}, its card has no classes")
        if probabilities.shape != (rows, len(classes)):
            raise ValueError(
                f"the model gives probabilities of shape {probabilities.shape}{of} for {rows} "
                f"row(s), its card has {len(classes)} classes"
            )


def keep(card: ModelCard, answer: Any, rows: int) -> Predictions:
    """Normalize an answer for the rest of the service: one prediction for each output of the card.

    Raises ValueError if an output is missing or has the wrong number of values.
    """
    if isinstance(answer, tuple):
        if len(card.outputs) > 1:
            raise ValueError(f"the model gives one output, its card has {len(card.outputs)}")
        prediction = answer if type(answer) is Prediction else Prediction(*answer)
        return (to_plain(card.outputs[0], prediction, rows),)
    missing = [output.name for output in card.outputs if output.name not in answer]
    if missing:
        raise ValueError(f"the model gives no output {missing[0]!r}")
    return tuple(to_plain(output, answer[output.name], rows) for output in card.outputs)


def to_plain(output: Output, prediction: Prediction, rows: int) -> Prediction:
    """Return a prediction whose values are a list of built-in types, one for each of ``rows`` instances.

    Converts NumPy arrays and scalars, and lists of probabilities.
    """
    values, probabilities = prediction
    # The usual case costs only these checks; a list is assumed to have a single type.
    if (
        type(values) is list
        and len(values) == rows
        and type(values[0]) in PLAIN
        and (probabilities is None or type(probabilities) is ndarray)
    ):
        return prediction
    given: Any = values.ravel() if isinstance(values, ndarray) else values
    # Call item() on each: tolist() would leave NumPy scalars in an array of objects.
    values = [value.item() if isinstance(value, np.generic) else value for value in given]
    if len(values) != rows:
        raise ValueError(
            f"the model gives {len(values)} values of {output.name!r} for {rows} row(s)"
        )
    if probabilities is not None:
        probabilities = np.asarray(probabilities, np.float64)
    return Prediction(values, probabilities)


def check_finite(predictions: Predictions) -> Predictions:
    """Return the predictions; raise InvalidInstances, naming the first row, if an answer is not finite."""
    for values, probabilities in predictions:
        # A sum is not finite if any number in it is not; this is cheaper than checking each.
        if probabilities is not None:
            numbers = probabilities.ravel()
            if not math.isfinite(numbers.dot(numbers)):
                find_infinite(probabilities, len(values))
        elif type(values[0]) is not str and not math.isfinite(sum(cast(Any, values))):
            find_infinite(values, len(values))
    return predictions


def find_infinite(numbers: ArrayLike, rows: int) -> None:
    """Raise InvalidInstances, naming the first of ``rows`` without a finite answer, if there is one."""
    is_finite = np.isfinite(numbers).reshape(rows, -1).all(axis=1)
    if not is_finite.all():
        row = int(np.argmin(is_finite))
        raise InvalidInstances(
            f"instances[{row}]: the model has no finite answer for it", f"/instances/{row}"
        )
