"""The model behind the service: replace this worked example with your own."""

from pathlib import Path
from typing import Any, ClassVar, Self

import msgspec
import numpy as np

from inference.runtime.signature import MATRIX, Inputs, ModelCard, Prediction


class Predictor:
    """Gaussian naive Bayes in NumPy: each feature is normal and independent within a class.

    The service needs only ``load``, ``predict`` and ``card`` from this class.

    ``may_block`` is True because ``predict`` is your own code: it may sleep, query a database or hold the
    GIL, and so it never runs on the event loop, where every client would wait for it. Set it to
    False only if ``predict`` does nothing but quick arithmetic.
    """

    may_block: ClassVar[bool] = True

    def __init__(self, card: ModelCard, parameters: dict[str, Any]) -> None:
        self.card = card
        # Of the shapes (classes, columns), (classes, columns) and (classes,).
        self._means = np.array(parameters["means"])
        self._variances = np.array(parameters["variances"])
        self._offsets = np.log(parameters["priors"]) - 0.5 * np.log(self._variances).sum(axis=1)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Create a predictor from the files in a folder, whose checksums were verified; raises if they are invalid."""
        card = msgspec.json.decode((folder / "card.json").read_bytes())
        parameters = msgspec.json.decode((folder / "parameters.json").read_bytes())
        return cls(ModelCard.read(card), parameters)

    def predict(self, inputs: Inputs) -> Prediction:
        """Predict the rows of ``inputs``, which holds a float32 array of shape (rows, columns)."""
        rows = inputs[MATRIX]
        distances = (rows[:, np.newaxis, :].astype(np.float64) - self._means) ** 2 / self._variances
        scores = self._offsets - 0.5 * distances.sum(axis=2)
        likelihoods = np.exp(scores - scores.max(axis=1, keepdims=True))
        probabilities = likelihoods / likelihoods.sum(axis=1, keepdims=True)
        classes = self.card.outputs[0].classes
        values = [classes[index] for index in probabilities.argmax(axis=1)]
        return Prediction(values, probabilities)
