"""Free text with TF-IDF, and a number."""

from typing import Any

import numpy as np
import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from training.dataset import Dataset

SEED = 0
WORDS = {"sport": "ball goal team match win", "tech": "chip code cloud disk web"}


def load_data() -> Dataset:
    """Return the data and the target."""
    random = np.random.default_rng(SEED)
    topics = random.choice(list(WORDS), 200)
    texts = [" ".join(random.choice((WORDS[topic] + " the a of").split(), 8)) for topic in topics]
    rows = pd.DataFrame({"text": texts, "length": [float(len(text)) for text in texts]})
    return Dataset(name="headlines", rows=rows, target="topic", labels=topics)


def fit(data: Dataset) -> Any:
    """Return a fitted estimator."""
    columns = make_column_transformer(
        (TfidfVectorizer(token_pattern="[a-zA-Z0-9_]+"), "text"), ("passthrough", ["length"])
    )
    return make_pipeline(columns, LogisticRegression()).fit(data.rows, data.labels)
