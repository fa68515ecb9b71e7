"""What runs the model: at once, or for the requests of several clients together."""

from collections.abc import Sequence
from concurrent.futures import Future

import numpy as np
from numpy.typing import NDArray

from inference.predictor import Predictor
from inference.runtime.batching import Batcher, predict_together
from inference.runtime.contract import check_card, check_example, check_finite, keep
from inference.runtime.signature import ModelCard, Prediction


class Engine:
    """A model that keeps its contract, and what runs it: a queue, or each request by itself.

    ``batcher`` is None without a queue. Raises ValueError where the model's card or its answer to its own
    example cannot be served, and what the model raises.
    """

    def __init__(self, predictor: Predictor, queue: bool, seconds_to_wait: float) -> None:
        self.card: ModelCard = predictor.card
        self._predictor = predictor
        check_card(self.card)
        self.gives_probabilities = check_example(self.card, predictor.predict)
        self.may_block: bool = getattr(predictor, "may_block", True)
        self.batcher = Batcher(self._run, seconds_to_wait) if queue else None

    def predict(self, rows: NDArray[np.float32]) -> Prediction:
        """Answer ``rows``, of shape (rows, features), in this thread or in the queue's.

        Raises Overloaded, InvalidInstances where an answer is no number, and what the model raises.
        """
        if self.batcher:
            return self.batcher.predict(rows)
        return check_finite(self._run(rows))

    def predict_together(
        self, requests: Sequence[NDArray[np.float32]]
    ) -> list[Prediction | Exception]:
        """Answer the rows of several requests at once, in this thread; an exception is that of its request."""
        return predict_together(self._run, requests)

    def submit(self, rows: NDArray[np.float32]) -> Future[Prediction]:
        """Let ``rows`` wait in the queue, without a thread; only where there is one.

        The future ends as ``predict`` does, but it never gives up by itself: whoever waits no longer
        cancels it, and where that succeeds the model is not asked.
        """
        if self.batcher is None:
            raise RuntimeError("the engine has no queue")
        return self.batcher.submit(rows)

    def _run(self, rows: NDArray[np.float32]) -> Prediction:
        return keep(self._predictor.predict(rows), len(rows))
