"""The model file: the card and what ``fit`` found, as JSON."""

import msgspec

from inference.predictor import ModelFile, Parameters
from inference.runtime.signature import ModelCard
from training.dataset import Dataset


def export(model: Parameters, card: ModelCard, data: Dataset) -> bytes:
    """Encode the model for ``Predictor.load``; ``data`` is there to check the result with."""
    return msgspec.json.encode(ModelFile(card=card, parameters=model))
