"""Pictures: handwritten digits of 8 by 8 pixels."""

from typing import Any

from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from training.dataset import Dataset

SEED = 0


def load_data() -> Dataset:
    """Return the data and the target."""
    digits = load_digits()
    return Dataset(name="digits", rows=digits.images / 16, target="digit", labels=digits.target)


def fit(data: Dataset) -> Any:
    """Return a fitted estimator."""
    return LogisticRegression(max_iter=500).fit(data.rows.reshape(len(data.rows), -1), data.labels)
