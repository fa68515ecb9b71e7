"""Training: the same seed gives the same bytes, and unfit data is refused."""

import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from inference.config import ROOT
from inference.predictor import Predictor
from training.train import load_data


def test_same_seed_gives_the_same_bytes(tmp_path):
    for number in range(4):
        environment = os.environ | {"SOURCE_DATE_EPOCH": "0", "PYTHONHASHSEED": str(number)}
        command = [sys.executable, "-m", "training", tmp_path / f"model-{number}"]
        subprocess.run(command, cwd=ROOT, env=environment, check=True)
    (content,) = {(tmp_path / f"model-{number}").read_bytes() for number in range(4)}
    assert Predictor.load(content).card.trained_on == "1970-01-01"


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


def test_row_of_text_is_refused():
    data = load_data()
    with pytest.raises(ValueError, match="rows must hold numbers"):
        replace(data, rows=data.rows.astype(str))


@pytest.mark.parametrize("name", ["second", 2, 'quo"ted'])
def test_unfit_feature_name_is_refused(name):
    data = load_data()
    with pytest.raises(ValueError, match="name"):
        replace(data, features=[name, "second", *data.features[2:]])


def test_label_without_a_class_is_refused():
    data = load_data()
    with pytest.raises(ValueError, match="indices of the 1 classes"):
        replace(data, classes=["only"])
