"""Training: the same seed gives the same bytes, and unfit data is refused."""

import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from inference.config import ROOT
from inference.predictor import Predictor
from training.compare import compare, deployed_metrics
from training.train import load_data


def test_same_seed_gives_the_same_bytes(tmp_path):
    for number in range(2):
        environment = os.environ | {"SOURCE_DATE_EPOCH": "0", "PYTHONHASHSEED": str(number)}
        command = [sys.executable, "-m", "training", tmp_path / f"model-{number}"]
        subprocess.run(command, cwd=ROOT, env=environment, check=True)
    (content,) = {(tmp_path / f"model-{number}").read_bytes() for number in range(2)}
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


def test_service_tells_what_training_measured(client, card):
    assert deployed_metrics(client.get("/metrics").text) == card.metrics


@pytest.mark.parametrize(
    ("name", "deployed", "trained", "got_worse"),
    [
        ("accuracy", 0.95, 0.90, True),
        ("accuracy", 0.95, 0.945, False),
        ("accuracy", 0.95, 0.97, False),
        ("accuracy", 0.95, float("nan"), True),
        ("r2", -0.5, -0.6, True),
        ("mean_absolute_error", 40.0, 44.0, True),
        ("mean_absolute_error", 40.0, 36.0, False),
    ],
)
def test_model_that_got_worse_is_named(capsys, name, deployed, trained, got_worse):
    assert compare({name: trained}, {name: deployed}, tolerance=0.01) == got_worse
    assert ("worse" in capsys.readouterr().out) == got_worse


def test_models_without_a_common_metric_cannot_be_compared():
    with pytest.raises(ValueError, match="nothing to compare"):
        compare({"r2": 0.5}, {"accuracy": 0.9}, tolerance=0.01)
