"""Boolean classes, predicted by a soft vote of two classifiers."""

from typing import Any

from sklearn.datasets import load_iris
from sklearn.ensemble import VotingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from training.dataset import Dataset

SEED = 0


def load_data() -> Dataset:
    """Return the data and the target."""
    iris = load_iris()
    return Dataset(
        name="iris",
        features=list("abcd"),
        rows=iris.data,
        target="is_virginica",
        labels=iris.target == 2,
    )


def fit(data: Dataset) -> Any:
    """Return a fitted estimator."""
    parts = [("linear", LogisticRegression(max_iter=500)), ("bayes", GaussianNB())]
    return VotingClassifier(parts, voting="soft").fit(data.rows, data.labels)
