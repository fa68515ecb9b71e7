"""Instances and predictions as CSV (RFC 4180)."""

import csv
import io
from collections.abc import Iterator, Sequence
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from inference.errors import InvalidInstances
from inference.formats.decoding import too_many_rows, turn
from inference.formats.instances import FLOAT32_MAX
from inference.runtime.signature import ModelCard, Prediction

# A line may have so many characters, and some more for each feature.
LINE_CHARS = 65_536
FEATURE_CHARS = 100


def decode(body: bytes, features: Sequence[str], max_rows: int) -> NDArray[np.float32]:
    """Return the rows as an array of shape (rows, features).

    The first line may name the columns, in any order; features are then found by name, and other
    columns are passed over. Nothing is read beyond the first fault or the first row too many. Raises
    InvalidInstances, which names line and column.
    """
    with turn(len(body)):
        return _decode(body, features, max_rows)


def _decode(body: bytes, features: Sequence[str], max_rows: int) -> NDArray[np.float32]:
    rows: list[list[float]] = []
    try:
        lines = split_lines(body.decode("utf-8-sig"), len(features))
        reader = csv.reader(lines, strict=True)
        records = filter(None, reader)
        first = next(records, [])
        columns = find_columns(first, features)
        width = len(first) if columns else len(features)
        places = columns or list(range(width))
        for cells in records if columns or not first else chain([first], records):
            if len(rows) == max_rows:
                raise InvalidInstances(too_many_rows(max_rows), "")
            if len(cells) != width:
                raise InvalidInstances(
                    f"line {reader.line_num}: {len(cells)} columns are not {width}; the model "
                    f"takes {len(features)} features: {', '.join(features)}",
                    f"/{len(rows)}",
                )
            try:
                rows.append([to_number(cells[place]) for place in places])
            except ValueError:
                column, cell = find_fault([cells[place] for place in places])
                raise InvalidInstances(
                    f"line {reader.line_num}, {features[column]}: {cell!r} is not a finite number",
                    f"/{len(rows)}/{column}",
                ) from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise InvalidInstances(f"The body is not CSV in UTF-8: {error}", "") from None
    if not rows:
        raise InvalidInstances(f"0 rows: send between 1 and {max_rows}", "")
    return np.array(rows, np.float32)


def split_lines(text: str, features: int) -> Iterator[str]:
    """Give one line after the other; raises InvalidInstances for one that is too long.

    The csv module itself bounds a cell, which quotes may stretch over lines.
    """
    limit = LINE_CHARS + FEATURE_CHARS * features
    for number, line in enumerate(io.StringIO(text, newline=""), start=1):
        if len(line) > limit:
            raise InvalidInstances(f"line {number} has more than {limit} characters", "")
        yield line


def find_columns(first: Sequence[str], features: Sequence[str]) -> list[int]:
    """The column of each feature where the first line names them all, or else an empty list."""
    names = [cell.strip() for cell in first]
    wanted = [feature.strip() for feature in features]
    if not set(wanted) <= set(names):
        return []
    for name in wanted:
        if names.count(name) > 1:
            raise InvalidInstances(f"The first line names {name} twice", "")
    return [names.index(name) for name in wanted]


def find_fault(cells: Sequence[str]) -> tuple[int, str]:
    """The first cell that is no number, and its place; there is one."""
    for place, cell in enumerate(cells):
        try:
            to_number(cell)
        except ValueError:
            return place, cell
    raise AssertionError


def to_number(cell: str) -> float:
    """The number in a cell; raises ValueError where there is none that float32 can hold.

    Python's float() also takes 1_000 and the digits of other scripts.
    """
    number = float(cell)
    if not abs(number) <= FLOAT32_MAX or "_" in cell or not cell.isascii():
        raise ValueError(cell)
    return number


def encode(prediction: Prediction, card: ModelCard) -> str:
    """A line for each row, below the names of the columns: the prediction, then probabilities."""
    output = io.StringIO(newline="")
    writer = csv.writer(output)
    columns: list[Sequence[object]] = [prediction.values]
    names = [card.target]
    if prediction.probabilities is not None:
        columns += prediction.probabilities.T.tolist()
        names += card.classes
    writer.writerow(names)
    writer.writerows(zip(*columns, strict=True))
    return output.getvalue()
