"""A fitted scikit-learn estimator as an ONNX model that describes itself."""

import contextlib
import warnings
from collections.abc import Iterator, Sequence
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
    is_classifier,
    is_clusterer,
    is_outlier_detector,
    is_regressor,
)
from sklearn.ensemble import VotingClassifier
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.pipeline import Pipeline

from inference.predictor import Predictor
from inference.runtime.contract import keep
from inference.runtime.signature import (
    MATRIX,
    Column,
    ModelCard,
    Output,
    Prediction,
    Predictions,
    to_inputs,
)
from training.dataset import Dataset, UnfitError

# Of the rows, how many may be answered otherwise, and by how much probabilities and numbers may differ.
DISAGREE = 0.005
TOLERANCE = 1e-3
ROWS_TO_CHECK = 2000
OLDER_OPSET = {"": 18, "ai.onnx.ml": 3}
UNSEEN = "never seen in training"
TYPES: dict[str, Any] = {
    "number": FloatTensorType,
    "integer": Int64TensorType,
    "boolean": BooleanTensorType,
    "string": StringTensorType,
}
OTHERWISE = "Use another estimator, or bake with model_framework python, which serves any code."


def infer_signature(model: BaseEstimator, data: Dataset) -> dict[str, Any]:
    """What a fitted estimator takes and predicts, as fields of the model card."""
    columns = [closed(model, data, column) for column in data.describe_columns()]
    outputs = describe_outputs(model, data)
    return {"columns": tuple(columns), "tensors": data.describe_tensors(), "outputs": outputs}


def closed(model: BaseEstimator, data: Dataset, column: Column) -> Column:
    """A column, as one that takes no other than its categories where the estimator fails on others."""
    if column.type != "string" or not isinstance(data.rows, pd.DataFrame):
        return column
    row = data.rows.iloc[:1].copy()
    row[column.name] = UNSEEN
    try:
        model.predict(row)
    except ValueError:
        if column.categories:
            return replace(column, is_closed=True)
        raise
    return column


def describe_outputs(model: BaseEstimator, data: Dataset) -> tuple[Output, ...]:
    """What a fitted estimator predicts, its classes in the labels' own type; raises UnfitError for no such task."""
    if is_classifier(model):
        several = len(data.targets) > 1
        by_target = model.classes_ if several else [model.classes_]
        return tuple(map(classified, data.targets, by_target))
    if is_outlier_detector(model):
        return (Output(name=data.targets[0], type="integer", classes=(-1, 1)),)
    if is_clusterer(model):
        clusters = tuple(np.unique(last_of(model).labels_).tolist())
        return (Output(name=data.targets[0], type="integer", classes=clusters),)
    if is_regressor(model):
        return tuple(Output(name=name) for name in data.targets)
    raise UnfitError(
        f"{name_of(model)} neither classifies nor predicts numbers, clusters or outliers."
    )


def classified(name: str, labels: NDArray[Any]) -> Output:
    """An output of classes."""
    classes = labels.tolist()
    if all(isinstance(label, float) and label.is_integer() for label in classes):
        classes = [int(label) for label in classes]
    kinds: Any = {str: "string", bool: "boolean", int: "integer"}
    if type(classes[0]) not in kinds:
        raise UnfitError(
            f"The classes of {name} are {labels.dtype}: text, whole numbers or booleans serve."
        )
    return Output(name=name, type=kinds[type(classes[0])], classes=tuple(classes))


def export(model: BaseEstimator, card: ModelCard, data: Dataset) -> bytes:
    """Convert ``model`` to ONNX, with the fields of ``card`` as its metadata.

    Raises UnfitError when skl2onnx cannot convert the model, or when the converted one answers the
    instances of ``data``, or variants with missing values and unseen categories, otherwise than scikit-learn.
    """
    onnx = convert(model, card)
    for name, value in msgspec.structs.asdict(card).items():
        onnx.metadata_props.add(key=name, value=msgspec.json.encode(value).decode())
    content: bytes = onnx.SerializeToString()
    check(model, card, content, data)
    return content


def convert(model: BaseEstimator, card: ModelCard) -> ModelProto:
    """Convert ``model`` to a graph with the inputs and outputs that ``Predictor`` knows."""
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
            # The converters' own.
            warnings.simplefilter("ignore")
            by_name = not card.is_matrix or knows_names(model)
            onnx = to_graph(model, card.name, columns if by_name else matrix)
        if by_name and card.is_matrix:
            join_columns(onnx.graph)
        name_outputs(onnx.graph, model, len(card.outputs))
    except Exception as error:
        reason = str(error).strip().split("\n")[0][:200]
        raise UnfitError(
            f"skl2onnx cannot convert {name_of(model)}: {reason}\n{OTHERWISE}"
        ) from error
    # Otherwise in the order of a set, which changes from run to run.
    onnx.opset_import.sort(key=lambda opset: opset.domain)
    return onnx


def to_graph(model: BaseEstimator, name: str, inputs: list[tuple[str, Any]]) -> ModelProto:
    """What skl2onnx makes of a model."""
    # ONNX Runtime's own locale is one that a slim image has not.
    options: dict[Any, Any] = {
        TfidfVectorizer: {"locale": "C.UTF-8"},
        CountVectorizer: {"locale": "C.UTF-8"},
    }
    if is_classifier(model):
        # Probabilities as an array, not as a list of dictionaries; some estimators have no such choice.
        options[id(model)] = {"zipmap": False}
    for part in parts_of(model):
        if isinstance(part, VotingClassifier):
            # Of transform() alone, which a service does not call; skl2onnx has no other.
            part.flatten_transform = False
    onnx: ModelProto
    try:
        try:
            onnx = to_onnx(model, initial_types=inputs, name=name, options=options)
        except NameError:
            options.pop(id(model), None)
            onnx = to_onnx(model, initial_types=inputs, name=name, options=options)
    except RuntimeError as error:
        # Some converters know no newer one.
        if "ai.onnx.ml" not in str(error):
            raise
        onnx = to_onnx(
            model, initial_types=inputs, name=name, options=options, target_opset=OLDER_OPSET
        )
    # What is no letter or digit was replaced in the names.
    for given, (original, _) in zip(list(onnx.graph.input), inputs, strict=True):
        rename(onnx.graph, given.name, original)
    return onnx


def knows_names(model: BaseEstimator) -> bool:
    """Whether a model, or a part of it, chooses columns by name."""
    return any(hasattr(part, "transformers") for part in parts_of(model))


def parts_of(model: Any) -> Iterator[Any]:
    """A model and, where it is a pipeline or a search around one, what it is made of."""
    yield model
    for name in ("best_estimator_", "estimator"):
        if hasattr(model, name) and not isinstance(getattr(model, name), str):
            yield from parts_of(getattr(model, name))
    if isinstance(model, Pipeline):
        for _, step in model.steps:
            yield from parts_of(step)
    for _, part, _ in getattr(model, "transformers_", ()):
        if not isinstance(part, str):
            yield from parts_of(part)


def join_columns(graph: GraphProto) -> None:
    """Let a graph take one matrix in place of its inputs, which are its columns."""
    names = [given.name for given in graph.input]
    sizes = helper.make_tensor("columns_sizes", TensorProto.INT64, [len(names)], [1] * len(names))
    graph.initializer.append(sizes)
    split = helper.make_node("Split", [MATRIX, sizes.name], names, "columns", axis=1)
    graph.node.insert(0, split)
    del graph.input[:]
    shape = [None, len(names)]
    graph.input.append(helper.make_tensor_value_info(MATRIX, TensorProto.FLOAT, shape))


def name_outputs(graph: GraphProto, model: BaseEstimator, count: int) -> None:
    """Give a graph the outputs values and probabilities, or values_0, probabilities_0, values_1 and so on."""
    values, *rest = [output.name for output in graph.output]
    has_probabilities = is_classifier(model) and hasattr(model, "predict_proba") and bool(rest)
    if count == 1:
        rename(graph, values, "values")
        if has_probabilities:
            rename(graph, rest[0], "probabilities")
        del graph.output[1 + has_probabilities :]
        return
    kind = graph.output[0].type.tensor_type.elem_type
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
        graph.node.append(helper.make_node("SequenceAt", [rest[0], index.name], [found], found))
        graph.output.append(helper.make_tensor_value_info(found, TensorProto.FLOAT, [None, None]))


def rename(graph: GraphProto, old: str, new: str) -> None:
    """Give a value of a graph another name."""
    for node in graph.node:
        for names in (node.input, node.output):
            for place, name in enumerate(names):
                if name == old:
                    names[place] = new
    for value in (*graph.input, *graph.output):
        if value.name == old:
            value.name = new


def check(model: BaseEstimator, card: ModelCard, content: bytes, data: Dataset) -> None:
    """Hold the ONNX model's answers against scikit-learn's."""
    instances = data.inputs()[:ROWS_TO_CHECK]
    try:
        predictor = Predictor.load(content)
        compare(model, card, predictor, data, instances, "rows held out")
        for place, column in enumerate(card.columns):
            some = instances[:50]
            if not column.required:
                missing = [[*row[:place], None, *row[place + 1 :]] for row in some]
                compare(model, card, predictor, data, missing, f"rows without {column.name}")
            if column.type == "string" and not column.is_closed:
                unseen = [[*row[:place], UNSEEN, *row[place + 1 :]] for row in some]
                compare(model, card, predictor, data, unseen, f"rows with a new {column.name}")
    except UnfitError:
        raise
    except Exception as error:
        reason = str(error).strip().split("\n")[0][:200]
        raise UnfitError(
            f"ONNX Runtime cannot run {name_of(model)}: {reason}\n{OTHERWISE}"
        ) from error


def compare(
    model: BaseEstimator,
    card: ModelCard,
    predictor: Predictor,
    data: Dataset,
    instances: Sequence[Any],
    what: str,
) -> None:
    """Raise UnfitError where too many of the instances are answered otherwise than by scikit-learn."""
    served = keep(card, predictor.predict(to_inputs(card, instances)), len(instances))
    agree = agreement(card, served, answers_of(model, card, to_frame(card, data, instances)))
    if not agree.all():
        # A number at a threshold may be on its other side as a float32.
        with contextlib.suppress(ValueError):
            rounded = to_frame(card, data, instances, np.float32)
            agree |= agreement(card, served, answers_of(model, card, rounded))
    if 1 - agree.mean() > DISAGREE:
        raise UnfitError(
            f"The ONNX model answers {1 - agree.mean():.1%} of the {what} otherwise than "
            f"{name_of(model)}.\n{advice(model)}\n{OTHERWISE}"
        )


def agreement(card: ModelCard, served: Predictions, expected: Predictions) -> NDArray[np.bool_]:
    """Which instances are answered alike, in every output."""
    agree = np.ones(len(served[0].values), bool)
    for output, mine, its in zip(card.outputs, served, expected, strict=True):
        if output.classes:
            agree &= [a == b for a, b in zip(mine.values, its.values, strict=True)]
        else:
            spread = TOLERANCE * max(float(np.std(np.array(its.values, float))), 1e-6)
            agree &= np.isclose(mine.values, its.values, rtol=TOLERANCE, atol=spread)
        if mine.probabilities is not None and its.probabilities is not None:
            agree &= (np.abs(mine.probabilities - its.probabilities) <= TOLERANCE).all(axis=1)
    return agree


def answers_of(model: BaseEstimator, card: ModelCard, rows: Any) -> Predictions:
    """What scikit-learn answers."""
    with warnings.catch_warnings():
        # Of columns without names, of unknown categories.
        warnings.simplefilter("ignore")
        values = np.asarray(model.predict(rows)).reshape(len(rows), -1)
        has_probabilities = is_classifier(model) and hasattr(model, "predict_proba")
        probabilities: Any = model.predict_proba(rows) if has_probabilities else None
    if len(card.outputs) == 1:
        probabilities = [probabilities]
    return tuple(
        Prediction(values[:, place].tolist(), probabilities[place] if has_probabilities else None)
        for place in range(len(card.outputs))
    )


def to_frame(
    card: ModelCard, data: Dataset, instances: Sequence[Any], dtype: type = np.float64
) -> Any:
    """Instances as the estimator was fitted on them, numbers of the dtype."""
    if not isinstance(data.rows, pd.DataFrame):
        return np.array(instances, dtype)
    frame = pd.DataFrame(instances, columns=[column.name for column in card.columns])
    for column in card.columns:
        if column.type == "number":
            frame[column.name] = frame[column.name].astype(dtype)
        elif column.type == "string":
            # Missing text is what the data has for it.
            has_gaps = bool(data.rows[column.name].isna().any())
            frame[column.name] = frame[column.name].fillna(np.nan if has_gaps else "")
    return frame


def advice(model: BaseEstimator) -> str:
    """What to do where the answers differ, by the likely cause."""
    parts = list(parts_of(model))
    if any(isinstance(part, CountVectorizer) for part in parts):
        return "ONNX Runtime splits text at other places: give the vectorizer token_pattern='[a-zA-Z0-9_]+'."
    if any(getattr(part, "is_categorical_", None) is not None for part in parts):
        return (
            "skl2onnx converts native categories wrongly (https://github.com/onnx/sklearn-onnx/issues/1101): "
            "encode them with OrdinalEncoder and categorical_features=None."
        )
    if any(type(part).__name__.startswith("KNeighbors") for part in parts):
        return "Among neighbours that are equally far ONNX Runtime takes others: use another estimator."
    return "It computes in float32: scale the columns (StandardScaler), or take an estimator that tolerates that."


def last_of(model: BaseEstimator) -> Any:
    """An estimator, the last step of a pipeline."""
    return model.steps[-1][1] if isinstance(model, Pipeline) else model


def name_of(model: BaseEstimator) -> str:
    """The name of an estimator, the last step of a pipeline."""
    return type(last_of(model)).__name__
