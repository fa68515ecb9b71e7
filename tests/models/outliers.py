"""Outliers, without labels."""

from typing import Any

import numpy as np
from sklearn.ensemble import IsolationForest
from training.dataset import Dataset

SEED = 0


def load_data() -> Dataset:
    """Return the data and the target."""
    rows = np.random.default_rng(SEED).normal(size=(300, 3)).astype(np.float32)
    return Dataset(name="made up", features=list("abc"), rows=rows, target="outlier")


def fit(data: Dataset) -> Any:
    """Return a fitted estimator."""
    return IsolationForest(n_estimators=20, random_state=SEED).fit(data.rows)
