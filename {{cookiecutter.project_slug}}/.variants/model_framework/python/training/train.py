"""The data and the model: change this file and ``inference/predictor.py`` for your own."""

from typing import Any

import numpy as np
from sklearn.datasets import load_iris

from training.dataset import Dataset

SEED = 0


def load_data() -> Dataset:
    """Load 150 iris flowers of three species, which ship with scikit-learn."""
    iris = load_iris()
    return Dataset(
        name="Iris (Fisher, 1936)",
        features=["sepal_length_cm", "sepal_width_cm", "petal_length_cm", "petal_width_cm"],
        rows=iris.data,
        target="species",
        labels=iris.target,
        classes=["setosa", "versicolor", "virginica"],
    )


def fit(data: Dataset) -> dict[str, Any]:
    """Compute each class's share of the rows, and its mean and variance in each feature."""
    groups = [data.rows[data.labels == name] for name in np.unique(data.labels)]
    return {
        "means": [group.mean(axis=0).tolist() for group in groups],
        "variances": [np.var(group, axis=0, ddof=1).tolist() for group in groups],
        "priors": [len(group) / len(data.rows) for group in groups],
    }
