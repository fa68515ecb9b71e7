"""The model card: what a model file says about itself."""

from collections.abc import Callable
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray


class Feature(msgspec.Struct, frozen=True):
    """One input of the model, with its range and a typical value in the training data."""

    name: str
    minimum: float
    maximum: float
    example: float


class ModelCard(msgspec.Struct, frozen=True, kw_only=True):
    """The signature of a model and where it comes from.

    ``classes`` is empty for a model that predicts a number; ``trained_on`` is an ISO 8601 date.
    """

    name: str
    dataset: str
    trained_on: str
    metrics: dict[str, float]
    features: tuple[Feature, ...]
    target: str
    classes: tuple[str, ...] = ()


class Prediction(NamedTuple):
    """What a model answers for a batch of rows.

    ``values`` holds a class name or a number for each row; ``probabilities`` has the shape
    (rows, classes), or is None where the model gives none.
    """

    values: list[str] | list[float]
    probabilities: NDArray[np.floating] | None = None


# What answers rows, a float32 array of shape (rows, features).
Predict = Callable[[NDArray[np.float32]], Prediction]
