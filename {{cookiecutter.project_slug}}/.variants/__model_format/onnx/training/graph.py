"""Changes to ONNX graphs."""

from collections.abc import Sequence
from typing import Any

from onnx import GraphProto, TensorProto, helper

from inference.runtime.signature import MATRIX


def join_columns(graph: GraphProto) -> None:
    """Replace the inputs of a graph, one per column, by a single matrix."""
    names = [given.name for given in graph.input]
    sizes = helper.make_tensor("columns_sizes", TensorProto.INT64, [len(names)], [1] * len(names))
    graph.initializer.append(sizes)
    split = helper.make_node("Split", [MATRIX, sizes.name], names, "columns", axis=1)
    graph.node.insert(0, split)
    del graph.input[:]
    shape = [None, len(names)]
    graph.input.append(helper.make_tensor_value_info(MATRIX, TensorProto.FLOAT, shape))


def rename(graph: GraphProto, old: str, new: str) -> None:
    """Rename a value of a graph."""
    for node in graph.node:
        for names in (node.input, node.output):
            for place, name in enumerate(names):
                if name == old:
                    names[place] = new
    for value in (*graph.input, *graph.output):
        if value.name == old:
            value.name = new


def look_up(graph: GraphProto, name: str, numbers: Sequence[Any]) -> None:
    """Map an output of indices to the whole numbers at these indices."""
    table = helper.make_tensor(f"{name}_table", TensorProto.INT64, [len(numbers)], numbers)
    graph.initializer.append(table)
    rename(graph, name, f"{name}_index")
    node = helper.make_node("Gather", [table.name, f"{name}_index"], [name], name)
    graph.node.append(node)
    for output in graph.output:
        if output.name == f"{name}_index":
            output.name = name
