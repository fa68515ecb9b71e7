"""A mixed table: text, numbers with gaps, integers, booleans."""

from typing import Any

import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from training.dataset import Dataset

SEED = 0


def load_data() -> Dataset:
    """Return the data and the target."""
    random = np.random.default_rng(SEED)
    size = 900
    frame = pd.DataFrame(
        {
            "sex": random.choice(["female", "male"], size),
            "port": random.choice(["C", "Q", " S", ""], size),
            "title": random.choice(["Dr, med.", 'the "Hon."', "Mme"], size),
            "age": np.where(random.random(size) < 0.2, np.nan, random.normal(30, 12, size)),
            "fare": random.gamma(2, 15, size),
            "class": random.integers(1, 4, size),
            "alone": random.random(size) < 0.5,
        }
    )
    survived = (frame["sex"] == "female") ^ (frame["class"] == 3) ^ (random.random(size) < 0.2)
    return Dataset(name="Titanic-like", rows=frame, target="survived", labels=survived)


def fit(data: Dataset) -> Any:
    """Return a fitted estimator."""
    columns = ColumnTransformer(
        [
            ("text", OneHotEncoder(handle_unknown="ignore"), ["sex", "port"]),
            ("known", OneHotEncoder(), ["title"]),
            (
                "gaps",
                make_pipeline(SimpleImputer(strategy="median"), StandardScaler()),
                ["age", "fare"],
            ),
            ("whole", StandardScaler(), ["class"]),
        ]
    )
    return make_pipeline(columns, LogisticRegression()).fit(data.rows, data.labels)
