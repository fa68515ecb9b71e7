"""What runs the model: at once, or for the requests of several clients together."""

from collections.abc import Sequence
from concurrent.futures import Future

from inference.errors import StartupError
from inference.predictor import Predictor
from inference.runtime.artifact import REMEDY, Artifact
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
        self.batcher = Batcher(self.run, seconds_to_wait) if queue else None

    def predict(self, inputs: Inputs) -> Predictions:
        """Answer ``inputs`` in this thread or in the queue's.

        Raises Overloaded, InvalidInstances where an answer is no number, and what the model raises.
        """
        if self.batcher:
            return self.batcher.predict(inputs)
        answer = predict_alone(self.run, inputs)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def predict_together(self, requests: Sequence[Inputs]) -> list[Predictions | Exception]:
        """Answer the inputs of several requests at once, in this thread; an exception is that of its request."""
        return predict_together(self.run, requests)

    def submit(self, inputs: Inputs) -> Future[Predictions]:
        """Let ``inputs`` wait in the queue, without a thread; only where there is one.

        The future ends as ``predict`` does, but it never gives up by itself: whoever waits no longer
        cancels it, and where that succeeds the model is not asked.
        """
        if self.batcher is None:
            raise RuntimeError("the engine has no queue")
        return self.batcher.submit(inputs)

    def run(self, inputs: Inputs) -> Predictions:
        """What the predictor answers, in this thread, as the service keeps it; raises what the predictor does."""
        return keep(self.card, self._predictor.predict(inputs), count(inputs))


def load_engine(model: Artifact, queue: bool, seconds_to_wait: float) -> Engine:
    """Load a verified model file and hold it to its contract (``Engine``).

    Raises StartupError when the predictor cannot make sense of the file, or its answer to its own example does
    not fit its card.
    """
    try:
        predictor = Predictor.load(model.content)
        return Engine(predictor, queue, seconds_to_wait)
    except Exception as error:
        # An HTTP error says its status in str().
        reason = " ".join(str(getattr(error, "description", error)).split())
        raise StartupError(f"Could not load {model.path}: {reason}; {REMEDY}") from error
