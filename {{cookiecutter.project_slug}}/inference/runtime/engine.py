"""What runs the model: at once, or for the requests of several clients together."""

import math
from concurrent.futures import Future
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from inference.errors import InvalidInstances
from inference.predictor import Predictor
from inference.runtime.batching import Batcher
from inference.runtime.signature import ModelCard, Predict, Prediction


class Engine:
    """A model that answered its own example, and what runs it: a queue, or each request by itself."""

    def __init__(self, predictor: Predictor, queue: bool, seconds_to_wait: float) -> None:
        self.card: ModelCard = predictor.card
        example = np.array([[feature.example for feature in self.card.features]], np.float32)
        self.gives_probabilities = predictor.predict(example).probabilities is not None
        run: Predict = predictor.predict
        self.batcher = Batcher(run, seconds_to_wait) if queue else None
        self._run = self.batcher.predict if self.batcher else run

    def predict(self, rows: NDArray[np.float32]) -> Prediction:
        """Answer ``rows``, of shape (rows, features).

        Raises Overloaded, and InvalidInstances where an answer is no number.
        """
        prediction = self._run(rows)
        values, probabilities = prediction
        numbers: Any = values if probabilities is None else probabilities.ravel()
        # The sum of squares is not finite where a number is not: cheaper than to ask each.
        if not isinstance(numbers[0], str) and not math.isfinite(np.vdot(numbers, numbers)):
            check_finite(numbers, len(rows))
        return prediction

    def submit(self, rows: NDArray[np.float32]) -> Future[Prediction]:
        """Let the queue predict ``rows``; the future raises as ``predict`` does."""
        if self.batcher is None:
            raise ValueError("the model has no queue")
        return self.batcher.submit(rows)


def check_finite(numbers: ArrayLike, rows: int) -> None:
    """Raise InvalidInstances, which names the first of ``rows`` that has no finite answer, if any."""
    is_finite = np.isfinite(numbers).reshape(rows, -1).all(axis=1)
    if not is_finite.all():
        row = int(np.argmin(is_finite))
        raise InvalidInstances(
            f"instances[{row}]: the model has no finite answer for it", f"/instances/{row}"
        )
