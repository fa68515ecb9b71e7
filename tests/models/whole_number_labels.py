"""Classes that are the integers 5, 15 and 25."""

from typing import Any

from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier
from training.dataset import Dataset

SEED = 0


def load_data() -> Dataset:
    """Return the data and the target."""
    iris = load_iris()
    return Dataset(
        name="iris",
        features=list("abcd"),
        rows=iris.data,
        target="price",
        labels=5 + 10 * iris.target,
    )


def fit(data: Dataset) -> Any:
    """Return a fitted estimator."""
    return RandomForestClassifier(20, random_state=SEED).fit(data.rows, data.labels)
