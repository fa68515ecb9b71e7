"""A table of numbers."""

from typing import Any

from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from training.dataset import Dataset

SEED = 0


def load_data() -> Dataset:
    """Return the data and the target."""
    iris = load_iris()
    return Dataset(
        name="Iris (Fisher, 1936)",
        features=["sepal_length_cm", "sepal_width_cm", "petal_length_cm", "petal_width_cm"],
        rows=iris.data,
        target="species",
        labels=iris.target,
        classes=["setosa", "versicolor", "virginica"],
    )


def fit(data: Dataset) -> Any:
    """Return a fitted estimator."""
    model = make_pipeline(StandardScaler(), LogisticRegression(random_state=SEED))
    return model.fit(data.rows, data.labels)
