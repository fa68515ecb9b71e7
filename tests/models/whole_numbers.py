"""A regression with integer labels, units and a limit."""

from typing import Any

import numpy as np
import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.ensemble import RandomForestRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
from training.dataset import Dataset

SEED = 0


def load_data() -> Dataset:
    """Return the data and the target."""
    random = np.random.default_rng(SEED)
    rows = pd.DataFrame(
        {
            "temperature": random.normal(12, 8, 600).round(1),
            "hour": random.integers(0, 24, 600),
            "day": random.choice(["weekday", "weekend"], 600),
        }
    )
    mean = 20 + 3 * rows["temperature"].clip(0) + 40 * rows["hour"].between(7, 19)
    return Dataset(
        name="made up",
        rows=rows,
        target="rentals",
        labels=random.poisson(mean),
        units={"temperature": "°C", "rentals": "bicycles"},
        limits="Not for days with snow: there was none.",
    )


def fit(data: Dataset) -> Any:
    """Return a fitted estimator."""
    columns = make_column_transformer((OneHotEncoder(), ["day"]), remainder="passthrough")
    model = RandomForestRegressor(n_estimators=20, random_state=SEED)
    return make_pipeline(columns, model).fit(data.rows, data.labels)
