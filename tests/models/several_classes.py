"""Two classifications at once, with MultiOutputClassifier."""

from typing import Any

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.multioutput import MultiOutputClassifier
from training.dataset import Dataset

SEED = 0


def load_data() -> Dataset:
    """Return the data and the target."""
    random = np.random.default_rng(SEED)
    frame = pd.DataFrame(random.normal(size=(300, 3)), columns=list("xyz"))
    labels = pd.DataFrame(
        {"colour": 1 + (frame["x"] > 0) + (frame["y"] > 1), "size": 10 * (frame["z"] > 0)}
    )
    return Dataset(name="made up", rows=frame, labels=labels)


def fit(data: Dataset) -> Any:
    """Return a fitted estimator."""
    return MultiOutputClassifier(LogisticRegression()).fit(data.rows, data.labels)
