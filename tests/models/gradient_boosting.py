"""HistGradientBoosting, which handles NaN itself, on an array."""

from typing import Any

import numpy as np
from sklearn.datasets import load_iris
from sklearn.ensemble import HistGradientBoostingClassifier
from training.dataset import Dataset

SEED = 0


def load_data() -> Dataset:
    """Return the data and the target."""
    iris = load_iris()
    rows = iris.data.astype(np.float32)
    rows[np.random.default_rng(SEED).random(rows.shape) < 0.1] = np.nan
    names = [f"column {place}" for place in range(4)]
    return Dataset(
        name="iris with gaps",
        features=names,
        rows=rows,
        target="species",
        labels=iris.target_names[iris.target],
    )


def fit(data: Dataset) -> Any:
    """Return a fitted estimator."""
    return HistGradientBoostingClassifier(random_state=SEED, max_iter=20).fit(
        data.rows, data.labels
    )
