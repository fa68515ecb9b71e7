"""A regression with three targets."""

from typing import Any

import numpy as np
from sklearn.datasets import make_regression
from sklearn.linear_model import Ridge
from training.dataset import Dataset

SEED = 0


def load_data() -> Dataset:
    """Return the data and the target."""
    rows, labels = make_regression(200, 5, n_targets=3, noise=5, random_state=SEED)
    return Dataset(
        name="made up",
        features=list("abcde"),
        rows=rows.astype(np.float32),
        target=["width", "height", "depth"],
        labels=labels,
    )


def fit(data: Dataset) -> Any:
    """Return a fitted estimator."""
    return Ridge().fit(data.rows, data.labels)
