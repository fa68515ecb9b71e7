"""Training: the same seed gives the same bytes, and unfit data is refused."""

from dataclasses import replace

import numpy as np
import pytest

from inference.predictor import Predictor
from training.__main__ import train
from training.train import load_data


def test_same_seed_gives_the_same_bytes(monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "0")
    first = train()
    assert train() == first
    assert Predictor.load(first).card.trained_on == "1970-01-01"


def test_card_describes_the_data(card):
    data = load_data()
    assert [feature.name for feature in card.features] == list(data.features)
    assert card.classes == tuple(data.classes)
    for feature in card.features:
        assert feature.minimum <= feature.example <= feature.maximum
    assert card.metrics


def test_wrong_shape_is_refused():
    data = load_data()
    with pytest.raises(ValueError, match="rows has the shape"):
        replace(data, features=data.features[1:])


def test_missing_value_is_refused():
    data = load_data()
    rows = data.rows.astype(float)
    rows[0, 0] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        replace(data, rows=rows)


def test_label_without_a_class_is_refused():
    data = load_data()
    with pytest.raises(ValueError, match="indices of the 1 classes"):
        replace(data, classes=["only"])
