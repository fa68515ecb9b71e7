"""Convert a PyTorch module, or a program saved by ``torch.export``, to an ONNX graph."""

import contextlib
import io
import logging
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from inference.runtime.signature import ModelCard, Scalar, to_inputs
from training.dataset import Dataset, UnfitError
from training.frameworks import onnx
from training.frameworks.graph import (
    FREE_FIRST,
    Original,
    dimensions,
    first_line,
    from_graph,
    inputs_of,
)
from training.verification import Converted

HOW_TO_SAVE = (
    "save a program: torch.export.save(torch.export.export(model.eval(), (rows,), "
    'dynamic_shapes=({0: torch.export.Dim("rows")},)), "model.pt2")'
)


def infer_signature(
    model: torch.nn.Module, data: Dataset, classes: Sequence[Scalar] = ()
) -> dict[str, Any]:
    """Return the inputs and outputs of a module, as fields of the model card.

    Its inputs are the arguments of ``forward``, in order: the tensors of ``data``, or one matrix of its columns.
    """
    return onnx.infer_signature(to_original(model, data), data, classes)


def export(model: torch.nn.Module, card: ModelCard, data: Dataset) -> Converted:
    """Convert a module to ONNX; raises UnfitError if the predictions differ."""
    return onnx.export(to_original(model, data), card, data)


def to_original(model: torch.nn.Module, data: Dataset) -> Original:
    """Export a module as a program for any number of instances, and convert that to a graph."""
    arrays = examples(data)
    rows = torch.export.Dim("rows")
    try:
        with quiet():
            program = torch.export.export(
                model.eval(),
                tuple(map(torch.from_numpy, arrays)),
                dynamic_shapes=tuple({0: rows} for _ in arrays),
            )
    except Exception as error:
        raise UnfitError(
            f"torch.export cannot export {type(model).__name__} for any number of instances: {first_line(error)}"
        ) from error
    return from_program(program)


def examples(data: Dataset) -> list[NDArray[Any]]:
    """Return two instances as inputs of the module."""
    instances = data.inputs()[:2]
    columns, tensors = data.describe_columns(), data.describe_tensors()
    if columns:
        return [np.array(instances, np.float32)]
    card = ModelCard(name="", dataset="", trained_on="", metrics={}, tensors=tensors, outputs=())
    return list(to_inputs(card, instances).values())


def load(path: Path) -> Original:
    """Read a file written by ``torch.export.save``; raises UnfitError for any other."""
    try:
        with quiet():
            program = torch.export.load(path)
    except Exception as error:
        raise UnfitError(f"{path} holds no program of torch.export: {HOW_TO_SAVE}") from error
    return from_program(program)


def from_program(program: torch.export.ExportedProgram) -> Original:
    """Convert a program to an ONNX graph, with the program itself as the reference."""
    try:
        with quiet():
            exported: Any = torch.onnx.export(program, dynamo=True, verbose=False)
    except Exception as error:
        raise UnfitError(
            f"PyTorch cannot convert the program to ONNX: {first_line(error)}"
        ) from error
    graph = exported.model_proto
    names = [given.name for given in inputs_of(graph.graph)]
    module = program.module()

    def run(feeds: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        with torch.no_grad():
            answers = module(*(torch.from_numpy(feeds[name]) for name in names))
        if not isinstance(answers, tuple | list):
            answers = [answers]
        return [tensor.numpy() for tensor in answers]

    original = from_graph(graph, f"a program of PyTorch {torch.__version__}")
    if any(size > 0 for given in inputs_of(graph.graph) for size in dimensions(given)[:1]):
        # It takes only the number of instances that it was exported with.
        raise UnfitError(
            f"The program takes a fixed number of instances: {FREE_FIRST}; {HOW_TO_SAVE}."
        )
    return original._replace(run=run)


@contextlib.contextmanager
def quiet() -> Any:
    """Silence the exporter's logs and warnings: the predictions are checked anyway."""
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)
