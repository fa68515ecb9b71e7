"""Convert any ONNX graph to a self-describing one that ``Predictor`` runs."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import onnx
import onnx.version_converter
import onnxruntime as ort
import pandas as pd
from msgspec.structs import replace
from numpy.typing import NDArray
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto, helper

from inference.predictor import Predictor
from inference.runtime.signature import (
    DATATYPES,
    MATRIX,
    TYPE_OF,
    Column,
    ModelCard,
    Output,
    Prediction,
    Predictions,
    Scalar,
    Tensor,
    to_inputs,
)
from training import sample
from training.dataset import Dataset, UnfitError
from training.verification import (
    DISAGREE,
    HALF_TOLERANCE,
    INSTANCES_TO_CHECK,
    TOLERANCE,
    Converted,
    agreement,
    answer,
    is_index,
    largest_difference,
)

# Prefix for names in the inner graph, to avoid clashes with the nodes around it.
INNER = "model/"
ROWS = "rows"
# The most numbers per instance that are served as separate outputs.
MOST_NUMBERS = 64
FREE_FIRST = "export it with a free first dimension for the instances"

# The nodes added around a graph need at least the first of these opsets; an older graph is converted to the second.
NEW_ENOUGH = 13
NEWER = 18

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
# The type with which values of a column or a tensor reach a graph.
ARRIVES_AS: dict[str, int] = {
    "number": TensorProto.FLOAT,
    "integer": TensorProto.INT64,
    "boolean": TensorProto.BOOL,
    "string": TensorProto.STRING,
    "FP32": TensorProto.FLOAT,
    "FP64": TensorProto.DOUBLE,
    "INT32": TensorProto.INT32,
    "INT64": TensorProto.INT64,
    "BOOL": TensorProto.BOOL,
    "BYTES": TensorProto.STRING,
}
# Wider numbers are clipped to these limits before the cast.
LIMITS: dict[int, Any] = {
    kind: np.iinfo(helper.tensor_dtype_to_np_dtype(kind))
    for kind in (
        TensorProto.INT8,
        TensorProto.UINT8,
        TensorProto.INT16,
        TensorProto.UINT16,
        TensorProto.INT32,
        TensorProto.UINT32,
    )
}


class Original(NamedTuple):
    """A graph, its description, and a function that runs the model in its original framework.

    ``run`` takes an array for each input of the graph, by name, of the input's type, with the instances as first
    axis, and returns the outputs in the graph's order. ``classes`` are the classes named in the file.
    """

    kind: str
    graph: ModelProto
    run: Callable[[Mapping[str, NDArray[Any]]], Sequence[NDArray[Any]]]
    classes: tuple[Scalar, ...] = ()


class Head(NamedTuple):
    """An output of the service, and its source in the graph.

    ``values`` and ``scores`` are indices of graph outputs; ``column`` selects one number of several.
    ``scale`` converts scores to probabilities: Softmax, Sigmoid or none.
    """

    output: Output
    values: int | None
    scores: int | None = None
    column: int | None = None
    scale: str = ""


def load(path: Path) -> Original:
    """Read an ONNX file and its external data; raises UnfitError if it is invalid or too new."""
    try:
        graph = onnx.load(path)
    except Exception as error:
        raise UnfitError(
            f"{path} is no ONNX file, or a part of one: {first_line(error)}"
        ) from error
    if not graph.graph.output:
        raise UnfitError(f"{path} is no ONNX file, or a part of one: it has no output")
    opset = next((each.version for each in graph.opset_import if not each.domain), 0)
    return from_graph(graph, f"an ONNX graph of opset {opset}")


def from_graph(graph: ModelProto, kind: str) -> Original:
    """Wrap a graph that ONNX Runtime runs; raises UnfitError if it cannot."""
    classes = drop_zipmap(graph.graph)
    try:
        session = start(graph)
    except Exception as error:
        raise UnfitError(
            f"ONNX Runtime {ort.__version__} cannot load it: {first_line(error)}"
        ) from error
    fixed = {size for given in inputs_of(graph.graph) for size in dimensions(given)[:1] if size > 0}
    if fixed - {1}:
        raise UnfitError(
            f"It takes {max(fixed)} instances at a time, no more and no less: {FREE_FIRST}."
        )

    def run(feeds: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        if not fixed:
            return list(session.run(None, dict(feeds)))
        rows = [
            session.run(None, {name: array[row : row + 1] for name, array in feeds.items()})
            for row in range(len(next(iter(feeds.values()))))
        ]
        return [np.concatenate(parts) for parts in zip(*rows, strict=True)]

    return Original(kind, graph, run, classes)


def start(graph: ModelProto) -> ort.InferenceSession:
    """Create a session for a graph, with warnings silenced."""
    options = ort.SessionOptions()
    options.log_severity_level = 4
    return ort.InferenceSession(
        graph.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def first_line(error: Exception) -> str:
    """Return the first line of an error message, shortened and without ONNX Runtime's source locations."""
    line = str(error).strip().split("\n")[0]
    line = re.sub(
        r"^\[ONNXRuntimeError\] : \d+ : \w+ : |/onnxruntime_src/\S+ .*\) (?=\S)", "", line
    )
    if newest := re.search(r"Opset (\d+) .*support for domain (\S+) is till opset (\d+)", line):
        return f"it is of opset {newest[1]}, and {newest[3]} is the newest that it supports for {newest[2]}"
    return line[:200]


def inputs_of(graph: GraphProto) -> list[ValueInfoProto]:
    """Return the inputs that a graph requires, without its constants."""
    constants = {constant.name for constant in graph.initializer}
    return [given for given in graph.input if given.name not in constants]


def dimensions(value: ValueInfoProto) -> list[int]:
    """Return the shape of a value in a graph, with -1 for a dimension of any size."""
    return [
        size.dim_value if size.HasField("dim_value") else -1
        for size in value.type.tensor_type.shape.dim
    ]


def drop_zipmap(graph: GraphProto) -> tuple[Scalar, ...]:
    """Turn outputs that are lists of dictionaries into arrays; return the classes named in the dictionaries."""
    classes: tuple[Scalar, ...] = ()
    for node in [node for node in graph.node if node.op_type == "ZipMap"]:
        for place, output in enumerate(graph.output):
            if output.name == node.output[0]:
                array = helper.make_tensor_value_info(
                    node.input[0], TensorProto.FLOAT, [None, None]
                )
                graph.output[place].CopyFrom(array)
        for attribute in node.attribute:
            classes = tuple(map(to_scalar, helper.get_attribute_value(attribute)))
        graph.node.remove(node)
    return classes


def to_scalar(value: Any) -> Scalar:
    """Convert a class to its JSON type."""
    return value.decode() if isinstance(value, bytes) else value


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
        if len(names) != width or not names:
            takes = f"{width} columns" if width >= 0 else "columns"
            raise UnfitError(f"It takes {takes} and does not say which: {sample.NAME_THEM}")
        types = [kind for _, kind in kinds] * (1 if len(kinds) == width else width)
        if "string" not in types:
            return sample.make_up_columns(names, types)
    shapes = [dimensions(given)[1:] for given in inputs]
    if any(kind == "string" for _, kind in kinds) or any(-1 in shape for shape in shapes):
        raise UnfitError(
            "It takes text, or arrays of any size: give some by SAMPLE (.json or .npz)."
        )
    return {
        given.name: sample.make_up_tensor(shape, DATATYPES[datatype])
        for given, shape, (datatype, _) in zip(inputs, shapes, kinds, strict=True)
    }


def infer_signature(
    original: Original, data: Dataset, classes: Sequence[Scalar] = ()
) -> dict[str, Any]:
    """Return a graph's inputs and outputs, as fields of the model card; raises UnfitError if they cannot be served."""
    check_types(original)
    columns = describe_columns(original, data)
    tensors = () if columns else describe_tensors(original, data)
    card = ModelCard(
        name="model",
        dataset="",
        trained_on="",
        metrics={},
        columns=columns,
        tensors=tensors,
        outputs=(),
    )
    answers = original.run(to_feeds(original, card, data.inputs()[:INSTANCES_TO_CHECK]))
    heads = find_heads(original, answers, classes, data.targets)
    outputs = tuple(head.output for head in heads)
    return {"columns": columns, "tensors": tensors, "outputs": outputs}


def check_types(original: Original) -> None:
    """Raise UnfitError for an input whose type clients cannot send."""
    for given in inputs_of(original.graph.graph):
        kind = given.type.tensor_type.elem_type
        if kind not in SERVED_AS:
            name = TensorProto.DataType.Name(kind)
            raise UnfitError(f"Its input {given.name!r} is {name}, which cannot be served.")


def describe_columns(original: Original, data: Dataset) -> tuple[Column, ...]:
    """Return the columns of the data with the graph's types; none for tensors."""
    if not takes_table(original):
        return ()
    inputs = inputs_of(original.graph.graph)
    columns = data.describe_columns()
    width = (
        dimensions(inputs[0])[1] if len(inputs) == 1 and not column_names(original) else len(inputs)
    )
    if width not in (-1, len(columns)):
        raise UnfitError(
            f"It takes {width} columns, and there are {len(columns)} in the {data.name}."
        )
    kinds = [SERVED_AS[given.type.tensor_type.elem_type][1] for given in inputs]
    if len(kinds) < len(columns):
        kinds *= len(columns)
    return tuple(conform(column, kind) for column, kind in zip(columns, kinds, strict=True))


def conform(column: Column, kind: Any) -> Column:
    """Give a column the graph's type; raises UnfitError if its values do not have that type."""
    if column.type == kind:
        return column
    numbers = {"number", "integer"}
    if {column.type, kind} <= numbers and float(column.example or 0).is_integer() | (
        kind == "number"
    ):
        if kind == "integer" and not column.required:
            raise UnfitError(
                f"Column {column.name!r} has missing values, and the model takes whole numbers."
            )
        example = column.example
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


def to_feeds(
    original: Original, card: ModelCard, instances: Sequence[Any]
) -> dict[str, NDArray[Any]]:
    """Convert instances to the arrays that the original graph takes."""
    inputs = inputs_of(original.graph.graph)
    arrays = list(to_inputs(card, instances).values())
    if card.columns and len(inputs) == 1 and len(arrays) > 1:
        arrays = [np.stack(arrays, axis=1)]
    elif card.is_matrix and len(inputs) > 1:
        arrays = list(arrays[0].T)
    feeds = {}
    for given, array in zip(inputs, arrays, strict=True):
        kind = given.type.tensor_type.elem_type
        if kind in LIMITS:
            array = array.clip(LIMITS[kind].min, LIMITS[kind].max)
        array = array.astype(helper.tensor_dtype_to_np_dtype(kind))
        # Most graphs take a column as a matrix with one column.
        wide = len(dimensions(given)) == 2 and array.ndim == 1
        feeds[given.name] = array.reshape(-1, 1) if wide else array
    return feeds


def find_heads(
    original: Original,
    answers: Sequence[NDArray[Any]],
    classes: Sequence[Scalar],
    targets: Sequence[str] = (),
) -> list[Head]:
    """Infer the outputs of a graph from its predictions; raises UnfitError if one cannot be served."""
    heads: list[Head] = []
    names = [output.name for output in original.graph.graph.output]
    taken: set[int] = set()
    for place, (name, array) in enumerate(zip(names, answers, strict=True)):
        if place in taken:
            continue
        if not isinstance(array, np.ndarray):
            raise UnfitError(f"Its output {name!r} is no array, and cannot be served.")
        if array.ndim > 2 or array.ndim == 0:
            raise UnfitError(
                f"Its output {name!r} has shape {list(array.shape[1:])} for an instance: a value, a class or a row of "
                "numbers can be served."
            )
        width = array.size // len(array)
        if width == 1 and array.dtype.kind in "OUSiub":
            found = find_classes(original, answers, place, classes)
            if found:
                taken.add(place + 1)
                heads.append(Head(classified(name, found), place, place + 1))
            else:
                heads.append(Head(valued(name, array, classes), place))
        elif array.dtype.kind != "f":
            raise UnfitError(
                f"Its output {name!r} is a row of {array.dtype}, which cannot be served."
            )
        elif classes and width in ({len(classes), 1} if len(classes) == 2 else {len(classes)}):
            scale = scale_of(array.reshape(len(array), -1))
            heads.append(Head(classified(name, classes), None, place, scale=scale))
        elif width == 1:
            heads.append(Head(Output(name=name), place))
        elif not scale_of(array):
            heads.append(Head(classified(name, range(width)), None, place))
        elif width <= MOST_NUMBERS:
            heads += [
                Head(Output(name=f"{name}_{column}"), place, column=column)
                for column in range(width)
            ]
        else:
            raise UnfitError(
                f"Its output {name!r} is a row of {width} numbers: name the classes that these are scores of by "
                f"CLASSES, or export a model that gives at most {MOST_NUMBERS}."
            )
    # Only for text: whole numbers may be the targets of a regressor.
    is_text = bool(classes) and isinstance(classes[0], str)
    if is_text and not any(head.output.classes for head in heads):
        raise UnfitError(
            f"CLASSES names {len(classes)}, and no output of the model has as many scores."
        )
    if len(targets) == len(heads):
        heads = [
            head._replace(output=replace(head.output, name=target))
            for head, target in zip(heads, targets, strict=True)
        ]
    return heads


def classified(name: str, classes: Sequence[Scalar]) -> Output:
    """Return an output of classes."""
    return Output(name=name, type=TYPE_OF[type(classes[0])], classes=tuple(classes))


def valued(name: str, array: NDArray[Any], classes: Sequence[Scalar]) -> Output:
    """Return an output of text, whole numbers or booleans."""
    kinds: Any = {"b": "boolean", "i": "integer", "u": "integer"}
    kind = kinds.get(array.dtype.kind, "string")
    found = set(array.ravel().tolist())
    return Output(name=name, type=kind, classes=tuple(classes) if found <= set(classes) else ())


def find_classes(
    original: Original, answers: Sequence[NDArray[Any]], place: int, classes: Sequence[Scalar]
) -> Sequence[Scalar]:
    """Return the classes of the labels in an output if the next output has their scores; none otherwise."""
    labels = answers[place].ravel().tolist()
    scores = answers[place + 1] if place + 1 < len(answers) else np.empty(0)
    if scores.ndim != 2 or scores.shape[1] < 2 or scores.dtype.kind != "f":
        return ()
    best = scores.argmax(axis=1).tolist()
    known: list[Sequence[Scalar]] = [original.classes, *attributes(original.graph.graph)]
    width = scores.shape[1]
    for candidate in (classes, *known, range(width)):
        if len(candidate) == width and all(
            label in (candidate[index], index) for label, index in zip(labels, best, strict=True)
        ):
            return tuple(candidate)
    seen = dict(zip(best, labels, strict=True))
    if len(seen) == width and all(
        seen[index] == label for label, index in zip(labels, best, strict=True)
    ):
        return tuple(seen[index] for index in range(width))
    if isinstance(labels[0], str):
        raise UnfitError(
            f"It has {width} classes whose names are not in the file: give them by CLASSES."
        )
    return ()


def attributes(graph: GraphProto) -> Iterator[tuple[Scalar, ...]]:
    """Yield the classes named in the nodes of a graph."""
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.name.startswith("classlabels_"):
                yield tuple(map(to_scalar, helper.get_attribute_value(attribute)))


def scale_of(scores: NDArray[Any]) -> str:
    """Return the operator that turns scores of shape (instances, classes) into probabilities; empty if they are."""
    is_share = bool(((scores >= 0) & (scores <= 1)).all())
    if scores.shape[1] == 1:
        return "" if is_share else "Sigmoid"
    return "" if is_share and np.allclose(scores.sum(axis=1), 1, atol=1e-3) else "Softmax"


def export(original: Original, card: ModelCard, data: Dataset) -> Converted:
    """Give a graph the inputs and outputs that ``Predictor`` expects, and the fields of ``card`` as metadata.

    Raises UnfitError if that changes the predictions for the instances of ``data``.
    """
    instances = data.inputs()[:INSTANCES_TO_CHECK]
    heads, answers = ask(original, card, instances)
    graph = surround(original, card, heads)
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
            f"{1 - agree.mean():.1%} of the instances would be answered differently from the model itself, which a "
            f"fixed number of instances may cause: {FREE_FIRST}."
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


def expect(
    original: Original, card: ModelCard, data: Dataset, instances: Sequence[Any]
) -> Predictions:
    """Return the predictions of the original graph."""
    return answer_by(*ask(original, card, instances))


def is_half(graph: GraphProto) -> bool:
    """Whether a graph computes with 16-bit floats."""
    kinds = {value.type.tensor_type.elem_type for value in (*graph.input, *graph.output)}
    kinds |= {constant.data_type for constant in graph.initializer}
    return bool(kinds & {TensorProto.FLOAT16, TensorProto.BFLOAT16})


def answer_by(heads: Sequence[Head], answers: Sequence[NDArray[Any]]) -> Predictions:
    """Compute the expected predictions of each head from the graph's own outputs."""
    predictions = []
    for head in heads:
        classes = head.output.classes
        probabilities = None
        if head.scores is not None:
            probabilities = to_probabilities(answers[head.scores].astype(np.float64), head)
        if head.values is None:
            values = [classes[index] for index in np.asarray(probabilities).argmax(axis=1)]
        else:
            array = answers[head.values].reshape(len(answers[0]), -1)[:, head.column or 0]
            values = array.tolist()
            if is_index(head.output, array):
                values = [classes[index] for index in values]
        predictions.append(Prediction(values, probabilities))
    return tuple(predictions)


def to_probabilities(scores: NDArray[Any], head: Head) -> NDArray[Any]:
    """Convert scores to probabilities, an array of shape (instances, classes)."""
    scores = scores.reshape(len(scores), -1)
    if head.scale == "Softmax":
        powers = np.exp(scores - scores.max(axis=1, keepdims=True))
        return np.asarray(powers / powers.sum(axis=1, keepdims=True))
    if head.scale == "Sigmoid":
        scores = 1 / (1 + np.exp(-scores))
    if scores.shape[1] == 1 and len(head.output.classes) == 2:
        return np.hstack([1 - scores, scores])
    return scores


def surround(original: Original, card: ModelCard, heads: Sequence[Head]) -> ModelProto:
    """Wrap a graph in nodes that convert its inputs and outputs to the form that ``Predictor`` expects."""
    copy = renew(original.graph)
    free_first_dimensions(copy.graph)
    inner = onnx.compose.add_prefix(copy, INNER)
    graph = inner.graph
    outer_inputs, before = make_inputs(inputs_of(graph), card)
    outer_outputs, after = make_outputs(graph, heads)
    nodes = [*before.nodes, *graph.node, *after.nodes]
    constants = [*graph.initializer, *before.constants, *after.constants]
    # Sorted, so that the bytes are reproducible.
    opsets = sorted((opset.domain, opset.version) for opset in inner.opset_import)
    return helper.make_model(
        helper.make_graph(
            nodes,
            card.name,
            outer_inputs,
            outer_outputs,
            constants,
            sparse_initializer=graph.sparse_initializer,
        ),
        functions=inner.functions,
        opset_imports=[helper.make_opsetid(*opset) for opset in opsets],
        ir_version=inner.ir_version,
    )


def renew(graph: ModelProto) -> ModelProto:
    """Copy a graph, converted to a newer opset if needed; raises UnfitError if that fails."""
    copy = ModelProto()
    copy.CopyFrom(graph)
    versions = [opset.version for opset in copy.opset_import if not opset.domain]
    if not versions:
        copy.opset_import.add(domain="", version=NEWER)
    elif versions[0] < NEW_ENOUGH:
        try:
            copy = onnx.version_converter.convert_version(copy, NEWER)
        except Exception as error:
            raise UnfitError(
                f"It is of opset {versions[0]} and cannot be converted to {NEWER} ({first_line(error)}): export it "
                f"with opset {NEW_ENOUGH} or newer."
            ) from error
    return copy


def free_first_dimensions(graph: GraphProto) -> None:
    """Let a graph take any number of instances; drop the shapes of its intermediate values."""
    for value in (*graph.input, *graph.output):
        size = value.type.tensor_type.shape.dim
        if len(size):
            size[0].dim_param = ROWS
    del graph.value_info[:]


class Nodes:
    """Nodes to add to a graph, and their constants."""

    def __init__(self, prefix: str) -> None:
        self.nodes: list[NodeProto] = []
        self.constants: list[TensorProto] = []
        self._prefix = prefix

    def add(self, kind: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        """Add a node with one output, and return the output's name."""
        output = output or f"{self._prefix}{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    def constant(self, kind: int, values: Any, shape: Sequence[int] = ()) -> str:
        """Add a constant, and return its name."""
        name = f"{self._prefix}constant{len(self.constants)}"
        self.constants.append(helper.make_tensor(name, kind, shape, values))
        return name


def make_inputs(
    inner: Sequence[ValueInfoProto], card: ModelCard
) -> tuple[list[ValueInfoProto], Nodes]:
    """Return the inputs that ``Predictor`` provides, and nodes that convert them for the inner graph."""
    nodes = Nodes("before/")
    if card.is_matrix:
        width = len(card.columns)
        outer = [helper.make_tensor_value_info(MATRIX, TensorProto.FLOAT, [ROWS, width])]
        if len(inner) == 1:
            parts = [MATRIX]
        else:
            sizes = nodes.constant(TensorProto.INT64, [1] * width, [width])
            parts = [f"before/column{place}" for place in range(width)]
            nodes.nodes.append(helper.make_node("Split", [MATRIX, sizes], parts, axis=1))
        kinds: list[int] = [TensorProto.FLOAT] * len(parts)
    elif card.columns:
        kinds = [ARRIVES_AS[column.type] for column in card.columns]
        outer = [
            helper.make_tensor_value_info(column.name, kind, [ROWS, 1])
            for column, kind in zip(card.columns, kinds, strict=True)
        ]
        parts = [column.name for column in card.columns]
        if len(inner) == 1 and len(parts) > 1:
            parts, kinds = [nodes.add("Concat", *parts, axis=1)], kinds[:1]
    else:
        kinds = [ARRIVES_AS[tensor.datatype] for tensor in card.tensors]
        outer = [
            helper.make_tensor_value_info(
                tensor.name, kind, [ROWS, *(size if size >= 0 else None for size in tensor.shape)]
            )
            for tensor, kind in zip(card.tensors, kinds, strict=True)
        ]
        parts = [tensor.name for tensor in card.tensors]
    for part, kind, value in zip(parts, kinds, inner, strict=True):
        if card.columns and len(dimensions(value)) == 1:
            part = nodes.add("Squeeze", part, nodes.constant(TensorProto.INT64, [1], [1]))
        wanted = value.type.tensor_type.elem_type
        if wanted in LIMITS and wanted != kind:
            low, high = (
                nodes.constant(kind, [limit]) for limit in (LIMITS[wanted].min, LIMITS[wanted].max)
            )
            part = nodes.add("Clip", part, low, high)
        if wanted == kind:
            nodes.add("Identity", part, output=value.name)
        else:
            nodes.add("Cast", part, output=value.name, to=wanted)
    return outer, nodes


def make_outputs(graph: GraphProto, heads: Sequence[Head]) -> tuple[list[ValueInfoProto], Nodes]:
    """Return the outputs that ``Predictor`` requests, and nodes that convert the inner graph's outputs to them."""
    nodes = Nodes("after/")
    outer = []
    for place, head in enumerate(heads):
        suffix = f"_{place}" if len(heads) > 1 else ""
        scores = ""
        if head.scores is not None:
            scores = add_probabilities(
                nodes, graph.output[head.scores], head, f"probabilities{suffix}"
            )
        kind: int = TensorProto.INT64
        values = f"values{suffix}"
        if head.values is None:
            classes = head.output.classes
            if head.output.type == "integer" and classes != tuple(range(len(classes))):
                found = nodes.add("ArgMax", scores, axis=1, keepdims=0)
                named = nodes.constant(TensorProto.INT64, classes, [len(classes)])
                nodes.add("Gather", named, found, output=values)
            else:
                nodes.add("ArgMax", scores, output=values, axis=1, keepdims=0)
        else:
            kind = add_values(nodes, graph.output[head.values], head, values)
        outer.append(helper.make_tensor_value_info(values, kind, None))
        if scores:
            outer.append(helper.make_tensor_value_info(scores, TensorProto.FLOAT, None))
    return outer, nodes


def add_values(nodes: Nodes, output: ValueInfoProto, head: Head, name: str) -> int:
    """Add nodes that provide the values of an output by that name; return their type."""
    value, kind = output.name, output.type.tensor_type.elem_type
    if head.column is not None:
        index = nodes.constant(TensorProto.INT64, [head.column])
        value = nodes.add("Gather", value, index, axis=1)
    if kind in (TensorProto.FLOAT16, TensorProto.BFLOAT16):
        value, kind = nodes.add("Cast", value, to=TensorProto.FLOAT), TensorProto.FLOAT
    nodes.add("Identity", value, output=name)
    return int(kind)


def add_probabilities(nodes: Nodes, output: ValueInfoProto, head: Head, name: str) -> str:
    """Add nodes that convert an output's scores to probabilities of that name; return the name."""
    value = output.name
    if output.type.tensor_type.elem_type != TensorProto.FLOAT:
        value = nodes.add("Cast", value, to=TensorProto.FLOAT)
    if head.scale:
        options: dict[str, Any] = {"axis": 1} if head.scale == "Softmax" else {}
        value = nodes.add(head.scale, value, **options)
    if len(head.output.classes) == 2 and head.values is None and is_single(output):
        shape = nodes.constant(TensorProto.INT64, [-1, 1], [2])
        value = nodes.add("Reshape", value, shape)
        one = nodes.constant(TensorProto.FLOAT, [1.0])
        return nodes.add("Concat", nodes.add("Sub", one, value), value, output=name, axis=1)
    return nodes.add("Identity", value, output=name)


def is_single(output: ValueInfoProto) -> bool:
    """Whether an output has one number per instance."""
    return dimensions(output)[1:] in ([], [1])
