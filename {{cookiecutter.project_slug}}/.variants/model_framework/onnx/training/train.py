"""Nothing is trained here: ``make import MODEL=path`` imports the model from a file."""

from typing import Any

from training.dataset import Dataset, UnfitError

SEED = 0


def load_data() -> Dataset:
    """Refuse to train; replace this and ``fit`` to train a model of your own."""
    raise UnfitError("Nothing to train: import a model with make import MODEL=path")


def fit(data: Dataset) -> Any:
    """Fit a model to ``data``."""
    raise NotImplementedError
