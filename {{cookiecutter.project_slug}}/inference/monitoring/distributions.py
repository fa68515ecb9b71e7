"""Distributions of the values of each input and output, by bins of the training data.

The distance between two distributions is the population stability index (B. Yurdakul and J. Naranjo, "Statistical
properties of the population stability index", Journal of Risk Model Validation 14(4), 2020): the sum over the bins of
(a - e) * ln(a / e), where e is the bin's share in training and a the recent one. By chance alone, it is approximately
chi-squared, with one degree of freedom less than there are bins, times 1/n + 1/m for n recent and m training rows.
"""

import math
from collections import Counter
from collections.abc import Sequence
from itertools import chain, pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inference.runtime.signature import (
    MATRIX,
    Column,
    Inputs,
    ModelCard,
    Output,
    Predictions,
    Scalar,
    Tensor,
    to_label,
)

Counts = NDArray[np.float64]
# Added to each bin, so that one that is empty in only one distribution has a logarithm.
HALF = 0.5
# The normal deviate for one in a million: how rarely chance is mistaken for drift.
DEVIATE = 4.75


class Distribution:
    """The bins of an input or output, and the number of training values in each.

    Numbers have a bin between each two ``edges``, plus one below the first and one above the last; an edge belongs to
    the bin below it, except that the first belongs to the first bin between edges. Other values have a bin each, plus
    one for all values not listed. The last bin is for missing values. If the values are float32 (``is_float32``), the
    edges are rounded to it, too. ``role`` is "input" or "output"; ``measured`` names the number that stands for a value
    that is not a number itself. ``expected`` is None if the model file has no training counts.
    """

    def __init__(
        self,
        name: str,
        *,
        edges: Sequence[float] = (),
        values: Sequence[Scalar] = (),
        counts: Sequence[int] = (),
        missing: int = 0,
        measured: str = "",
        role: str = "input",
        is_float32: bool = False,
    ) -> None:
        self.name = name
        self.role = role
        self.values = values
        self.measured = measured
        # A constant column has one edge; a column without training statistics has none.
        self.edges = [*edges, *edges] if len(edges) == 1 else [*edges] or [-math.inf, math.inf]
        self.expected: Counts | None = None
        if values:
            below = []
            self.size = len(values) + 2
            self._places = {value: place for place, value in enumerate(values)}
        else:
            below = [0]
            self.size = len(self.edges) + 2
            # NaN sorts after infinity.
            bounds = np.array([*self.edges, math.inf])
            if is_float32:
                bounds = bounds.astype(np.float32).astype(np.float64)
            bounds[0] = np.nextafter(bounds[0], -math.inf)
            self._bounds = bounds
        if counts:
            self.expected = np.array([*below, *counts, 0, missing], np.float64)

    def count(self, values: Any) -> Counts:
        """Count the values in each bin; numbers must be an array, other values may be any sequence."""
        if not self.values:
            places = np.searchsorted(self._bounds, values)
            return np.bincount(places, minlength=self.size).astype(np.float64)
        counts = np.zeros(self.size)
        if isinstance(values, np.ndarray):
            values = values.tolist()
        for value, number in Counter(values).items():
            other = self.size - 1 if value == "" else self.size - 2
            counts[self._places.get(value, other)] += number
        return counts

    def missing(self, counts: Counts) -> float:
        """Return the number of missing values."""
        return float(counts[-1])

    def outside(self, counts: Counts) -> float:
        """Return the number of values outside the training range, or not among the training values."""
        return float(counts[-2] + (0 if self.values else counts[0]))

    @property
    def labels(self) -> list[str]:
        """The label of each bin."""
        if self.values:
            return [*map(to_label, self.values), "other", "missing"]
        edges = [f"{edge:.4g}" for edge in self.edges]
        between = [f"{low} to {high}" for low, high in pairwise(edges)]
        return [f"below {edges[0]}", *between, f"above {edges[-1]}", "missing"]


def stability_index(expected: Counts, counts: Counts) -> float:
    """Return the population stability index of counts by bin against those of training.

    Bins that are empty in both are ignored. Half a value is added to each other bin, so that an empty one has a
    logarithm.
    """
    seen = (expected > 0) | (counts > 0)
    then, now = expected[seen] + HALF, counts[seen] + HALF
    then, now = then / then.sum(), now / now.sum()
    return float(np.sum((now - then) * np.log(now / then)))


def chance_level(expected: Counts, counts: Counts) -> float:
    """Return the stability index that chance alone exceeds once in a million times.

    Uses the approximation of chi-squared quantiles by Wilson and Hilferty (1931).
    """
    freedom = max(int(np.sum((expected > 0) | (counts > 0))) - 1, 1)
    spread = 2 / (9 * freedom)
    quantile = freedom * (1 - spread + DEVIATE * math.sqrt(spread)) ** 3
    return float(quantile * (1 / max(expected.sum(), 1) + 1 / max(counts.sum(), 1)))


def of_column(column: Column) -> Distribution:
    """Return the distribution of a table's column: of numbers, of few distinct values, or of the length of text."""
    known: dict[str, Any] = {"counts": column.counts, "missing": column.missing}
    if column.type == "boolean":
        return Distribution(column.name, values=(False, True), **known)
    if column.categories:
        return Distribution(column.name, values=column.categories, **known)
    if column.type == "string":
        return Distribution(column.name, edges=column.edges, measured="characters", **known)
    edges = column.edges
    if not edges and column.minimum is not None and column.maximum is not None:
        edges = column.minimum, column.maximum
    return Distribution(column.name, edges=edges, is_float32=column.type == "number", **known)


def of_tensor(tensor: Tensor) -> Distribution:
    """Return the distribution of a tensor: of the mean of each instance, or of the mean length of its texts."""
    measured = "characters" if tensor.datatype == "BYTES" else "mean"
    return Distribution(tensor.name, edges=tensor.edges, counts=tensor.counts, measured=measured)


def of_output(output: Output) -> Distribution:
    """Return the distribution of an output's predictions."""
    values = output.classes or ((False, True) if output.type == "boolean" else ())
    measured = "characters" if output.type == "string" and not values else ""
    return Distribution(
        output.name,
        edges=output.edges,
        values=values,
        counts=output.counts,
        measured=measured,
        role="output",
    )


def measure_text(values: NDArray[Any]) -> NDArray[np.float64]:
    """Return the number of characters of each text, or the mean of several; NaN if empty, which means missing."""
    lengths = np.fromiter(map(len, values.flat), np.float64, values.size).reshape(len(values), -1)
    means: NDArray[np.float64] = lengths.mean(axis=1)
    means[means == 0] = np.nan
    return means


def measure_mean(values: NDArray[Any]) -> NDArray[np.float64]:
    """Return the mean of each instance."""
    means: NDArray[np.float64] = values.reshape(len(values), -1).mean(axis=1, dtype=np.float64)
    return means


class Distributions:
    """All distributions of a model, inputs before outputs; their counts are concatenated into one array."""

    def __init__(self, card: ModelCard) -> None:
        self._card = card
        self.inputs = [of_column(column) for column in card.columns]
        self.inputs += [of_tensor(tensor) for tensor in card.tensors]
        self.outputs = [of_output(output) for output in card.outputs]
        self.all = [*self.inputs, *self.outputs]
        ends = np.cumsum([each.size for each in self.all]).tolist()
        self._slices = [
            slice(end - each.size, end) for each, end in zip(self.all, ends, strict=True)
        ]
        self.size: int = ends[-1]

    def part(self, counts: Counts) -> list[Counts]:
        """Split counts into those of each distribution."""
        return [counts[place] for place in self._slices]

    def count(self, answered: Sequence[tuple[Inputs, Predictions]]) -> Counts:
        """Count the values in each bin for some requests and their answers."""
        values = [*self._inputs_of([inputs for inputs, _ in answered])]
        for place, output in enumerate(self.outputs):
            predicted: Any = [*chain.from_iterable(each[place].values for _, each in answered)]
            if output.measured:
                predicted = measure_text(np.array(predicted, object))
            values.append(predicted)
        return np.concatenate(
            [each.count(its_values) for each, its_values in zip(self.all, values, strict=True)]
        )

    def _inputs_of(self, requests: Sequence[Inputs]) -> list[Any]:
        if self._card.is_matrix:
            return [*np.concatenate([inputs[MATRIX] for inputs in requests]).T]
        return [join([inputs[each.name] for inputs in requests], each) for each in self.inputs]


MEASURES = {"characters": measure_text, "mean": measure_mean}


def join(arrays: Sequence[NDArray[Any]], distribution: Distribution) -> NDArray[Any]:
    """Join an input of several requests for counting; measure each first, as free dimensions may differ in size."""
    if measure := MEASURES.get(distribution.measured):
        arrays = [measure(array) for array in arrays]
    return np.concatenate(arrays)
