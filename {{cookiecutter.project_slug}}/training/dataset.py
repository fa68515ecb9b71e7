"""Training data, and what the model card says of it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import train_test_split

from inference.runtime.signature import Feature


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """Rows of numbers with what is to be predicted for each.

    ``rows`` has the shape (rows, features). ``labels`` has the shape (rows,): for a classifier the
    index of each row's class in ``classes``; for a regressor numbers, with ``classes`` left empty.
    """

    name: str
    features: Sequence[str]
    rows: NDArray[Any]
    target: str
    labels: NDArray[Any]
    classes: Sequence[str] = ()

    def __post_init__(self) -> None:
        """Raise ValueError where the parts do not fit each other."""
        if self.rows.shape != (len(self.labels), len(self.features)):
            raise ValueError(
                f"rows has the shape {self.rows.shape}, but there are "
                f"{len(self.labels)} labels and {len(self.features)} features"
            )
        if not np.issubdtype(self.rows.dtype, np.number):
            raise ValueError(f"rows must hold numbers, not {self.rows.dtype}")
        if not np.isfinite(self.rows.astype(np.float32)).all():
            raise ValueError("rows holds a NaN or an infinity: drop or impute it in load_data()")
        for what, names in (("features", self.features), ("classes", self.classes)):
            if not all(type(name) is str for name in names) or len(set(names)) < len(names):
                raise ValueError(f"{what} must be different names, each of them a str")
        if any(set(name) & set('"\\') for name in self.features):
            raise ValueError("a feature's name must hold neither quotes nor backslashes")
        if self.classes and set(self.labels.tolist()) != set(range(len(self.classes))):
            raise ValueError(
                f"labels must be indices of the {len(self.classes)} classes, each at least once"
            )

    def split(self, held_out: float, seed: int) -> tuple[Self, Self]:
        """Part the rows at random in two; the second has the share ``held_out`` of them."""
        kept_rows, held_rows, kept_labels, held_labels = train_test_split(
            self.rows,
            self.labels,
            test_size=held_out,
            random_state=seed,
            stratify=self.labels if self.classes else None,
        )
        return (
            replace(self, rows=kept_rows, labels=kept_labels),
            replace(self, rows=held_rows, labels=held_labels),
        )

    def describe_features(self) -> tuple[Feature, ...]:
        """Each feature with its range and median."""
        return tuple(
            Feature(
                name=name,
                minimum=float(column.min()),
                maximum=float(column.max()),
                example=float(np.median(column)),
            )
            for name, column in zip(self.features, self.rows.T, strict=True)
        )
