"""Nothing is trained here: the model comes from a file, which ``make import MODEL=path`` takes over."""

from typing import Any

from training.dataset import Dataset, UnfitError

SEED = 0


def load_data() -> Dataset:
    """Say that there is nothing to train; data of your own, and ``fit``, change that."""
    raise UnfitError("Nothing to train: take a model over by make import MODEL=path")


def fit(data: Dataset) -> Any:
    """Fit a model to ``data``."""
    raise NotImplementedError
