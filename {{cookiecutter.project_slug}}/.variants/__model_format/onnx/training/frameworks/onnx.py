"""Convert any ONNX graph to a self-describing one that ``Predictor`` runs."""

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import pandas as pd
from msgspec.structs import replace
from numpy.typing import NDArray
from onnx import GraphProto, TensorProto, helper

from inference.predictor import Predictor
from inference.runtime.signature import (
    DATATYPES,
    Column,
    ModelCard,
    Scalar,
    Tensor,
    to_array,
    to_inputs,
)
from training import sample_rows
from training.dataset import Dataset, UnfitError
from training.frameworks.graph import FREE_FIRST, Original, dimensions, first_line, inputs_of
from training.frameworks.heads import Head, answer_by, find_heads
from training.frameworks.wrapping import LIMITS, surround
from training.verification import (
    DISAGREE,
    HALF_TOLERANCE,
    INSTANCES_TO_CHECK,
    TOLERANCE,
    Converted,
    agreement,
    answer,
    largest_difference,
)

# How each type in a graph is served: as datatype of a tensor, as type of a column.
SERVED_AS: dict[int, tuple[str, str]] = {
    TensorProto.FLOAT: ("FP32", "number"),
    TensorProto.DOUBLE: ("FP64", "number"),
    TensorProto.FLOAT16: ("FP32", "number"),
    TensorProto.INT8: ("INT32", "integer"),
    TensorProto.UINT8: ("INT32", "integer"),
    TensorProto.INT16: ("INT32", "integer"),
    TensorProto.UINT16: ("INT32", "integer"),
    TensorProto.INT32: ("INT32", "integer"),
    TensorProto.INT64: ("INT64", "integer"),
    TensorProto.UINT32: ("INT64", "integer"),
    TensorProto.BOOL: ("BOOL", "boolean"),
    TensorProto.STRING: ("BYTES", "string"),
}
OTHER_ROWS = "Give rows that it can answer by SAMPLE."


def takes_table(original: Original) -> bool:
    """Whether a graph takes columns, as one matrix or separately."""
    inputs = inputs_of(original.graph.graph)
    is_matrix = len(inputs) == 1 and len(dimensions(inputs[0])) == 2
    return is_matrix or bool(column_names(original))


def column_names(original: Original) -> list[str]:
    """Return a graph's names for its columns; none if it takes a matrix, or no table."""
    inputs = inputs_of(original.graph.graph)
    shapes = [dimensions(given)[1:] for given in inputs]
    return [given.name for given in inputs] if all(shape in ([], [1]) for shape in shapes) else []


def targets(original: Original, rows: Any) -> str:
    """Return the name of a single output; several outputs keep the graph's names."""
    return "prediction"


def to_rows(original: Original, rows: Any) -> Any:
    """Convert rows to fit the graph's inputs: tables stay as they are, tensors are named."""
    inputs = inputs_of(original.graph.graph)
    if takes_table(original) or isinstance(rows, dict):
        return rows
    if len(inputs) == 1:
        return {inputs[0].name: np.asarray(rows)}
    if isinstance(rows, pd.DataFrame):
        return {name: rows[name].to_numpy() for name in rows}
    raise UnfitError(f"It takes {len(inputs)} arrays: give them by name, in an .npz file.")


def make_up(original: Original, names: Sequence[str]) -> Any:
    """Generate random instances; raises UnfitError if the graph does not fully describe its inputs."""
    check_types(original)
    inputs = inputs_of(original.graph.graph)
    kinds = [SERVED_AS[given.type.tensor_type.elem_type] for given in inputs]
    if takes_table(original):
        width = len(inputs) if column_names(original) else dimensions(inputs[0])[1]
        if len(names) != (width if width >= 0 else len(names) or 1):
            takes = f"{width} columns" if width >= 0 else "columns"
            raise UnfitError(f"It takes {takes} and does not say which: {sample_rows.NAME_THEM}")
        types = [kind for _, kind in kinds] * (1 if len(kinds) == width else len(names))
        if "string" not in types:
            return sample_rows.make_up_columns(names, types)
    shapes = [dimensions(given)[1:] for given in inputs]
    if any(kind == "string" for _, kind in kinds) or any(-1 in shape for shape in shapes):
        raise UnfitError(
            "It takes text, or arrays of any size: give some by SAMPLE (.json or .npz)."
        )
    return {
        given.name: sample_rows.make_up_tensor(shape, DATATYPES[datatype])
        for given, shape, (datatype, _) in zip(inputs, shapes, kinds, strict=True)
    }


def infer_signature(
    original: Original, data: Dataset, classes: Sequence[Scalar] = ()
) -> dict[str, Any]:
    """Return a graph's inputs and outputs, as fields of the model card; raises UnfitError if they cannot be served."""
    check_types(original)
    columns = describe_columns(original, data)
    tensors = () if columns else describe_tensors(original, data)
    fields: Any = {"columns": columns, "tensors": tensors}
    card = ModelCard(name="", dataset="", trained_on="", metrics={}, outputs=(), **fields)
    try:
        answers = original.run(to_feeds(original, card, data.inputs()[:INSTANCES_TO_CHECK]))
    except Exception as error:
        raise UnfitError(f"It fails on {data.name}: {first_line(error)}\n{OTHER_ROWS}") from error
    heads = find_heads(original, answers, classes, data.targets)
    if not all(np.isfinite(array).all() for array in answers if array.dtype.kind == "f"):
        raise UnfitError(f"It answers some {data.name} with NaN or an infinity.\n{OTHER_ROWS}")
    return {**fields, "outputs": tuple(head.output for head in heads)}


def check_types(original: Original) -> None:
    """Raise UnfitError for an input whose type clients cannot send."""
    for given in inputs_of(original.graph.graph):
        kind = given.type.tensor_type.elem_type
        if kind not in SERVED_AS:
            name = TensorProto.DataType.Name(kind)
            raise UnfitError(f"Its input {given.name!r} is {name}: use FLOAT or INT64.")


def describe_columns(original: Original, data: Dataset) -> tuple[Column, ...]:
    """Return the columns of the data with the graph's types; none for tensors."""
    if data.is_tensors or not takes_table(original):
        return ()
    inputs = inputs_of(original.graph.graph)
    columns = data.describe_columns()
    width = len(inputs) if column_names(original) else dimensions(inputs[0])[1]
    if width not in (-1, len(columns)):
        raise UnfitError(f"It takes {width} columns, and the {data.name} have {len(columns)}.")
    kinds = [SERVED_AS[given.type.tensor_type.elem_type][1] for given in inputs]
    return tuple(map(conform, columns, kinds * len(columns)))


def conform(column: Column, kind: Any) -> Column:
    """Give a column the graph's type; raises UnfitError if its values do not have that type."""
    if column.type == kind:
        return column
    example: Any = column.example
    are_numbers = {column.type, kind} <= {"number", "integer"}
    if are_numbers and (kind == "number" or float(example or 0).is_integer()):
        if kind == "integer" and not column.required:
            raise UnfitError(f"Column {column.name!r} has gaps, and the model takes whole numbers.")
        if example is not None:
            example = int(example) if kind == "integer" else float(example)
        return replace(column, type=kind, example=example)
    raise UnfitError(f"Column {column.name!r} holds {column.type}s, and the model takes {kind}s.")


def describe_tensors(original: Original, data: Dataset) -> tuple[Tensor, ...]:
    """Return the inputs of a graph as tensors, with examples from the data."""
    inputs = inputs_of(original.graph.graph)
    given = {tensor.name: tensor for tensor in data.describe_tensors()}
    if len(inputs) == len(given) == 1:
        given = {inputs[0].name: next(iter(given.values()))}
    tensors = []
    for value in inputs:
        if value.name not in given:
            raise UnfitError(f"{data.name} has no {value.name!r}: it has {', '.join(given)}.")
        shape = tuple(dimensions(value)[1:])
        found = given[value.name]
        if len(found.shape) != len(shape) or any(
            a not in (-1, b) for a, b in zip(shape, found.shape, strict=True)
        ):
            raise UnfitError(
                f"Its input {value.name!r} takes instances of shape {list(shape)}, "
                f"and {data.name} has {list(found.shape)}."
            )
        datatype: Any = SERVED_AS[value.type.tensor_type.elem_type][0]
        tensors.append(replace(found, name=value.name, datatype=datatype, shape=shape))
    return tuple(tensors)


def export(original: Original, card: ModelCard, data: Dataset) -> Converted:
    """Give a graph the inputs and outputs that ``Predictor`` expects, and the fields of ``card`` as metadata.

    Raises UnfitError if that changes the predictions for the instances of ``data``.
    """
    instances = data.inputs()[:INSTANCES_TO_CHECK]
    heads, answers = ask(original, card, instances)
    graph = surround(original.graph, card, heads)
    for name, value in msgspec.structs.asdict(card).items():
        graph.metadata_props.add(key=name, value=msgspec.json.encode(value).decode())
    try:
        content: bytes = graph.SerializeToString()
        predictor = Predictor.load(content)
        served = answer(predictor, instances)
        # Also one at a time: in a batch, instances may affect each other's predictions.
        alone = [answer(predictor, [instance]) for instance in instances[:2]]
    except Exception as error:
        raise UnfitError(
            f"It cannot answer several instances together ({first_line(error)}): {FREE_FIRST}."
        ) from error
    expected = answer_by(heads, answers)
    tolerance = HALF_TOLERANCE if is_half(original.graph.graph) else TOLERANCE
    agree = agreement(card, served, expected, tolerance)
    for row, single in enumerate(alone):
        same = answer_by(heads, [each[row : row + 1] for each in answers])
        agree[row] &= agreement(card, single, same, tolerance).all()
    if 1 - agree.mean() > DISAGREE:
        raise UnfitError(
            f"{1 - agree.mean():.1%} of the instances would be answered differently from the model itself.\n"
            f"It may be random, need doubles in a table, or depend on the other instances: {FREE_FIRST}."
        )
    difference = largest_difference(served, expected, agree)
    return Converted(content, len(instances), int(agree.sum()), difference)


def ask(
    original: Original, card: ModelCard, instances: Sequence[Any]
) -> tuple[list[Head], Sequence[NDArray[Any]]]:
    """Return the heads of a graph, and its own outputs for instances."""
    answers = original.run(to_feeds(original, card, instances))
    classes = next((output.classes for output in card.outputs if output.classes), ())
    heads = find_heads(original, answers, classes, [output.name for output in card.outputs])
    return heads, answers


def to_feeds(
    original: Original, card: ModelCard, instances: Sequence[Any]
) -> dict[str, NDArray[Any]]:
    """Convert instances to the arrays that the original graph takes, whose doubles are not rounded."""
    inputs = inputs_of(original.graph.graph)
    if card.columns:
        arrays = [
            np.array(values, np.float64) if column.type == "number" else to_array(column, values)
            for column, values in zip(card.columns, zip(*instances, strict=True), strict=True)
        ]
        arrays = [np.stack(arrays, axis=1)] if len(inputs) == 1 else arrays
    else:
        arrays = [*to_inputs(card, instances).values()]
    feeds = {}
    for given, array in zip(inputs, arrays, strict=True):
        kind = given.type.tensor_type.elem_type
        if kind in LIMITS:
            array = array.clip(LIMITS[kind].min, LIMITS[kind].max)
        array = array.astype(helper.tensor_dtype_to_np_dtype(kind))
        if card.columns and (array.ndim == 1 or array.shape[1] == 1):
            # Most graphs take a column as a matrix with one column.
            array = array.reshape((-1, 1)[: len(dimensions(given))])
        feeds[given.name] = array
    return feeds


def is_half(graph: GraphProto) -> bool:
    """Whether a graph computes with 16-bit floats."""
    kinds = {value.type.tensor_type.elem_type for value in (*graph.input, *graph.output)}
    kinds |= {constant.data_type for constant in graph.initializer}
    return bool(kinds & {TensorProto.FLOAT16, TensorProto.BFLOAT16})
