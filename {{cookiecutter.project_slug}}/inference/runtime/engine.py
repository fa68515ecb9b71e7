"""The engine: runs the model for each request by itself, or for several clients together."""

from collections.abc import Sequence

from inference.errors import StartupError, message_of
from inference.predictor import Predictor
from inference.runtime.artifact import REMEDY, Artifact
from inference.runtime.batching import Batcher, predict_alone, predict_together
from inference.runtime.contract import check_card, check_example, keep
from inference.runtime.signature import Inputs, ModelCard, Predictions, count


class Engine:
    """Runs a model that meets its contract, with a queue or for each request by itself.

    ``batcher`` is None without a queue; ``gives_probabilities`` has a flag for each output. Raises ValueError if the
    model's card or its answer to its own example cannot be served, and whatever the model raises.
    """

    def __init__(self, predictor: Predictor, queue: bool, seconds_to_wait: float) -> None:
        self.card: ModelCard = predictor.card
        self._predictor = predictor
        check_card(self.card)
        self.gives_probabilities = check_example(self.card, predictor.predict)
        self.may_block: bool = getattr(predictor, "may_block", True)
        self.batcher = Batcher(self.run, seconds_to_wait) if queue else None

    def predict(self, inputs: Inputs) -> Predictions:
        """Predict ``inputs`` in this thread or in that of the queue.

        Raises Overloaded, InvalidInstances if an answer is not a finite number, and whatever the model raises.
        """
        if self.batcher:
            return self.batcher.predict(inputs)
        answer = predict_alone(self.run, inputs)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def predict_together(self, requests: Sequence[Inputs]) -> list[Predictions | Exception]:
        """Predict the inputs of several requests together, in this thread; failed requests get their exception."""
        return predict_together(self.run, requests)

    def run(self, inputs: Inputs) -> Predictions:
        """Run the predictor in this thread and normalize its answer; raises whatever the predictor raises."""
        return keep(self.card, self._predictor.predict(inputs), count(inputs))


def load_engine(model: Artifact, queue: bool, seconds_to_wait: float) -> Engine:
    """Load a verified model and check its contract (``Engine``).

    Raises StartupError if the predictor cannot read the file, or if its answer to its own example does
    not match its card.
    """
    try:
        predictor = Predictor.load(model.content)
        return Engine(predictor, queue, seconds_to_wait)
    except Exception as error:
        reason = " ".join(message_of(error).split())
        raise StartupError(f"Could not load {model.path}: {reason}; {REMEDY}") from error
