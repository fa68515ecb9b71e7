"""Convert a fitted scikit-learn estimator to a self-describing ONNX model.

This includes estimators of XGBoost and LightGBM, alone and in a pipeline.
"""

import contextlib
import re
import warnings
from collections import defaultdict
from collections.abc import Iterator, Sequence
from importlib import import_module
from traceback import walk_tb
from typing import Any

import msgspec
import numpy as np
import pandas as pd
from msgspec.structs import replace
from numpy.typing import NDArray
from onnx import GraphProto, ModelProto, TensorProto, helper
from skl2onnx import to_onnx
from skl2onnx.common.data_types import (
    BooleanTensorType,
    FloatTensorType,
    Int64TensorType,
    StringTensorType,
)
from sklearn.base import (
    BaseEstimator,
    ClusterMixin,
    is_classifier,
    is_outlier_detector,
    is_regressor,
)
from sklearn.ensemble import VotingClassifier
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.pipeline import Pipeline

from inference.predictor import Predictor
from inference.runtime.signature import (
    MATRIX,
    TYPE_OF,
    Column,
    ModelCard,
    Output,
    Prediction,
    Predictions,
    Scalar,
)
from training import sample_rows
from training.dataset import Dataset, UnfitError
from training.frameworks.graph import first_line, join_columns, look_up, rename
from training.verification import (
    DISAGREE,
    INSTANCES_TO_CHECK,
    Converted,
    agreement,
    answer,
    largest_difference,
)

# Packages whose estimators skl2onnx converts with the converters registered in training/frameworks.
BOOSTERS = ("lightgbm", "xgboost")
OLDER_OPSET = {"": 18, "ai.onnx.ml": 3}
UNSEEN = "never seen in training"
# Rounding to float32 changes a smaller share of the predictions than this.
NEARLY_ALL = 0.9
TYPES: dict[str, Any] = {
    "number": FloatTensorType,
    "integer": Int64TensorType,
    "boolean": BooleanTensorType,
    "string": StringTensorType,
}
IGNORE = 'Give OneHotEncoder handle_unknown="ignore", OrdinalEncoder "use_encoded_value" and unknown_value=-1.'
FIT_ROWS = "Fit it on data.rows and data.labels; change columns in load_data() or in a pipeline."
ENCODE = "\nCategories of pandas cannot be converted: train it on their codes, or bake with model_framework python."
OTHERWISE = "Use another estimator, or bake with model_framework python, which serves any code."
# Cures of errors, by the pattern of a clue, see ``cure``; the first match counts.
CURES = {
    "around columns: .* 1 input": "Put it at the end of the pipeline: make_pipeline(columns, {part}(...)).",
    r"Encoder: .*BooleanTensor|tensor\(bool": 'Do not encode booleans: ("passthrough", ["{boolean}"]).',
    "1 input.* boolean|BooleanTensor": 'Make booleans numbers in load_data(): frame["{boolean}"].astype(int).',
    "1 input.* string": 'Encode text in a ColumnTransformer: (OneHotEncoder(sparse_output=False), ["{string}"]).',
    "values are string": 'Write frame["{string}"].fillna("") in load_data(), and SimpleImputer(missing_values="").',
    "Unknown Category.* gaps": 'Write frame["{string}"].fillna("") in load_data(), and handle_unknown="ignore".',
    "add_indicator": 'Leave it out, and add columns in load_data(): frame["name"].isna().astype(int).',
    "same type .*StringTensor": "Give numbers and text a SimpleImputer each.",
    "same type|takes integer": 'Make whole numbers floats in load_data(): frame["{integer}"].astype(float).',
    "zipmap": "Give it probabilities: CalibratedClassifierCV({part}(...)).",
    "contains NaN": "Begin the pipeline with SimpleImputer(), or drop these rows in load_data().",
    "coefficients size": "Stack estimators with probabilities: CalibratedClassifierCV(SVC()).",
    "several targets": "Fit one for each target: MultiOutputClassifier({part}(...)).",
    "[Uu]nknown [Cc]ategor": IGNORE,
    "Infrequent": 'Group rare values in load_data(), and write only handle_unknown="ignore".',
    "onehot encoding not supported": 'Give it encode="onehot-dense" or encode="ordinal".',
    "FunctionTransformer is not|'training.train.* transforms": "Do it in load_data() instead; clients then send the result.",
    "(Randomized|Halving).*SearchCV": "End fit() with `return search.best_estimator_`.",
}


def column_names(model: BaseEstimator) -> list[str]:
    """Return the names of the columns that an estimator was fitted on; none if they had no names."""
    return list(map(str, getattr(model, "feature_names_in_", ())))


def to_rows(model: BaseEstimator, rows: Any) -> Any:
    """Convert rows to the form that the estimator was fitted on: an array if it knows no names."""
    if isinstance(rows, dict):
        rows = pd.DataFrame(rows)
    known = [values for part in parts_of(model) for values in getattr(part, "categories_", ())]
    if isinstance(rows, pd.DataFrame) and not any(pd.isna(values).any() for values in known):
        # As the service, unless an encoder was fitted on missing values.
        rows = rows.fillna(dict.fromkeys(sample_rows.texts_with_gaps(rows), ""))
    if isinstance(rows, np.ndarray) and column_names(model):
        return pd.DataFrame(rows, columns=column_names(model))
    width = 1 if takes_texts(model) else getattr(model, "n_features_in_", rows.shape[1])
    if rows.shape[1] != width:
        raise UnfitError(
            f"{name_of(model)} takes {width} column(s), and there are {rows.shape[1]}: name its columns by NAMES, or "
            "the column that it predicts by TARGET."
        )
    is_plain = isinstance(rows, pd.DataFrame) and not column_names(model)
    if is_plain and not knows_names(model) and all(kind.kind in "iuf" for kind in rows.dtypes):
        return rows.to_numpy()
    return rows


def targets(model: BaseEstimator, rows: Any) -> str | list[str]:
    """Return a name for each target of an estimator; raises UnfitError if it fails on the rows."""
    try:
        shape = np.shape(model.predict(as_fitted(model, rows[:1])))
    except Exception as error:
        fault = first_line(error) + (ENCODE if "categor" in str(error).lower() else "")
        raise UnfitError(f"{name_of(model)} fails on the rows: {fault}") from error
    return "prediction" if shape[1:] in ((), (1,)) else [f"prediction_{i}" for i in range(shape[1])]


def takes_texts(model: BaseEstimator) -> bool:
    """Whether an estimator was fitted on plain texts instead of columns."""
    first = model.steps[0][1] if isinstance(model, Pipeline) else model
    return isinstance(first, CountVectorizer)


def as_fitted(model: BaseEstimator, rows: Any) -> Any:
    """Return rows as the estimator takes them: the only column of the table if it was fitted on texts."""
    return rows.iloc[:, 0] if takes_texts(model) else rows


def make_up(model: BaseEstimator, names: Sequence[str]) -> Any:
    """Generate rows of numbers; raises UnfitError if the estimator takes other columns."""
    width = getattr(model, "n_features_in_", len(names))
    if not names or len(names) != width:
        raise UnfitError(
            f"{name_of(model)} takes {width} columns and does not say which: {sample_rows.NAME_THEM}"
        )
    rows = sample_rows.make_up_columns(names, ["number"] * len(names))
    try:
        model.predict(to_rows(model, rows))
    except Exception as error:
        raise UnfitError(
            f"{name_of(model)} takes columns that are not numbers: give sample rows with SAMPLE=rows.csv."
        ) from error
    return rows


def infer_signature(
    model: BaseEstimator, data: Dataset, classes: Sequence[Scalar] = ()
) -> dict[str, Any]:
    """Return the inputs and outputs of a fitted estimator, as fields of the model card.

    If the estimator knows only the indices of ``classes``, the output has ``classes`` instead.
    """
    columns = data.describe_columns()
    numbers = {column.name: column.maximum + 1 for column in columns if column.maximum is not None}
    # An encoder without an answer for new numbers would fail, or answer anything once it is converted.
    for what, new in {"data.rows": {}, "new numbers": numbers}.items():
        if columns and hasattr(model, "predict") and (error := fails(model, data, new)):
            fault = f"{name_of(model)} fails on {what}: {first_line(error)}"
            remedy = IGNORE if "unknown" in fault else FIT_ROWS
            raise UnfitError(f"{fault}\n{remedy}") from error
    outputs = describe_outputs(model, data, classes)
    columns = tuple(closed(model, data, column) for column in columns)
    return {"columns": columns, "tensors": data.describe_tensors(), "outputs": outputs}


def fails(model: BaseEstimator, data: Dataset, new: dict[str, Any]) -> Exception | None:
    """Return the error of an estimator for a row with new values in some columns; None if it answers."""
    row = data.rows[:1]
    if new:
        row = row.assign(**new) if isinstance(row, pd.DataFrame) else np.array([[*new.values()]])
    try:
        with warnings.catch_warnings(action="ignore"):
            model.predict(as_fitted(model, row))
    except Exception as error:
        return error
    return None


def closed(model: BaseEstimator, data: Dataset, column: Column) -> Column:
    """Restrict a column to its categories if the estimator fails on others."""
    if column.type != "string" or not (error := fails(model, data, {column.name: UNSEEN})):
        return column
    if isinstance(error, ValueError) and column.categories:
        return replace(column, is_closed=True)
    raise UnfitError(
        f"{name_of(model)} fails on a new {column.name}: {first_line(error)}\n"
        f"{IGNORE} Or drop the column in load_data()."
    ) from error


def describe_outputs(
    model: BaseEstimator, data: Dataset, classes: Sequence[Scalar]
) -> tuple[Output, ...]:
    """Describe the outputs of an estimator, with classes in the labels' type; raises UnfitError if unsupported."""
    if is_classifier(model):
        several = len(data.targets) > 1
        by_target = model.classes_ if several else [model.classes_]
        if several and not isinstance(by_target, list):
            raise UnfitError(
                f"{name_of(model)} mixes targets: wrap it in MultiOutputClassifier. {OTHERWISE}"
            )
        if classes and len(classes) != len(by_target[0]):
            unseen = ", ".join(str(each) for each in classes if each not in by_target[0].tolist())
            raise UnfitError(
                f"{name_of(model)} has {len(by_target[0])} classes, and {len(classes)} are named: no row to fit had "
                f"{unseen[:200]}. Drop or merge rare classes in load_data()."
            )
        if classes and by_target[0].tolist() == list(range(len(classes))):
            by_target = [np.array(classes)]
        return tuple(map(classified, data.targets, by_target))
    if is_regressor(model):
        return tuple(Output(name=name) for name in data.targets)
    is_cluster = isinstance(last_of(model), ClusterMixin)
    if is_cluster or is_outlier_detector(model):
        if data.labels is not None and data.labels.dtype.kind not in "iu":
            raise UnfitError(f"{name_of(model)} answers whole numbers: write labels=None.")
        found = tuple(np.unique(last_of(model).labels_).tolist()) if is_cluster else (-1, 1)
        return (Output(name=data.targets[0], type="integer", classes=found),)
    raise UnfitError(
        f"{name_of(model)} neither classifies nor predicts numbers, clusters or outliers. {OTHERWISE}"
    )


def is_encoded(model: BaseEstimator, output: Output) -> bool:
    """Whether an estimator predicts indices of an output's classes."""
    if not output.classes or not isinstance(getattr(model, "classes_", None), np.ndarray):
        return False
    return bool(model.classes_.tolist() != list(output.classes))


def classified(name: str, labels: NDArray[Any]) -> Output:
    """Return an output of classes."""
    classes = labels.tolist()
    if all(isinstance(label, float) and label.is_integer() for label in classes):
        classes = [int(label) for label in classes]
    if type(classes[0]) not in (str, bool, int):
        raise UnfitError(f"Classes of {name} are {labels.dtype}: use text, integers or booleans.")
    return Output(name=name, type=TYPE_OF[type(classes[0])], classes=tuple(classes))


def export(model: BaseEstimator, card: ModelCard, data: Dataset) -> Converted:
    """Convert ``model`` to ONNX, with the fields of ``card`` as its metadata.

    Raises UnfitError if skl2onnx cannot convert the model, or if the predictions differ from scikit-learn's for the
    instances of ``data``, or for variants with missing values and unseen categories.
    """
    onnx = convert(model, card)
    for name, value in msgspec.structs.asdict(card).items():
        onnx.metadata_props.add(key=name, value=msgspec.json.encode(value).decode())
    content: bytes = onnx.SerializeToString()
    return check(model, card, content, data)


def convert(model: BaseEstimator, card: ModelCard) -> ModelProto:
    """Convert ``model`` to a graph with the inputs and outputs that ``Predictor`` expects."""
    onnx: ModelProto
    if card.tensors:
        raise UnfitError(
            "rows has more than two dimensions, which no scikit-learn estimator takes: reshape them to a table "
            "of columns, or bake with model_framework python."
        )
    columns = [(column.name, TYPES[column.type]([None, 1])) for column in card.columns]
    matrix = [(MATRIX, FloatTensorType([None, len(columns)]))]
    try:
        with warnings.catch_warnings():
            # Warnings from the converters.
            warnings.simplefilter("ignore")
            by_name = not card.is_matrix or knows_names(model)
            onnx = to_graph(model, card.name, columns if by_name else matrix)
        if by_name and card.is_matrix:
            join_columns(onnx.graph)
        name_outputs(onnx.graph, model, card.outputs)
    except Exception as error:
        part = culprit(model, error)
        raise UnfitError(
            f"skl2onnx cannot convert {name_of(part)}: {first_line(error)}\n{cure(part, error, card)}"
        ) from error
    # The order comes from a set, so it would change from run to run.
    onnx.opset_import.sort(key=lambda opset: opset.domain)
    return onnx


def culprit(model: BaseEstimator, error: Exception) -> BaseEstimator:
    """Return the part of ``model`` that skl2onnx was converting when it raised ``error``."""
    for frame, _ in walk_tb(error.__traceback__):
        model = getattr(frame.f_locals.get("operator"), "raw_operator", model)
    return model


def cure(part: BaseEstimator, error: Exception, card: ModelCard) -> str:
    """Return what to do about an error of a part of a model."""
    # The first of each type; of text, the first with gaps.
    columns = sorted(reversed(card.columns), key=lambda column: not column.required)
    first: dict[str, Any] = {column.type: column.name for column in columns}
    around = " around columns" if knows_names(part) else ""
    clue = f"{name_of(part)}{around}: {' '.join(str(error).split())} {' '.join(first)}"
    clue += " gaps" * any(each.type == "string" and not each.required for each in columns)
    clue += " transforms" * hasattr(part, "transform")
    if is_classifier(part) and len(card.outputs) > 1 and name_of(part) != "MultiOutputClassifier":
        clue += " several targets"
    known = (found for pattern, found in CURES.items() if re.search(pattern, clue))
    return next(known, OTHERWISE).format_map(defaultdict(str, first, part=name_of(part)))


def to_graph(model: BaseEstimator, name: str, inputs: list[tuple[str, Any]]) -> ModelProto:
    """Convert a model with skl2onnx."""
    # A slim image lacks ONNX Runtime's default locale.
    options: dict[Any, Any] = {
        TfidfVectorizer: {"locale": "C.UTF-8"},
        CountVectorizer: {"locale": "C.UTF-8"},
    }
    if is_classifier(model):
        # Probabilities as an array, not as a list of dictionaries; some estimators lack this option.
        options[id(model)] = {"zipmap": False}
    for part in parts_of(model):
        if getattr(part, "add_indicator", False):
            raise NotImplementedError("add_indicator is not supported")
        for package in BOOSTERS:
            if package_of(part) == package:
                import_module(f"training.frameworks.{package}").register()
        if isinstance(part, VotingClassifier):
            # Affects only transform(), which a service does not call; skl2onnx supports no other value.
            part.flatten_transform = False
    onnx: ModelProto
    try:
        try:
            onnx = to_onnx(model, initial_types=inputs, name=name, options=options)
        except NameError:
            # Without an entry, skl2onnx adds the option for the last step of a pipeline.
            options |= {id(part): {} for part in parts_of(model) if is_classifier(part)}
            onnx = to_onnx(model, initial_types=inputs, name=name, options=options)
    except RuntimeError as error:
        # Some converters do not support newer opsets.
        if "ai.onnx.ml" not in str(error):
            raise
        onnx = to_onnx(
            model, initial_types=inputs, name=name, options=options, target_opset=OLDER_OPSET
        )
    # skl2onnx replaced characters that are not letters or digits in the names.
    for given, (original, _) in zip(list(onnx.graph.input), inputs, strict=True):
        rename(onnx.graph, given.name, original)
    return onnx


def knows_names(model: BaseEstimator) -> bool:
    """Whether a model, or a part of it, chooses columns by name."""
    return any(hasattr(part, "transformers") for part in parts_of(model))


def parts_of(model: Any) -> Iterator[Any]:
    """Yield a model and its parts, if it is a pipeline, a column transformer or a wrapper around other models."""
    yield model
    for name in ("best_estimator_", "estimator"):
        if hasattr(model, name) and not isinstance(getattr(model, name), str):
            yield from parts_of(getattr(model, name))
    if isinstance(model, Pipeline):
        for _, step in model.steps:
            yield from parts_of(step)
    inner = [part for _, part, _ in getattr(model, "transformers_", ())]
    for part in [*inner, *getattr(model, "named_estimators_", {}).values()]:
        if not isinstance(part, str):
            yield from parts_of(part)


def name_outputs(graph: GraphProto, model: BaseEstimator, outputs: Sequence[Output]) -> None:
    """Name the outputs of a graph values and probabilities, or values_0, probabilities_0, values_1 and so on."""
    values, *rest = [output.name for output in graph.output]
    has_probabilities = is_classifier(model) and hasattr(model, "predict_proba") and bool(rest)
    count = len(outputs)
    if count == 1:
        rename(graph, values, "values")
        if outputs[0].type == "integer" and is_encoded(model, outputs[0]):
            # Predictor maps indices only for text and booleans.
            look_up(graph, "values", outputs[0].classes)
        if has_probabilities:
            rename(graph, rest[0], "probabilities")
        del graph.output[1 + has_probabilities :]
        return
    kind = graph.output[0].type.tensor_type.elem_type
    # A forest returns an array for all targets, not a list of arrays.
    pick = "Gather" if graph.output[-1].type.HasField("tensor_type") else "SequenceAt"
    del graph.output[:]
    names = [f"values_{place}" for place in range(count)]
    sizes = helper.make_tensor("values_sizes", TensorProto.INT64, [count], [1] * count)
    graph.initializer.append(sizes)
    graph.node.append(helper.make_node("Split", [values, sizes.name], names, "values", axis=1))
    for place, name in enumerate(names):
        graph.output.append(helper.make_tensor_value_info(name, kind, [None, 1]))
        if not has_probabilities:
            continue
        index = helper.make_tensor(f"place_{place}", TensorProto.INT64, [], [place])
        graph.initializer.append(index)
        found = f"probabilities_{place}"
        graph.node.append(helper.make_node(pick, [rest[0], index.name], [found], found))
        graph.output.append(helper.make_tensor_value_info(found, TensorProto.FLOAT, [None, None]))


def check(model: BaseEstimator, card: ModelCard, content: bytes, data: Dataset) -> Converted:
    """Compare the ONNX model's predictions with scikit-learn's."""
    instances = data.inputs()[:INSTANCES_TO_CHECK]
    try:
        predictor = Predictor.load(content)
        agreed, difference = compare(model, predictor, data, instances, "rows held out")
        for place, column in enumerate(card.columns):
            some = instances[:50]
            if not column.required:
                missing = [[*row[:place], None, *row[place + 1 :]] for row in some]
                compare(model, predictor, data, missing, f"rows without {column.name}")
            if column.type == "string" and not column.is_closed:
                unseen = [[*row[:place], UNSEEN, *row[place + 1 :]] for row in some]
                compare(model, predictor, data, unseen, f"rows with a new {column.name}")
    except UnfitError:
        raise
    except Exception as error:
        raise UnfitError(
            f"ONNX Runtime cannot run {name_of(model)}: {first_line(error)}\n{cure(model, error, card)}"
        ) from error
    return Converted(content, len(instances), agreed, difference)


def compare(
    model: BaseEstimator, predictor: Predictor, data: Dataset, instances: Sequence[Any], what: str
) -> tuple[int, float]:
    """Return how many predictions agree with scikit-learn, and their largest difference; UnfitError if too few."""
    card = predictor.card
    served = answer(predictor, instances)
    expected = expect(model, card, data, instances)
    agree = agreement(card, served, expected)
    if not agree.all():
        # As float32, a number at a threshold may fall on its other side.
        with contextlib.suppress(ValueError):
            rounded = expect(model, card, data, instances, np.float32)
            agree |= agreement(card, served, rounded)
    if 1 - agree.mean() > DISAGREE:
        raise UnfitError(
            f"The ONNX model answers {1 - agree.mean():.1%} of the {what} differently from "
            f"{name_of(model)}.\n{advice(model, data, 1 - agree.mean())}\n{OTHERWISE}"
        )
    return int(agree.sum()), largest_difference(served, expected, agree)


def expect(
    model: BaseEstimator,
    card: ModelCard,
    data: Dataset,
    instances: Sequence[Any],
    dtype: type = np.float64,
) -> Predictions:
    """Return scikit-learn's predictions for instances, with numbers of the dtype."""
    rows = to_frame(card, data, instances, dtype)
    with warnings.catch_warnings():
        # Warnings about columns without names and unknown categories.
        warnings.simplefilter("ignore")
        rows = as_fitted(model, rows)
        values = np.asarray(model.predict(rows)).reshape(len(rows), -1)
        has_probabilities = is_classifier(model) and hasattr(model, "predict_proba")
        probabilities: Any = model.predict_proba(rows) if has_probabilities else None
    if len(card.outputs) == 1:
        probabilities = [probabilities]
    predictions = []
    for place, output in enumerate(card.outputs):
        labels = values[:, place].tolist()
        if is_encoded(model, output):
            labels = [output.classes[index] for index in labels]
        predictions.append(Prediction(labels, probabilities[place] if has_probabilities else None))
    return tuple(predictions)


def to_frame(card: ModelCard, data: Dataset, instances: Sequence[Any], dtype: type) -> Any:
    """Convert instances to the form that the estimator was fitted on, with numbers of the dtype."""
    if not isinstance(data.rows, pd.DataFrame):
        return np.array(instances, dtype)
    frame = pd.DataFrame(instances, columns=[column.name for column in card.columns])
    for column in card.columns:
        if column.type == "number":
            frame[column.name] = frame[column.name].astype(dtype)
        elif column.type == "string":
            # Represent missing text as the data does.
            has_gaps = bool(data.rows[column.name].isna().any())
            frame[column.name] = frame[column.name].fillna(np.nan if has_gaps else "")
    return frame


def advice(model: BaseEstimator, data: Dataset, differ: float) -> str:
    """Return advice on the likely cause of different predictions, for the share that differs."""
    parts = list(parts_of(model))
    if gaps := sample_rows.texts_with_gaps(pd.DataFrame(data.rows)):
        plain = ".astype(object)" * (data.rows[gaps[0]].dtype == "category")
        return f'Missing text is served as "": write frame["{gaps[0]}"]{plain}.fillna("") in load_data().'
    if any(isinstance(part, CountVectorizer) for part in parts):
        return "ONNX Runtime splits text differently: give the vectorizer token_pattern='[a-zA-Z0-9_]+'."
    if any(getattr(part, "is_categorical_", None) is not None for part in parts):
        return (
            "skl2onnx converts native categories wrongly (https://github.com/onnx/sklearn-onnx/issues/1101): "
            "encode them with OrdinalEncoder (unknown_value=-1) and categorical_features=None."
        )
    if any(getattr(part, "weights", None) == "distance" for part in parts):
        return 'skl2onnx converts weights="distance" wrongly: leave it out.'
    if any(type(part).__name__.startswith("KNeighbors") for part in parts):
        return "ONNX Runtime chooses differently among equally distant neighbours: use another estimator."
    has_scaler = any(type(part).__name__.endswith("Scaler") for part in parts)
    is_boosted = any(package_of(part) in BOOSTERS for part in parts)
    if has_scaler and is_boosted:
        return "Trees split numbers at thresholds, which scaling moves in float32: leave out the scaler."
    numbers = pd.DataFrame(data.rows).select_dtypes("number").abs().max()
    if differ < NEARLY_ALL and not has_scaler and not is_boosted and (numbers > 100).any():
        return "It computes in float32: scale the columns (StandardScaler), or use an estimator that tolerates that."
    return "skl2onnx converts this estimator differently."


def package_of(part: Any) -> str:
    """Return the package of an estimator, or of the booster wrapped by training/frameworks."""
    return type(part).__module__.removeprefix("training.frameworks.").partition(".")[0]


def last_of(model: BaseEstimator) -> Any:
    """Return the estimator itself, or the last step of a pipeline."""
    return model.steps[-1][1] if isinstance(model, Pipeline) else model


def name_of(model: BaseEstimator) -> str:
    """Return the name of an estimator, or of the last step of a pipeline."""
    return type(last_of(model)).__name__
