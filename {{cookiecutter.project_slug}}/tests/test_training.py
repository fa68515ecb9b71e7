"""Training: the same seed gives the same bytes, and unsuitable data is refused."""

import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from inference.config import ROOT
from inference.predictor import Predictor
from inference.runtime import artifact, serving
from inference.runtime.signature import Output
from tests.models import NUMBERS, make_card
from training import sources
from training.dataset import Dataset, UnfitError
from training.evaluation import measure
from training.output import publish, replace
from training.train import load_data

trained = pytest.mark.skipif(sources.read() is not None, reason="the model was imported")


@trained
def test_same_seed_gives_the_same_bytes(model_path, tmp_path):
    # The model of the other tests comes from this process, whose hashes have another seed.
    seed = "2" if os.environ.get("PYTHONHASHSEED") == "1" else "1"
    # PORT: a service setting that belongs to another program here.
    environment = os.environ | {"SOURCE_DATE_EPOCH": "0", "PYTHONHASHSEED": seed, "PORT": "no"}
    command = [sys.executable, "-m", "training", tmp_path / "model"]
    subprocess.run(command, cwd=ROOT, env=environment, check=True)
    model = artifact.read(tmp_path / "model")
    assert model.digest == artifact.read(model_path).digest
    assert Predictor.load(model.content).card.trained_on == "1970-01-01"
    if os.path.exists("/proc/self/status"):
        assert 20 < serving.read(tmp_path / "model").worker_mib < 20_000


@trained
def test_card_describes_the_data(card):
    data = load_data()
    assert [output.name for output in card.outputs] == data.targets
    for part in (*card.columns, *card.tensors):
        assert part.minimum is None or part.minimum <= np.min(part.example)
    assert len(card.columns or card.tensors) == len(data.describe_columns() or card.tensors)
    assert card.metrics


def test_metrics_tell_prefixes_of_labels_and_small_errors():
    outputs = (Output(name="kind", type="string", classes=("a", "ab")), Output(name="price"))
    card = make_card("two-outputs", columns=NUMBERS.columns, outputs=outputs)
    actual = [np.array(["a", "ab"], object), np.array([0.0, 1.0])]
    metrics = measure(card, actual, [np.array(["a", "a"]), np.array([2.46e-6, 1.0])])
    assert metrics["kind_accuracy"] == 0.5
    assert metrics["price_mean_absolute_error"] == 1.23e-6


ROWS = np.arange(12.0).reshape(6, 2)


def make(**parts):
    """Return a data set of numbers with some parts replaced."""
    return Dataset(
        **{"name": "x", "rows": ROWS, "features": ["a", "b"], "labels": range(6)} | parts
    )


@pytest.mark.parametrize(
    ("parts", "fault"),
    [
        ({"features": ["a"]}, "rows has 2 columns, features 1 names"),
        ({"features": ["a", "a"]}, "features must be different names"),
        ({"features": ["a", 2]}, "features must be different names"),
        ({"rows": np.full((6, 2), np.inf)}, "rows holds an infinity"),
        ({"rows": ROWS.astype(str)}, "give a DataFrame, or an array of numbers"),
        ({"rows": ROWS[0]}, "with 1 dimension"),
        ({"labels": range(5)}, "there are 6 rows and 5 labels"),
        ({"labels": [1, 2, 3, 4, 5, np.nan]}, "labels hold a NaN"),
        ({"labels": ["a", "b", "a", "b", "a", None]}, "NoneType and str: .*drop rows"),
        ({"labels": [0, 0, 0, 1, 1, 1], "classes": ["only"]}, "indices of the 1 classes"),
        ({"labels": np.ones((6, 2))}, "target must name 2 column"),
        ({"rows": pd.DataFrame({"a": [1] * 6, "b": [{}] * 6})}, "column 'b' holds dict"),
        (
            {"rows": pd.DataFrame({"a": pd.Categorical([1] * 6)})},
            r"'a' holds int: .*\.astype\(float\)",
        ),
        ({"target": "b"}, "target 'b' is a column of rows too: take it out"),
        ({"rows": pd.DataFrame({"a": [1] * 6, "b": [None] * 6})}, "column 'b' has no value"),
        ({"rows": pd.DataFrame({"a": [True, None] * 3})}, "'a' is boolean and has missing values"),
        ({"rows": pd.DataFrame({"a": [1e39] * 6})}, "'a' holds a number that float32 cannot hold"),
    ],
)
def test_unservable_data_is_refused(parts, fault):
    with pytest.raises(UnfitError, match=fault):
        make(**parts).describe_columns()


def test_columns_are_described_by_their_content():
    frame = pd.DataFrame(
        {
            "number": [1.5, np.nan, 3.5],
            "integer": [1, 2**53 + 1, 2**60],
            "boolean": [True, False, True],
            "text": ["b", "a", "b"],
            "gap": ["x", None, ""],
        }
    )
    number, integer, boolean, text, gap = make(rows=frame, labels=None).describe_columns()
    assert (number.type, number.required) == ("number", False)
    assert (number.minimum, number.maximum) == (1.5, 3.5)
    assert (integer.type, integer.required, integer.example) == ("integer", True, 2**53 + 1)
    assert (boolean.type, boolean.example) == ("boolean", True)
    assert (text.type, text.required) == ("string", True)
    assert (text.categories, text.example) == (("a", "b"), "b")
    assert (gap.type, gap.categories, gap.required) == ("string", ("x",), False)


def test_numbers_alone_form_a_matrix_whole_or_not():
    frame = pd.DataFrame({"a": [1, 2], "b": [0.5, None]})
    whole, other = make(rows=frame, labels=None).describe_columns()
    assert (whole.type, whole.required) == ("number", True)
    assert (other.type, other.required) == ("number", False)


def test_instances_have_the_format_that_clients_send():
    frame = pd.DataFrame({"a": [1.5, np.nan], "b": ["x", ""], "c": [True, False]})
    assert make(rows=frame, labels=None).inputs() == [[1.5, "x", True], [None, None, False]]


def test_value_missing_in_one_part_only_is_sent_as_missing():
    frame = pd.DataFrame({"a": [1, 2, 3], "b": ["x", "y", "z"], "c": [0.5, None, None]})
    data = make(rows=frame, labels=None)
    assert data._take(np.array([1, 2])).inputs() == [[2, "y", None], [3, "z", None]]
    assert not data.describe_columns()[2].required


def test_model_that_cannot_be_written_is_named_and_leaves_nothing(tmp_path, model_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError):
        replace(tmp_path / "folder", b"")
    assert [*tmp_path.iterdir()] == [tmp_path / "folder"]
    (tmp_path / "file").touch()
    with pytest.raises(UnfitError, match=r"Could not write .*model: File exists"):
        publish(tmp_path / "file" / "model", artifact.read(model_path).content)
