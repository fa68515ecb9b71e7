"""Training data, and its description for the model card."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Self

import msgspec
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.model_selection import train_test_split

from inference.formats.instances import FLOAT32_MAX
from inference.monitoring.distributions import (
    Distribution,
    measure_mean,
    measure_text,
    of_column,
    of_tensor,
)
from inference.runtime.signature import MATRIX, Column, Example, Output, Scalar, Tensor

# A text column with more distinct values than this is free text.
MOST_CATEGORIES = 50
# Number of quantile bins for numbers.
BINS = 10
# Limit for all examples together, and for the sample.
MOST_CHARACTERS = 20_000
# Enough to estimate shares.
SAMPLE_SIZE = 100
# The served datatype for each kind of array.
DATATYPES: dict[str, Any] = {"b": "BOOL", "i": "INT64", "u": "INT64", "f": "FP32"}


class UnfitError(Exception):
    """Raised for data or a model that cannot be served; the message says why, and what to do instead."""


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """Training data: instances, and the labels to predict.

    ``rows`` is a pandas or polars DataFrame, an array of numbers of shape (rows, columns) with the names of its
    columns in ``features``, an array of more dimensions, the first of which is the instances, or a dict of such arrays
    by name. ``labels`` are text, numbers or booleans of shape (rows,), of shape (rows, targets) or a DataFrame for
    several targets, or None for unsupervised models. ``target`` is the name of the target, or a name for each of
    several. If ``classes`` gives class names, labels are indices into it. ``examples`` is the number of instances
    stored in the model file, one of each class first, and offered on the page; a larger sample is stored too, to
    compare each release with the previous one. 0 stores neither, for data that no user may see. ``units`` are the
    units of columns and targets, by name, and ``limits`` says what the model must not be used for; the page shows both.
    """

    name: str
    rows: Any
    features: Sequence[str] = ()
    target: str | Sequence[str] = "prediction"
    labels: Any = None
    classes: Sequence[str] = ()
    examples: int = 6
    units: Mapping[str, str] = field(default_factory=dict)
    limits: str = ""

    def __post_init__(self) -> None:
        """Normalize rows and labels; raise UnfitError if they do not match."""
        rows = to_rows(self.rows, self.features)
        labels = self.labels
        if hasattr(labels, "to_pandas") or hasattr(labels, "to_numpy"):
            if getattr(labels, "ndim", 1) == 2 and self.target == "prediction":
                object.__setattr__(self, "target", tuple(map(str, labels.columns)))
            labels = labels.to_numpy()
        if labels is not None:
            labels = to_labels(np.asarray(labels), self.classes)
            if len(labels) != count(rows):
                raise UnfitError(f"there are {count(rows)} rows and {len(labels)} labels")
        for attribute, value in (("rows", rows), ("labels", labels), ("classes", ())):
            object.__setattr__(self, attribute, value)
        width = len(self.targets) if labels is None else 1 if labels.ndim == 1 else labels.shape[1]
        if len(self.targets) != width:
            raise UnfitError(f"target must name {width} column(s) of labels, not {self.targets}")
        names = rows.columns if isinstance(rows, pd.DataFrame) else self.features
        for name in self.targets:
            if labels is not None and name in names:
                raise UnfitError(
                    f"the target {name!r} is a column of rows too: take it out with frame.pop({name!r})"
                )
        for name in self.units:
            if name not in [*names, *self.targets]:
                raise UnfitError(f"units names {name!r}, which is neither a column nor a target")

    def __len__(self) -> int:
        """Return the number of instances."""
        return count(self.rows)

    @property
    def targets(self) -> list[str]:
        """The names of the targets."""
        return [self.target] if isinstance(self.target, str) else list(self.target)

    def split(self, held_out: float, seed: int) -> tuple[Self, Self]:
        """Split the instances randomly in two; the second part has the share ``held_out`` of them."""
        if len(self) < 10:
            raise UnfitError(f"there are {len(self)} rows: training takes at least 10")
        kept, held = train_test_split(
            np.arange(count(self.rows)),
            test_size=held_out,
            random_state=seed,
            stratify=self.labels if self._can_stratify() else None,
        )
        return self._take(kept), self._take(held)

    def _take(self, places: NDArray[np.intp]) -> Self:
        if isinstance(self.rows, pd.DataFrame):
            rows = self.rows.iloc[places].reset_index(drop=True)
        elif isinstance(self.rows, dict):
            rows = {name: array[places] for name, array in self.rows.items()}
        else:
            rows = self.rows[places]
        labels = None if self.labels is None else self.labels[places]
        return replace(self, rows=rows, labels=labels)

    def _can_stratify(self) -> bool:
        """Whether the labels are classes, each frequent enough for both parts."""
        if self.labels is None or self.labels.ndim > 1 or self.labels.dtype.kind == "f":
            return False
        _, counts = np.unique(self.labels, return_counts=True)
        return bool(counts.min() >= 2 and len(counts) <= len(self.labels) * 0.1)

    def describe_columns(self) -> tuple[Column, ...]:
        """Describe the columns of a table, their types and values; return none for tensors.

        Raises UnfitError, which names the column, for one that cannot be served.
        """
        return self._columns

    @cached_property
    def _columns(self) -> tuple[Column, ...]:
        if self.is_tensors:
            return ()
        frame = self.rows
        if not isinstance(frame, pd.DataFrame):
            frame = pd.DataFrame(frame.astype(float), columns=self.features)
        columns = [describe(str(name), frame[name]) for name in frame]
        if all(column.type in ("number", "integer") for column in columns):
            # A matrix has one type, and columns of whole numbers may get fractions later.
            columns = [as_number(column, frame[column.name]) for column in columns]
        return tuple(
            msgspec.structs.replace(column, unit=self.units.get(column.name, ""))
            for column in columns
        )

    @property
    def is_tensors(self) -> bool:
        """Whether the instances are arrays, not rows of a table."""
        return isinstance(self.rows, dict) or (
            isinstance(self.rows, np.ndarray) and self.rows.ndim > 2
        )

    def describe_tensors(self) -> tuple[Tensor, ...]:
        """Describe each tensor by type, shape and an example; return none for a table."""
        if not self.is_tensors:
            return ()
        arrays = self.rows if isinstance(self.rows, dict) else {MATRIX: self.rows}
        return tuple(describe_tensor(name, array) for name, array in arrays.items())

    def describe_outputs(self, outputs: Sequence[Output]) -> tuple[Output, ...]:
        """Add units and the distribution of the labels to the outputs."""
        outputs = [
            msgspec.structs.replace(output, unit=self.units.get(output.name, ""))
            for output in outputs
        ]
        if self.labels is None:
            return tuple(outputs)
        columns = self.labels.reshape(len(self.labels), -1).T
        return tuple(
            distributed(output, column) for output, column in zip(outputs, columns, strict=True)
        )

    def keep_examples(self, outputs: Sequence[Output]) -> tuple[Example, ...]:
        """Return instances for the page: one of each class first, or spread from the lowest label to the highest.

        Large instances are cut off at MOST_CHARACTERS in total.
        """
        places = np.arange(min(self.examples, len(self)))
        is_single = self.labels is not None and self.labels.ndim == 1
        if is_single and outputs[0].classes:
            places = np.unique(self.labels, return_index=True)[1][: len(places)]
        elif is_single:
            ranks = np.linspace(0, len(self) - 1, len(places)).astype(int)
            places = np.argsort(self.labels, kind="stable")[ranks]
        kept = self._take(places)
        instances = kept._first_instances()
        labels = shortest(kept.labels.tolist()) if is_single else [None] * len(places)
        return tuple(
            Example(instance=instance, label=label)
            for instance, label in zip(instances, labels, strict=False)
        )

    def keep_sample(self) -> tuple[Any, ...]:
        """Return instances for comparing the predictions of two models; none if no examples are stored."""
        size = SAMPLE_SIZE if self.examples else 0
        return tuple(self._take(np.arange(min(size, len(self))))._first_instances())

    def _first_instances(self) -> list[Any]:
        """Return as many instances, in the form that clients send, as fit into MOST_CHARACTERS."""
        instances: list[Any] = shortest(self.inputs())
        lengths = np.cumsum([len(repr(instance)) for instance in instances])
        return instances[: int(np.sum(lengths <= MOST_CHARACTERS))]

    def known_classes(self) -> list[Scalar]:
        """Return the classes of a single label column; none for floats or without labels."""
        if self.labels is None or self.labels.ndim > 1 or self.labels.dtype.kind == "f":
            return []
        classes: list[Scalar] = np.unique(self.labels).tolist()
        return classes

    def inputs(self) -> list[Any]:
        """Return the instances in the form that clients send, with None for missing values."""
        if isinstance(self.rows, dict):
            instances = zip(*(array.tolist() for array in self.rows.values()), strict=True)
            return [dict(zip(self.rows, instance, strict=True)) for instance in instances]
        if isinstance(self.rows, np.ndarray):
            rows: list[Any] = self.rows.tolist()
            if self.is_tensors:
                return rows
            return [[None if np.isnan(value) else value for value in row] for row in rows]
        columns = [to_values(self.rows[name]) for name in self.rows]
        return [list(row) for row in zip(*columns, strict=True)]


def count(rows: Any) -> int:
    """Return the number of instances."""
    return len(next(iter(rows.values()))) if isinstance(rows, dict) else len(rows)


def distributed(output: Output, labels: NDArray[Any]) -> Output:
    """Add to an output the counts of its classes, or of its numbers in quantile bins."""
    if output.classes:
        counts = tuple(int(np.sum(labels == value)) for value in output.classes)
        return msgspec.structs.replace(output, counts=counts)
    if output.type != "number" or labels.dtype.kind not in "iuf":
        return output
    edges = quantiles(labels.astype(float))
    counts = counted(Distribution(output.name, edges=edges), labels)
    return msgspec.structs.replace(output, edges=edges, counts=counts)


def quantiles(values: NDArray[np.floating]) -> tuple[float, ...]:
    """Return the edges of bins with about equal counts; a few distinct values get a bin each."""
    distinct = np.unique(values)
    if not distinct.size:
        return ()
    if 1 < len(distinct) <= BINS:
        between = (distinct[1:] + distinct[:-1]) / 2
        return tuple([distinct[0].item(), *between.tolist(), distinct[-1].item()])
    return tuple(np.unique(np.quantile(values, np.linspace(0, 1, BINS + 1))).tolist())


def counted(distribution: Distribution, values: Any) -> tuple[int, ...]:
    """Return the number of values in each bin; no value is outside of all bins."""
    counts = distribution.count(values).astype(int).tolist()
    return tuple(counts[:-2] if distribution.values else counts[1:-2])


def describe_tensor(name: str, array: NDArray[Any]) -> Tensor:
    """Describe an array, whose first axis is the instances, as a tensor."""
    is_text = array.dtype.kind in "OU"
    means = measure_text(array) if is_text else measure_mean(array)
    tensor = Tensor(
        name=name,
        datatype="BYTES" if is_text else DATATYPES[array.dtype.kind],
        shape=array.shape[1:],
        minimum=None if is_text else float(array.min()),
        maximum=None if is_text else float(array.max()),
        edges=quantiles(means[~np.isnan(means)]),
        example=array[0].tolist() if array.ndim > 1 else array[:1].tolist()[0],
    )
    return msgspec.structs.replace(tensor, counts=counted(of_tensor(tensor), means))


def to_rows(rows: Any, features: Sequence[str]) -> Any:
    """Convert rows to a DataFrame, an array or a dict of arrays; raises UnfitError if they are invalid."""
    if isinstance(rows, dict):
        arrays = {name: np.asarray(array) for name, array in rows.items()}
        if len({len(array) for array in arrays.values()}) != 1:
            raise UnfitError("the arrays of rows have different numbers of instances")
        return arrays
    if not isinstance(rows, pd.DataFrame) and hasattr(rows, "columns"):
        # polars
        rows = pd.DataFrame({name: rows[name].to_numpy() for name in rows.columns})
    if isinstance(rows, pd.DataFrame):
        if rows.columns.duplicated().any():
            raise UnfitError("two columns of rows have the same name")
        # Drop the frame's index.
        return rows.set_axis([*map(str, rows.columns)], axis=1)
    rows = np.asarray(rows)
    if rows.ndim < 2 or rows.dtype.kind not in "biuf":
        raise UnfitError(
            f"rows is an array of {rows.dtype} with {rows.ndim} dimension(s): give a DataFrame, or an array of "
            "numbers whose first dimension is the instances"
        )
    if rows.ndim == 2:
        if len(features) != rows.shape[1]:
            raise UnfitError(f"rows has {rows.shape[1]} columns, features {len(features)} names")
        if not all(type(name) is str for name in features) or len(set(features)) < len(features):
            raise UnfitError("features must be different names, each a str")
        if (np.abs(rows.astype(float)) > FLOAT32_MAX).any():
            raise UnfitError("rows holds an infinity, or a number that float32 cannot hold")
    elif not (np.abs(rows.astype(float)) <= FLOAT32_MAX).all():
        raise UnfitError("rows holds a NaN or an infinity: drop or impute it in load_data()")
    return rows


def to_labels(labels: NDArray[Any], classes: Sequence[str]) -> NDArray[Any]:
    """Return labels of one type, with indices replaced by ``classes``; raises UnfitError for other labels."""
    if classes:
        if not all(type(name) is str for name in classes) or len(set(classes)) < len(classes):
            raise UnfitError("classes must be different names, each a str")
        if labels.dtype.kind in "iu" and set(labels.tolist()) == set(range(len(classes))):
            named: NDArray[Any] = np.array(classes, object)[labels]
            return named
        # After a split, labels are class names already.
        if not set(labels.tolist()) <= set(classes):
            raise UnfitError(f"labels must be indices of the {len(classes)} classes, all in use")
    if labels.dtype.kind == "U":
        labels = labels.astype(object)
    kinds = {type(label).__name__ for label in labels.ravel()} if labels.dtype.kind == "O" else {""}
    if len(kinds) > 1:
        raise UnfitError(
            f"labels are {' and '.join(sorted(kinds))}: in load_data(), drop rows without one, or convert all to str"
        )
    if kinds == {"bool"}:
        # pandas keeps booleans as objects once some were missing; scikit-learn takes no such labels.
        labels = labels.astype(bool)
    if labels.dtype.kind == "f" and not np.isfinite(labels).all():
        raise UnfitError("labels hold a NaN or an infinity: drop these rows in load_data()")
    return labels


def describe(name: str, values: "pd.Series[Any]") -> Column:
    """Describe a column: type, whether values may be missing, distribution, and a typical value."""
    missing = values.isna()
    given = values[~missing]
    if given.empty:
        raise UnfitError(f"column {name!r} has no value: drop it in load_data()")
    kind = type_of(name, given)
    if kind == "string":
        texts = given.astype(str)
        missing = missing | (texts.reindex(values.index) == "")
        texts = texts[texts != ""]
        counts = texts.value_counts().sort_index(kind="stable")
        categories = tuple(counts.index) if len(counts) <= MOST_CATEGORIES else ()
        example = counts.idxmax() if categories else texts.iloc[0]
        lengths = () if categories else quantiles(texts.str.len().to_numpy(float))
        column = Column(
            name=name,
            type="string",
            required=not missing.any(),
            categories=categories,
            edges=lengths,
            missing=int(missing.sum()),
            example=str(example),
        )
        return with_counts(column, measure_text(texts.to_numpy()) if lengths else texts.tolist())
    if kind == "boolean":
        if missing.any():
            raise UnfitError(
                f"column {name!r} is boolean and has missing values: fill them in load_data(), or use .astype(float)"
            )
        column = Column(name=name, type="boolean", example=bool(given.mode().iloc[0]))
        return with_counts(column, given.astype(bool).tolist())
    if missing.any():
        kind = "number"
    numbers = given.astype(float)
    if not (numbers.abs() <= FLOAT32_MAX).all():
        raise UnfitError(f"column {name!r} holds a number that float32 cannot hold")
    # A value from the data, with all its digits: the median of an even number of values may lie between two.
    middle = given.quantile(interpolation="lower")
    column = Column(
        name=name,
        type=kind,
        required=not missing.any(),
        minimum=float(numbers.min()),
        maximum=float(numbers.max()),
        missing=int(missing.sum()),
        example=int(middle) if kind == "integer" else shortest(float(middle)),
    )
    return with_bins(column, numbers)


def with_bins(column: Column, numbers: "pd.Series[float]") -> Column:
    """Add bins to a column of numbers, as float32 if it is served as float32."""
    values = numbers.to_numpy(np.float32 if column.type == "number" else np.float64)
    edges = quantiles(values.astype(np.float64))
    if column.type == "number":
        edges = tuple(shortest([*edges]))
    return with_counts(msgspec.structs.replace(column, edges=edges), values)


def with_counts(column: Column, values: Any) -> Column:
    """Add to a column the number of values in each of its bins."""
    return msgspec.structs.replace(column, counts=counted(of_column(column), values))


def type_of(name: str, values: "pd.Series[Any]") -> Any:
    """Return the type of a column without missing values; raises UnfitError if it cannot be served."""
    if pd.api.types.is_bool_dtype(values.dtype):
        return "boolean"
    if pd.api.types.is_integer_dtype(values.dtype):
        return "integer"
    if pd.api.types.is_numeric_dtype(values.dtype) and not pd.api.types.is_complex_dtype(values):
        return "number"
    kinds = {type(value) for value in values}
    if kinds == {str}:
        return "string"
    if kinds == {bool}:
        return "boolean"
    raise UnfitError(
        f"column {name!r} holds {', '.join(sorted(kind.__name__ for kind in kinds))}: convert it in load_data(), by "
        ".astype(float), .astype(bool) or .astype(str); take .dt.year, .dt.month or the like of a date"
    )


def as_number(column: Column, values: Any) -> Column:
    """Convert a column of whole numbers to one of any numbers."""
    if column.type == "number":
        return column
    example = None if column.example is None else float(column.example)
    column = msgspec.structs.replace(column, type="number", example=example)
    return with_bins(column, pd.Series(values, dtype=float))


def shortest(value: Any) -> Any:
    """Round each float in nested lists or dicts to the shortest digits that identify it as float32."""
    if isinstance(value, dict):
        return {name: shortest(part) for name, part in value.items()}
    if isinstance(value, list):
        return [shortest(part) for part in value]
    return float(str(np.float32(value))) if isinstance(value, float) else value


def to_values(values: "pd.Series[Any]") -> list[Scalar | None]:
    """Return a column's values in the form that clients send."""
    return [None if pd.isna(each) or each == "" else each for each in values.to_numpy().tolist()]
