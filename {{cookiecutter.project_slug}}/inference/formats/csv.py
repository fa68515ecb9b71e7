"""Instances and predictions as CSV (RFC 4180)."""

import csv
import io
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from inference.errors import InvalidInstances
from inference.formats.instances import FLOAT32_MAX
from inference.runtime.signature import ModelCard, Prediction


def decode(body: bytes, features: Sequence[str], max_rows: int) -> NDArray[np.float32]:
    """Return the rows as an array of shape (rows, features).

    The first line may name the columns, in any order; features are then found by name, and other
    columns are passed over. Raises InvalidInstances, which names line and column.
    """
    try:
        text = body.decode("utf-8-sig")
        reader = csv.reader(io.StringIO(text, newline=""), strict=True)
        lines = [(reader.line_num, cells) for cells in reader if cells]
    except (UnicodeDecodeError, csv.Error) as error:
        raise InvalidInstances(f"The body is not CSV in UTF-8: {error}", "") from None
    names = list(features)
    if lines and set(features) <= {cell.strip() for cell in lines[0][1]}:
        names = [cell.strip() for cell in lines.pop(0)[1]]
    places = [names.index(feature) for feature in features]
    if not 1 <= len(lines) <= max_rows:
        raise InvalidInstances(f"{len(lines)} rows are not between 1 and {max_rows}", "")
    rows = np.empty((len(lines), len(features)), np.float32)
    for row, (line, cells) in enumerate(lines):
        if len(cells) != len(names):
            raise InvalidInstances(
                f"line {line}: {len(cells)} columns are not {len(names)}; the model takes "
                f"{len(features)} features: {', '.join(features)}",
                f"/{row}",
            )
        for column, place in enumerate(places):
            try:
                rows[row, column] = to_number(cells[place])
            except ValueError:
                raise InvalidInstances(
                    f"line {line}, {features[column]}: {cells[place]!r} is not a finite number",
                    f"/{row}/{column}",
                ) from None
    return rows


def to_number(cell: str) -> float:
    """The number in a cell; raises ValueError where there is none that float32 can hold."""
    number = float(cell)
    if not abs(number) <= FLOAT32_MAX or "_" in cell:
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
