"""The signature: a model's inputs and outputs, and the other metadata in its file.

A model takes a table of typed columns, or tensors. The terms are those of MLflow (columns, tensors, required) and the
Open Inference Protocol (datatypes).
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any, Literal, NamedTuple, Self

import msgspec
import numpy as np
from numpy.typing import NDArray

Scalar = str | bool | int | float
Type = Literal["number", "integer", "boolean", "string"]
Datatype = Literal["BOOL", "INT32", "INT64", "FP32", "FP64", "BYTES"]

# Name of the only input for a table of numbers: a matrix of all its columns.
MATRIX = "instances"
# The value type of each Python type.
TYPE_OF: dict[type, Type] = {bool: "boolean", float: "number", int: "integer", str: "string"}
# The dtype in which the model receives each value type; text is an array of str.
DTYPES: dict[str, np.dtype[Any]] = {
    "number": np.dtype(np.float32),
    "integer": np.dtype(np.int64),
    "boolean": np.dtype(np.bool_),
    "string": np.dtype(object),
}
DATATYPES: dict[str, np.dtype[Any]] = {
    "BOOL": np.dtype(np.bool_),
    "INT32": np.dtype(np.int32),
    "INT64": np.dtype(np.int64),
    "FP32": np.dtype(np.float32),
    "FP64": np.dtype(np.float64),
    "BYTES": np.dtype(object),
}


class Column(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A column of a table and its statistics in the training data, in ``unit`` if it has one.

    ``required`` means that each row has a value. Only numbers and text may be missing; the model then gets NaN or the
    empty text. ``categories`` are the values of a text column with few distinct ones; if it ``is_closed``, the model
    accepts no others.

    ``counts`` is the number of training values in each category, or of false and of true, or between each two
    ``edges``, which bound numbers, or the number of characters of text. ``missing`` is the number of missing values.
    Each edge belongs to the bin below it, except that the first belongs to the first bin.
    """

    name: str
    type: Type = "number"
    unit: str = ""
    required: bool = True
    categories: tuple[str, ...] = ()
    is_closed: bool = False
    minimum: float | None = None
    maximum: float | None = None
    edges: tuple[float, ...] = ()
    counts: tuple[int, ...] = ()
    missing: int = 0
    example: Scalar | None = None


class Tensor(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An input that is an array: ``shape`` is that of one instance, with -1 for a dimension of any size.

    ``example`` is one instance, in nested lists. ``counts`` is the number of training instances whose mean, or whose
    mean number of characters for text, is between each two ``edges``.
    """

    name: str
    datatype: Datatype = "FP32"
    shape: tuple[int, ...]
    minimum: float | None = None
    maximum: float | None = None
    edges: tuple[float, ...] = ()
    counts: tuple[int, ...] = ()
    example: Any = None


class Output(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A value that the model predicts; for a classifier, ``classes`` are its values, in the order of probabilities.

    ``counts`` is the number of training labels of each class or, for numbers, between each two ``edges``.
    """

    name: str
    type: Type = "number"
    unit: str = ""
    classes: tuple[Scalar, ...] = ()
    edges: tuple[float, ...] = ()
    counts: tuple[int, ...] = ()


class Example(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An instance held out from training, with its true label if it has one."""

    instance: Any
    label: Scalar | None = None


class ModelCard(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """The signature and the provenance of a model.

    It has either ``columns`` or ``tensors``; ``trained_on`` is an ISO 8601 date, ``rows`` the number of training
    instances. The page shows the ``limits`` and the ``examples`` to everyone with access to it. ``sample`` holds
    instances whose answers are used to compare one model with another.
    """

    name: str
    dataset: str
    trained_on: str
    metrics: dict[str, float]
    columns: tuple[Column, ...] = ()
    tensors: tuple[Tensor, ...] = ()
    outputs: tuple[Output, ...]
    examples: tuple[Example, ...] = ()
    sample: tuple[Any, ...] = ()
    rows: int = 0
    limits: str = ""

    @classmethod
    def read(cls, fields: Mapping[str, Any]) -> Self:
        """Build the card from the fields of a model file; raises msgspec.ValidationError if they are invalid.

        Files of releases up to 0.2 have ``features``, all of them numbers, ``target`` and ``classes``.
        """
        fields = dict(fields)
        if "features" in fields:
            fields["columns"] = fields.pop("features")
            classes = fields.pop("classes", ())
            kind = "string" if classes else "number"
            output = {"name": fields.pop("target", ""), "type": kind, "classes": classes}
            fields["outputs"] = [output]
        return msgspec.convert(fields, cls)

    @cached_property
    def is_matrix(self) -> bool:
        """Whether the model takes a table of numbers as one array of shape (rows, columns)."""
        return all(column.type == "number" for column in self.columns) and not self.tensors

    @cached_property
    def example(self) -> Any:
        """An instance that the model must be able to predict: a row, or the values of its tensors by name."""
        if self.columns:
            return [column.example for column in self.columns]
        if len(self.tensors) == 1:
            return self.tensors[0].example
        return {tensor.name: tensor.example for tensor in self.tensors}


def infer_columns(example: Mapping[str, Scalar]) -> tuple[Column, ...]:
    """Return a required column for each value of an example row, with its type."""
    return tuple(
        Column(name=name, type=TYPE_OF[type(value)], example=value)
        for name, value in example.items()
    )


def to_label(value: Scalar) -> str:
    """Return a value as text, as used in JSON and metrics."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def class_names(output: Output) -> list[str]:
    """Return the classes of an output as text."""
    return [*map(to_label, output.classes)]


# An array for each input, by name; the first axis is the instances.
Inputs = dict[str, NDArray[Any]]


class Prediction(NamedTuple):
    """The predictions of one output for a batch of instances.

    ``values`` holds a class or a number for each instance; ``probabilities`` has the shape (instances, classes),
    or is None if the model returns none.
    """

    values: Sequence[Scalar]
    probabilities: NDArray[np.floating] | None = None


# One prediction for each output of the card, in order.
Predictions = tuple[Prediction, ...]
# A predictor returns its only output, or each output by its name.
Predict = Callable[[Inputs], Prediction | Mapping[str, Prediction]]


def take(predictions: Predictions, start: int, end: int) -> Predictions:
    """Return the predictions for a slice of the instances."""
    return tuple(
        Prediction(values[start:end], None if probabilities is None else probabilities[start:end])
        for values, probabilities in predictions
    )


def to_inputs(card: ModelCard, instances: Sequence[Any]) -> Inputs:
    """Convert instances that match the card to the model's inputs."""
    if card.is_matrix:
        return {MATRIX: np.array(instances, np.float32).reshape(len(instances), -1)}
    if card.columns:
        columns = zip(*instances, strict=True)
        return {
            column.name: to_array(column, values)
            for column, values in zip(card.columns, columns, strict=True)
        }
    if len(card.tensors) == 1:
        name = card.tensors[0].name
        instances = [each if isinstance(each, dict) else {name: each} for each in instances]
    return {
        tensor.name: stack(tensor, [instance[tensor.name] for instance in instances])
        for tensor in card.tensors
    }


def stack(tensor: Tensor, values: Sequence[Any]) -> NDArray[Any]:
    """Stack a tensor's nested lists; raises ValueError if they are uneven, or differ in size between instances."""
    array = np.array(values, DATATYPES[tensor.datatype])
    # NumPy turns uneven lists of text into an array of lists.
    if array.ndim != 1 + len(tensor.shape):
        raise ValueError(f"{tensor.name}: uneven lists")
    return array


def to_array(column: Column, values: Sequence[Any]) -> NDArray[Any]:
    """Convert the values of a column, with None for missing ones, to the model's input."""
    if column.type == "string" and not column.required:
        values = [value or "" for value in values]
    return np.array(values, DTYPES[column.type])


def count(inputs: Inputs) -> int:
    """Return the number of instances."""
    for array in inputs.values():
        return len(array)
    return 0
