"""Classes that are the whole numbers 5, 15 and 25."""

from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier
from training.dataset import Dataset

SEED = 0


def load_data():
    iris = load_iris()
    return Dataset(
        name="iris",
        features=list("abcd"),
        rows=iris.data,
        target="price",
        labels=5 + 10 * iris.target,
    )


def fit(data):
    return RandomForestClassifier(20, random_state=SEED).fit(data.rows, data.labels)
