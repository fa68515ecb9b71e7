"""Read ONNX graphs, run them, and edit them."""

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import GraphProto, ModelProto, TensorProto, ValueInfoProto, helper

from inference.runtime.signature import MATRIX, Scalar
from training.dataset import UnfitError

FREE_FIRST = "export it with a free first dimension for the instances"


class Original(NamedTuple):
    """A graph, its description, and a function that runs the model in its original framework.

    ``run`` takes an array for each input of the graph, by name, of the input's type, with the instances as first
    axis, and returns the outputs in the graph's order. ``classes`` are the classes named in the file.
    """

    kind: str
    graph: ModelProto
    run: Callable[[Mapping[str, NDArray[Any]]], Sequence[NDArray[Any]]]
    classes: tuple[Scalar, ...] = ()


def load(path: Path) -> Original:
    """Read an ONNX file and its external data; raises UnfitError if it is invalid or too new."""
    try:
        graph = onnx.load(path)
    except Exception as error:
        raise UnfitError(
            f"{path} is not an ONNX file, or is incomplete: {first_line(error)}"
        ) from error
    if not graph.graph.output:
        raise UnfitError(f"{path} is not an ONNX file, or is incomplete: it has no output")
    opset = next((each.version for each in graph.opset_import if not each.domain), 0)
    return from_graph(graph, f"an ONNX graph of opset {opset}")


def from_graph(graph: ModelProto, kind: str) -> Original:
    """Wrap a graph that ONNX Runtime runs; raises UnfitError if it cannot."""
    classes = drop_zipmap(graph.graph)
    use_locale_of_images(graph.graph)
    try:
        session = start(graph)
    except Exception as error:
        raise UnfitError(
            f"ONNX Runtime {ort.__version__} cannot load it: {first_line(error)}"
        ) from error
    for given in inputs_of(graph.graph):
        if not dimensions(given):
            raise UnfitError(
                f"Its input {given.name!r} has no dimension for the instances: give it one, or make it a constant."
            )
    fixed = {size for given in inputs_of(graph.graph) for size in dimensions(given)[:1] if size > 0}
    if fixed - {1}:
        raise UnfitError(f"It takes exactly {max(fixed)} instances at a time: {FREE_FIRST}.")

    def run(feeds: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        if not fixed:
            return list(session.run(None, dict(feeds)))
        rows = [
            session.run(None, {name: array[row : row + 1] for name, array in feeds.items()})
            for row in range(len(next(iter(feeds.values()))))
        ]
        return [np.concatenate(parts) for parts in zip(*rows, strict=True)]

    return Original(kind, graph, run, classes)


def use_locale_of_images(graph: GraphProto) -> None:
    """Replace the default locale of nodes that change case, which a slim image lacks."""
    for node in graph.node:
        given = [each for each in node.attribute if each.name == "locale"]
        if node.op_type == "StringNormalizer" and all(each.s == b"en_US" for each in given):
            kept = [each for each in node.attribute if each not in given]
            del node.attribute[:]
            node.attribute.extend([*kept, helper.make_attribute("locale", "C.UTF-8")])


def start(graph: ModelProto) -> ort.InferenceSession:
    """Create a session for a graph, with warnings silenced."""
    options = ort.SessionOptions()
    options.log_severity_level = 4
    return ort.InferenceSession(
        graph.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def first_line(error: Exception) -> str:
    """Return the first line of an error message, shortened and without the source locations of libraries."""
    line = str(error).strip().split("\n")[0]
    places = r"/onnxruntime_src/\S+ .*\) (?=\S)|^\[[\d:]+\] \S+:\d+: "
    line = re.sub(rf"^\[ONNXRuntimeError\] : \d+ : \w+ : |{places}", "", line)
    if newest := re.search(r"Opset (\d+) .*support for domain (\S+) is till opset (\d+)", line):
        return f"it is of opset {newest[1]}, and {newest[3]} is the newest that it supports for {newest[2]}: export it with that"
    return re.sub(r"(max supported IR version: \d+)", r"\1: set its ir_version to that", line)[:200]


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
