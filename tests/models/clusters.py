"""Clusters, without labels."""

from typing import Any

import numpy as np
from sklearn.cluster import KMeans
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from training.dataset import Dataset

SEED = 0


def load_data() -> Dataset:
    """Return the data and the target."""
    random = np.random.default_rng(SEED)
    rows = np.concatenate([random.normal(place, 1, (100, 2)) for place in (0, 8, 16)])
    return Dataset(name="made up", features=["a", "b"], rows=rows, target="cluster")


def fit(data: Dataset) -> Any:
    """Return a fitted estimator."""
    return make_pipeline(StandardScaler(), KMeans(3, random_state=SEED)).fit(data.rows)
