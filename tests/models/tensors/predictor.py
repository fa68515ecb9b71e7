"""A linear model of tensors: its weights, and the softmax if there are classes."""

from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np
from inference.runtime.signature import ModelCard, Prediction


class ModelFile(msgspec.Struct, frozen=True, kw_only=True):
    """``weights`` of shape (outputs, values of an instance)."""

    card: dict[str, Any]
    weights: list[list[float]]
    intercepts: list[float]


class Predictor:
    """Predict from tensors of one name."""

    def __init__(
        self, card: ModelCard, weights: list[list[float]], intercepts: list[float]
    ) -> None:
        self.card = card
        self._weights, self._intercepts = np.array(weights).T, np.array(intercepts)

    @classmethod
    def load(cls, content: bytes) -> "Predictor":
        """Read the model file's bytes."""
        file = msgspec.json.decode(content, type=ModelFile)
        return cls(ModelCard.read(file.card), file.weights, file.intercepts)

    def predict(self, inputs: Mapping[str, Any]) -> Prediction:
        """Predict the instances along the tensor's first axis."""
        (tensor,) = self.card.tensors
        instances = inputs[tensor.name]
        scores = instances.reshape(len(instances), -1) @ self._weights + self._intercepts
        classes = self.card.outputs[0].classes
        if not classes:
            return Prediction(scores[:, 0].tolist())
        likelihoods = np.exp(scores - scores.max(axis=1, keepdims=True))
        probabilities = likelihoods / likelihoods.sum(axis=1, keepdims=True)
        return Prediction([classes[place] for place in scores.argmax(axis=1)], probabilities)
