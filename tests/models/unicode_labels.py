"""Unicode classes, and difficult column names, selected by name."""

from typing import Any

import numpy as np
import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from training.dataset import Dataset

SEED = 0


def load_data() -> Dataset:
    """Return the data and the target."""
    random = np.random.default_rng(SEED)
    frame = pd.DataFrame(
        {
            "Länge, in cm": random.normal(size=200),
            'say "when"': random.normal(size=200),
            "[0]": random.choice(["été", "日本", "a,b"], 200),
            "back\\slash": random.normal(size=200),
            " blank ": random.normal(size=200),
        }
    )
    labels = np.where(frame["Länge, in cm"] > 0, "größer, ja", "日本語 'no'")
    return Dataset(name="made up", rows=frame, target="Größe", labels=labels)


def fit(data: Dataset) -> Any:
    """Return a fitted estimator."""
    columns = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore"), ["[0]"]), remainder=StandardScaler()
    )
    return make_pipeline(columns, LogisticRegression()).fit(data.rows, data.labels)
