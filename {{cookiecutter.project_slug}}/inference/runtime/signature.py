"""The signature: what a model takes and what it answers, and what else its file says about it.

A model takes a table of typed columns, or tensors. Its words are MLflow's (columns, tensors, required) and the
Open Inference Protocol's (datatypes).
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

# The one input of a table of numbers: a matrix of all its columns.
MATRIX = "instances"
# The type of a value.
TYPE_OF: dict[type, Type] = {bool: "boolean", float: "number", int: "integer", str: "string"}
# As what a column's values reach the model; text is an array of str.
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
    """A column of a table, with what training saw of it, in ``unit`` where it has one.

    ``required``: each row has a value. Where one may be missing, which only numbers and text may, it reaches the
    model as NaN or as the empty text. ``categories`` are the values of a column of text that has few; where it
    ``is_closed``, the model takes no others.

    ``counts`` has how many of its values training saw of each category, or of false and of true, or between each two
    of the ``edges``: of numbers, or of the characters of text. ``missing`` is how many it had none of. Each edge
    belongs to the bin below it, the first to its own.
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
    """An input that is an array: ``shape`` is that of one instance, -1 a dimension of any size.

    ``example`` is one instance, in nested lists. ``counts`` has how many instances training saw whose mean is between
    each two of the ``edges``, or the mean number of characters of whose texts.
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
    """Something that the model predicts; ``classes`` are its values, where a classifier has probabilities of them.

    ``counts`` has how many labels training saw of each class; or, of numbers, between each two of the ``edges``.
    """

    name: str
    type: Type = "number"
    unit: str = ""
    classes: tuple[Scalar, ...] = ()
    edges: tuple[float, ...] = ()
    counts: tuple[int, ...] = ()


class Example(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An instance that was held out in training, and its true label where there is one."""

    instance: Any
    label: Scalar | None = None


class ModelCard(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """The signature of a model and where it comes from.

    It has ``columns`` or ``tensors``; ``trained_on`` is an ISO 8601 date, ``rows`` the number of instances it was
    trained on. The page shows the ``limits``, and offers the ``examples``, to everybody who may ask. ``sample`` holds
    instances by whose answers one model is compared with another.
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
        """The card of a model file; raises msgspec.ValidationError where the fields are not one.

        A file of the releases up to 0.2 has ``features``, all of them numbers, ``target`` and ``classes``.
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
        """Whether the model takes a table of numbers, as one array of shape (rows, columns)."""
        return all(column.type == "number" for column in self.columns) and not self.tensors

    @cached_property
    def example(self) -> Any:
        """An instance that the model must be able to answer: a row, or the values of its tensors by name."""
        if self.columns:
            return [column.example for column in self.columns]
        if len(self.tensors) == 1:
            return self.tensors[0].example
        return {tensor.name: tensor.example for tensor in self.tensors}


def infer_columns(example: Mapping[str, Scalar]) -> tuple[Column, ...]:
    """A column for each value of an example row, of its type; each is required."""
    return tuple(
        Column(name=name, type=TYPE_OF[type(value)], example=value)
        for name, value in example.items()
    )


def to_label(value: Scalar) -> str:
    """A value as text, as JSON and metrics name it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def class_names(output: Output) -> list[str]:
    """The classes of an output as text."""
    return [*map(to_label, output.classes)]


# An array for each input, by its name; the first axis is that of the instances.
Inputs = dict[str, NDArray[Any]]


class Prediction(NamedTuple):
    """What a model answers for a batch of instances, of one output.

    ``values`` holds a class or a number for each instance; ``probabilities`` has the shape (instances, classes),
    or is None where the model gives none.
    """

    values: Sequence[Scalar]
    probabilities: NDArray[np.floating] | None = None


# One for each output of the card, in their order.
Predictions = tuple[Prediction, ...]
# A predictor returns its only output, or each output by its name.
Predict = Callable[[Inputs], Prediction | Mapping[str, Prediction]]


def to_inputs(card: ModelCard, instances: Sequence[Any]) -> Inputs:
    """Instances that fit the card as what the model takes."""
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
    """A tensor's nested lists of some instances; raises ValueError where they are not even, or of different sizes."""
    array = np.array(values, DATATYPES[tensor.datatype])
    # Uneven lists of text make an array of lists.
    if array.ndim != 1 + len(tensor.shape):
        raise ValueError(f"{tensor.name}: uneven lists")
    return array


def to_array(column: Column, values: Sequence[Any]) -> NDArray[Any]:
    """The values of a column, None where one is missing, as what the model takes."""
    if column.type == "string" and not column.required:
        values = [value or "" for value in values]
    return np.array(values, DTYPES[column.type])


def count(inputs: Inputs) -> int:
    """The number of instances."""
    for array in inputs.values():
        return len(array)
    return 0
