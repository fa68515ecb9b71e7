"""What runs the model: at once, or for the requests of several clients together."""

from collections.abc import Sequence
from concurrent.futures import Future

from inference.predictor import Predictor
from inference.runtime.batching import Batcher, predict_alone, predict_together
from inference.runtime.contract import check_card, check_example, keep
from inference.runtime.signature import Inputs, ModelCard, Predictions, count


class Engine:
    """A model that keeps its contract, and what runs it: a queue, or each request by itself.

    ``batcher`` is None without a queue; ``gives_probabilities`` says so of each output. Raises ValueError where the
    model's card or its answer to its own example cannot be served, and what the model raises.
    """

    def __init__(self, predictor: Predictor, queue: bool, seconds_to_wait: float) -> None:
        self.card: ModelCard = predictor.card
        self._predictor = predictor
        check_card(self.card)
        self.gives_probabilities = check_example(self.card, predictor.predict)
        self.may_block: bool = getattr(predictor, "may_block", True)
        self.batcher = Batcher(self._run, seconds_to_wait) if queue else None

    def predict(self, inputs: Inputs) -> Predictions:
        """Answer ``inputs`` in this thread or in the queue's.

        Raises Overloaded, InvalidInstances where an answer is no number, and what the model raises.
        """
        if self.batcher:
            return self.batcher.predict(inputs)
        answer = predict_alone(self._run, inputs)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def predict_together(self, requests: Sequence[Inputs]) -> list[Predictions | Exception]:
        """Answer the inputs of several requests at once, in this thread; an exception is that of its request."""
        return predict_together(self._run, requests)

    def submit(self, inputs: Inputs) -> Future[Predictions]:
        """Let ``inputs`` wait in the queue, without a thread; only where there is one.

        The future ends as ``predict`` does, but it never gives up by itself: whoever waits no longer
        cancels it, and where that succeeds the model is not asked.
        """
        if self.batcher is None:
            raise RuntimeError("the engine has no queue")
        return self.batcher.submit(inputs)

    def _run(self, inputs: Inputs) -> Predictions:
        return keep(self.card, self._predictor.predict(inputs), count(inputs))
