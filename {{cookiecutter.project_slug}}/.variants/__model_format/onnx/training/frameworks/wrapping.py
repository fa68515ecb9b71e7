"""Wrap a graph in nodes that give it the inputs and outputs that ``Predictor`` expects."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import onnx.version_converter
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto, helper

from inference.runtime.signature import MATRIX, ModelCard
from training.dataset import UnfitError
from training.frameworks.graph import dimensions, first_line, inputs_of
from training.frameworks.heads import Head

# Prefix for names in the inner graph, to avoid clashes with the nodes around it.
INNER = "model/"
ROWS = "rows"
# The nodes added around a graph need at least the first of these opsets; an older graph is converted to the second.
NEW_ENOUGH = 13
NEWER = 18
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
    TensorProto.DataType.Value(name.upper()): np.iinfo(name)
    for name in ("int8", "uint8", "int16", "uint16", "int32", "uint32")
}


def surround(original: ModelProto, card: ModelCard, heads: Sequence[Head]) -> ModelProto:
    """Wrap a graph in nodes that convert its inputs and outputs to the form that ``Predictor`` expects."""
    copy = renew(original)
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
