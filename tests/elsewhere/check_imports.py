"""Run by pytest in a generated project with ``compare_model.py``: models in MODELS are served correctly or refused."""

import os
from pathlib import Path

import pytest
from compare_model import ROWS, check_doors, predict
from inference.app import create_app
from inference.config import Settings
from msgspec.structs import replace
from training import importing
from training.dataset import UnfitError
from training.sources import Source

MODELS = Path(os.environ["MODELS"])
ABCD = ["a", "b", "c", "d"]
IRIS = {"sample": "iris.csv", "target": "species"}
COLUMNS = ["sepal_length", "sepal_width", "petal_length", "petal_width"]
SPECIES = ["setosa", "versicolor", "virginica"]


def source_of(model, sample="", **options):
    return Source(
        model=str(MODELS / model), sample=str(MODELS / sample) if sample else "", **options
    )


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    # Use a separate process for each.
    monkeypatch.setattr("training.output.measure_memory", lambda path: 0)


# The file, the import options, and then the inputs and outputs of the service.
SERVED = [
    ("three_outputs.onnx", {"names": ABCD}, ABCD, ["price", "best"]),
    ("two_types.onnx", {}, ["count", "weight"], ["prediction"]),
    ("two_tensors.onnx", {"classes": SPECIES}, ["words", "x"], [SPECIES]),
    ("two_tensors.onnx", {}, ["words", "x"], ["y_0", "y_1", "y_2"]),
    ("free_size.onnx", {"sample": "sizes.npz"}, ["x"], ["prediction"]),
    ("fixed.onnx", {"names": ABCD}, ABCD, ["y_0", "y_1", "y_2"]),
    ("external.onnx", {"names": ABCD}, ABCD, ["y_0", "y_1", "y_2"]),
    ("half.onnx", {"names": ABCD}, ABCD, ["y_0", "y_1", "y_2"]),
    ("double.onnx", {"names": ABCD}, ABCD, ["y_0", "y_1", "y_2"]),
    ("small_numbers.onnx", {}, ["x"], ["prediction"]),
    ("image.onnx", {}, ["x"], ["y_0", "y_1", "y_2"]),
    ("whole_numbers.onnx", {"names": ABCD[:3]}, ABCD[:3], ["prediction"]),
    ("yes_or_no.onnx", {"names": ABCD, "classes": ["no", "yes"]}, ABCD, [["no", "yes"]]),
    ("old.onnx", {"names": ABCD}, ABCD, [[0, 1, 2]]),
    ("old.onnx", {"names": ABCD, "classes": [5, 15, 25]}, ABCD, [[5, 15, 25]]),
    ("old_columns.onnx", {}, ["a", "b"], ["prediction"]),
    ("best.onnx", {"names": ABCD, "classes": SPECIES}, ABCD, [SPECIES]),
    ("spark.onnx", {"names": ABCD}, ABCD, [[0, 1, 2]]),
    ("labels.onnx", {"names": ABCD}, ABCD, ["z_0", "z_1", "z_2"]),
    ("decision.onnx", {"names": ABCD}, ABCD, ["prediction"]),
    ("decision.onnx", {"names": ABCD, "classes": ["no", "yes"]}, ABCD, [["no", "yes"]]),
    ("whole_row.onnx", {"names": ABCD}, ABCD, ["y_0", "y_1", "y_2", "y_3"]),
    ("any_width.onnx", {"names": ABCD}, ABCD, ["prediction"]),
    ("any_width.onnx", {"sample": "numbered.csv"}, list("1234"), ["prediction"]),
    ("rank_one.onnx", {}, ["x"], ["prediction"]),
    ("lower.onnx", {"sample": "texts.csv"}, ["x"], ["prediction"]),
    ("three_outputs.onnx", {"sample": "matrix.npz"}, ["x"], ["price", "best"]),
    ("zipmap.onnx", IRIS, COLUMNS, [SPECIES]),
    ("logistic.joblib", {}, COLUMNS, [SPECIES]),
    ("logistic.skops", IRIS, COLUMNS, [SPECIES]),
    ("forest.pkl", IRIS, COLUMNS, [SPECIES]),
    ("several.pkl", {"names": ["a", "b"]}, ["a", "b"], ["prediction_0", "prediction_1"]),
    ("boosted.pkl", {"names": ABCD[:3]}, ABCD[:3], ["prediction"]),
    (
        "people.pkl",
        {"sample": "people.csv", "target": "bought"},
        ["city", "age", "member"],
        [["no", "yes"]],
    ),
    ("reviews.pkl", {"sample": "reviews.csv"}, ["review"], [["bad", "good"]]),
    ("xgboost.json", IRIS, COLUMNS, [SPECIES]),
    ("xgboost.json", {}, COLUMNS, [[0, 1, 2]]),
    ("xgboost.pkl", {"classes": SPECIES}, COLUMNS, [SPECIES]),
    ("xgboost.pkl", {"classes": [5, 15, 25]}, COLUMNS, [[5, 15, 25]]),
    ("xgboost_two.ubj", {"names": ABCD}, ABCD, [[0, 1]]),
    ("softmax.ubj", {"names": ABCD}, ABCD, [[0, 1, 2]]),
    ("ranker.pkl", {"names": ABCD}, ABCD, ["prediction"]),
    ("own_objective.txt", {"names": ABCD[:3]}, ABCD[:3], ["prediction"]),
    (
        "xgboost.json",
        {"sample": "renamed.csv", "target": "species", "classes": ["z", "y", "x"]},
        COLUMNS,
        [["z", "y", "x"]],
    ),
    (
        "xgboost.json",
        {"sample": "indices.csv", "target": "species", "classes": SPECIES},
        COLUMNS,
        [SPECIES],
    ),
    ("lightgbm.txt", IRIS, COLUMNS, [SPECIES]),
    ("lightgbm_number.txt", {"names": ABCD[:3]}, ABCD[:3], ["prediction"]),
    ("mlflow_sklearn", {}, ["city", "age", "member"], [["no", "yes"]]),
    ("mlflow_xgboost", IRIS, COLUMNS, [SPECIES]),
    ("mlflow_onnx", IRIS, COLUMNS, [SPECIES]),
]


@pytest.mark.parametrize(("model", "options", "inputs", "outputs"), SERVED)
def test_imported_model_agrees_with_the_original(
    tmp_path, monkeypatch, model, options, inputs, outputs
):
    if model == "half.onnx":
        # 16-bit floats have three digits.
        monkeypatch.setattr("compare_model.TOLERANCE", (1e-2, 1e-2))
    source = source_of(model, **options)
    importing.take(tmp_path / "model", source)
    app = create_app(Settings(model_path=str(tmp_path / "model")))
    card = app.extensions["service"].engine.card
    assert [part.name for part in (*card.columns, *card.tensors)] == inputs
    assert [list(output.classes) or output.name for output in card.outputs] == [
        [0, 1, 2] if name == "best" else name for name in outputs
    ]
    found = importing.read(Path(source.model))
    data, _ = importing.make_dataset(found, source)
    instances = data.inputs()[:ROWS]
    check_doors(app, instances, predict(found.model, card, data, instances))
    if source.target:
        assert card.metrics["accuracy"] > 0.9


REFUSED = [
    ("three_outputs.onnx", {}, "takes 4 columns and does not say which: name them with NAMES"),
    (
        "three_outputs.onnx",
        {"sample": "iris.csv"},
        "It takes 4 columns, and the rows of iris.csv have 5",
    ),
    ("three_outputs.onnx", {"sample": "people.csv"}, "'city' holds strings, and the model takes"),
    ("zipmap.onnx", {"sample": "iris.csv", "names": ABCD}, "have no column 'a', which"),
    ("free_size.onnx", {}, "arrays of any size: give some by SAMPLE"),
    ("fixed_eight.onnx", {"names": ABCD}, "takes exactly 8 instances at a time"),
    ("fixed_inside.onnx", {}, "free first dimension"),
    ("future.onnx", {"names": ABCD}, "it is of opset 99"),
    ("strange.onnx", {"names": ABCD}, "com.example"),
    ("scalar_input.onnx", {}, "'scale' has no dimension for the instances"),
    ("log.onnx", {}, "with NaN or an infinity.\nGive rows that it can answer by SAMPLE"),
    (
        "two_tensors.onnx",
        {"sample": "far.npz"},
        "It fails on rows of far.npz: .* out of data bounds",
    ),
    ("since_2023.onnx", {"sample": "times.csv"}, "need doubles in a table"),
    ("labels.onnx", {"names": ABCD, "classes": SPECIES}, "do not add up to 1: leave out CLASSES"),
    ("best.onnx", {"names": ABCD, "classes": ["a", "b"]}, "the model has no scores of them"),
    ("three_outputs.onnx", IRIS, "It has 2 outputs: leave out TARGET"),
    ("labels.pkl", {"names": ABCD}, "mixes targets: wrap it in MultiOutputClassifier. Use another"),
    ("categories.pkl", {"sample": "sizes.csv"}, "Categories of pandas cannot be converted: train"),
    (
        "xgboost.json",
        {"sample": "renamed.csv", "target": "species"},
        "fit classes in another order: CLASSES=z,y,x",
    ),
    ("rank_one.onnx", {"sample": "empty.csv"}, "it has no rows"),
    ("rank_one.onnx", {"sample": "five.json"}, "Could not read SAMPLE"),
    ("free_size.onnx", {"sample": "uneven.json"}, "its lists differ in length: pad them"),
    ("any_width.onnx", {"sample": "without_names.csv"}, "has no first line with the names"),
    ("wide.onnx", {"names": ABCD}, "a row of 160 numbers: name the classes"),
    ("picture_out.onnx", {}, r"has shape \[2, 2\] for an instance"),
    ("pointer.onnx", {}, "git lfs pull"),
    ("half_of_three_outputs.onnx", {}, "is not an ONNX file, or is incomplete"),
    ("half_of_forest.pkl", {}, "is not a pickle, or is incomplete"),
    ("half_of_xgboost.json", {}, "is no model of XGBoost"),
    ("half_of_lightgbm.txt", {}, "is no model of LightGBM"),
    ("dictionary.pkl", {}, "holds a builtins.dict without predict"),
    ("foreign.pkl", {}, "needs the module their_models, which is not installed here"),
    ("forest.pkl", {"sample": "iris.csv"}, r"takes 4 column\(s\), and there are 5: .* by TARGET"),
    ("forest.pkl", {"names": ABCD, "classes": ["a", "b"]}, "has 3 classes, and 2 are named"),
    ("forest.pkl", {"sample": "iris.csv", "target": "kind"}, "have no 'kind', which TARGET names"),
    ("logistic.joblib", {"names": ABCD}, "names its columns, .*: leave out NAMES"),
    ("people.pkl", {}, "columns that are not numbers: give sample rows with SAMPLE"),
    (
        "iris.csv",
        {},
        "has an unknown file type: supported are MLflow folders and .*Export others as ONNX",
    ),
    ("nothing.onnx", {}, "There is no "),
    (".", {}, "a folder without MLmodel: save it with MLflow or as ONNX"),
    ("forest.pkl", {"sample": "nothing.csv"}, "Could not read SAMPLE"),
    ("forest.pkl", {"sample": "forest.pkl"}, "SAMPLE must be a .csv, .json, .npz or .npy file"),
]


@pytest.mark.parametrize(("model", "options", "fault"), REFUSED)
def test_unservable_model_is_refused_and_nothing_is_written(tmp_path, model, options, fault):
    with pytest.raises(UnfitError, match=fault) as error:
        importing.take(tmp_path / "model", source_of(model, **options))
    assert len(str(error.value).splitlines()) <= 3
    assert list(tmp_path.iterdir()) == []


def test_pickle_is_announced_with_the_version_that_wrote_it(tmp_path, capsys):
    importing.take(tmp_path / "model", source_of("logistic.joblib"))
    first, what, *_ = capsys.readouterr().out.splitlines()
    assert first.endswith("runs the code in it: only do that with files that you trust")
    assert "LogisticRegression of scikit-learn 1.5.2, read by 1." in what


def test_estimator_is_announced_with_its_own_library(tmp_path, capsys):
    importing.take(tmp_path / "model", source_of("pipeline.pkl", names=ABCD))
    assert "pipeline.pkl: XGBClassifier of xgboost 3." in capsys.readouterr().out


@pytest.mark.parametrize(
    "content", ['{"instances": [[5.1, 3.5, 1.4, 0.2]]}', "[[5.1, 3.5, 1.4, 0.2]]"]
)
def test_sample_may_be_json(tmp_path, content):
    rows = tmp_path / "rows.json"
    rows.write_text(content)
    source = replace(source_of("forest.pkl", names=COLUMNS), sample=str(rows))
    importing.take(tmp_path / "model", source)
    assert (tmp_path / "model").is_file()
