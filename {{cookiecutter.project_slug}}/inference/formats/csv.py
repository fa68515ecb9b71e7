"""Instances and predictions as CSV (RFC 4180)."""

import csv
import io
import math
import re
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from difflib import get_close_matches
from itertools import chain
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray
from werkzeug.exceptions import UnsupportedMediaType

from inference.errors import InvalidInstances
from inference.formats.decoding import too_many_rows, turn
from inference.formats.instances import FLOAT32_MAX
from inference.runtime.signature import (
    Column,
    Inputs,
    ModelCard,
    Predictions,
    Tensor,
    class_names,
    to_inputs,
)

# Limit for the characters of a line, plus some more for each column.
LINE_CHARS = 65_536
COLUMN_CHARS = 100
# Limit for the pairs of a missing and an unknown column that are compared, each in microseconds.
PAIRS = 2_500
NEWLINE, COMMA = b"\n,"
# Cells with the former need quotes; texts with the latter are written differently in JSON.
NEEDS_QUOTES = re.compile(r'[",\r\n]')
SPECIAL = re.compile(r'[",\[\]\\\x00-\x1f\x7f]')
to_json = msgspec.json.Encoder().encode
encode_lines = msgspec.json.Encoder().encode_lines
decode_numbers = msgspec.json.Decoder(list[float]).decode
BOOLEANS = {"true": True, "1": True, "false": False, "0": False}


class Cells:
    """The columns of CSV for a model: those of its table, or the values of its only tensor in row-major order.

    Raises UnsupportedMediaType if a line cannot hold the model's inputs: several tensors, or one of any size.
    """

    def __init__(self, card: ModelCard) -> None:
        self.card = card
        if not holds(card):
            raise UnsupportedMediaType(
                "The model takes several tensors, or one of any size: send JSON, or tensors to /v2."
            )
        self.columns: Sequence[Column] = card.columns or columns_of(card.tensors[0])
        self._readers = [reader_of(column) for column in self.columns]

    def decode(self, body: bytes, max_rows: int) -> Inputs:
        """Decode the rows into the model's inputs.

        The first line may name the columns, in any order. Columns are then found by name, optional ones
        may be left out, and unknown ones are skipped. Reading stops at the first error or the first row over the
        limit. Raises InvalidInstances, which names line and column.
        """
        with turn(len(body)):
            rows = self._decode(body, max_rows)
        return self.to_inputs(rows)

    def to_inputs(self, rows: Sequence[list[Any]]) -> Inputs:
        """Convert rows that were read to the model's inputs."""
        if self.card.tensors:
            shape = self.card.tensors[0].shape
            return to_inputs(self.card, [np.reshape(row, shape).tolist() for row in rows])
        return to_inputs(self.card, rows)

    def example(self) -> str:
        """Return CSV with the names of the columns and the card's example."""
        values = self.card.example
        if self.card.tensors:
            values = np.ravel(np.array(values, object)).tolist()
        text = io.StringIO(newline="")
        writer = csv.writer(text)
        writer.writerow(column.name for column in self.columns)
        writer.writerow(to_cell(value) for value in values)
        return text.getvalue()

    def _decode(self, body: bytes, max_rows: int) -> list[list[Any]]:
        rows: list[list[Any]] = []
        try:
            lines = split_lines(body.decode("utf-8-sig"), len(self.columns))
            reader = csv.reader(lines, strict=True)
            records = filter(None, reader)
            first = next(records, [])
            places, _ = self.find_columns(first)
            width = len(first) if places else len(self.columns)
            for cells in records if places or not first else chain([first], records):
                if len(rows) == max_rows:
                    raise InvalidInstances(too_many_rows(max_rows), "")
                try:
                    rows.append(self.read(cells, places, width))
                except InvalidInstances as error:
                    after = ", " if error.pointer else ": "
                    raise InvalidInstances(
                        f"line {reader.line_num}{after}{error.description}",
                        f"/{len(rows)}{error.pointer}",
                    ) from None
        except (UnicodeDecodeError, csv.Error) as error:
            raise InvalidInstances(f"The body is not CSV in UTF-8: {error}", "") from None
        if not rows:
            raise InvalidInstances(f"0 rows: send between 1 and {max_rows}", "")
        return rows

    def read(self, cells: list[str], places: Sequence[int | None], width: int) -> list[Any]:
        """Return the values of a line with ``width`` cells; if a heading names the columns, they are at ``places``.

        Raises InvalidInstances, which names the column.
        """
        if len(cells) != width:
            raise InvalidInstances(
                f"{len(cells)} cells instead of {width}; the model takes {len(self.columns)} columns: "
                f"{', '.join(column.name for column in self.columns)}",
                "",
            )
        if places:
            cells = ["" if place is None else cells[place] for place in places]
        try:
            return [read(cell) for read, cell in zip(self._readers, cells, strict=True)]
        except ValueError:
            place, fault = find_fault(self.columns, cells)
            name = self.columns[place].name
            raise InvalidInstances(f"{name}: {fault}", f"/{place}") from None

    def read_numbers(
        self, content: bytes, places: Sequence[int | None], width: int
    ) -> NDArray[np.float32] | None:
        """Read whole lines at once if they hold a number for every column; otherwise return None.

        ``places`` and ``width`` are as for ``read``, which takes ten times as long and explains what is wrong.
        """
        content = content.replace(b"\r\n", b"\n").removesuffix(b"\n")
        if not self.card.is_matrix or b'"' in content or b"\r" in content:
            return None
        marks = np.frombuffer(content, np.uint8)
        ends, commas = np.flatnonzero(marks == NEWLINE), np.flatnonzero(marks == COMMA)
        rows = len(ends) + 1
        if len(commas) != rows * (width - 1):
            return None
        if width > 1:
            by_line = commas.reshape(rows, -1)
            # A line with too many cells could make up for one with too few.
            if (by_line[:-1, -1] > ends).any() or (by_line[1:, 0] < ends).any():
                return None
        values = parse_numbers(content.replace(b"\n", b","))
        if (
            values is None
            or len(values) != rows * width
            or not (np.abs(values) <= FLOAT32_MAX).all()
        ):
            return None
        table = values.reshape(rows, width).astype(np.float32)
        if not places:
            return table
        named = [place for place in places if place is not None]
        return table[:, named] if len(named) == len(places) else None

    def find_columns(self, first: Sequence[str]) -> tuple[list[int | None], str]:
        """Return the place of each column that the first line names, or none if it is a row, and a note for the user.

        Names match exactly or, unless the line has numbers like a row, by letters and digits in any case. Raises
        InvalidInstances for a heading without a required column, or with a name similar to that of a missing one.
        """
        names = [cell.strip() for cell in first]
        fits = [
            is_value(cell, read)
            for cell, read, column in zip(names, self._readers, self.columns, strict=False)
            if cell and column.type != "string"
        ]
        wanted = [column.name.strip() for column in self.columns]
        found = find_names(wanted, names, str if any(fits) else fold)
        pairs = [*zip(self.columns, found, strict=True)]
        missing = [column for column, at in pairs if not at]
        needed = [column for column in missing if column.required or len(missing) == len(pairs)]
        if needed:
            # A number in a row may be the name of a column by chance.
            is_named = any(at and c.required and not c.name.isdigit() for c, at in pairs)
            if not is_named:
                check_separator(first, len(pairs))
            # A row has a value where a column needs one; with a name among them, in each such place.
            is_row = (all(fits) if is_named else any(fits)) if fits else not is_named
            if is_row:
                return [], ""
        for name, at in zip(wanted, found, strict=True):
            if len(at) > 1:
                raise InvalidInstances(f"The column {name} is there twice", "")
        places = [at[0] if at else None for at in found]
        used = set(places)
        unknown = [name for place, name in enumerate(names) if name and place not in used]
        return places, describe_missing(missing, needed, unknown)


def find_names(
    wanted: Sequence[str], names: Sequence[str], key: Callable[[str], str]
) -> list[list[int]]:
    """Return the places of each wanted name or, if it is not there, of those with the same ``key`` as no other one."""
    similar: dict[str, list[int]] = {}
    for place, name in enumerate(names):
        similar.setdefault(key(name), []).append(place)
    same = Counter(map(key, wanted))
    found = []
    for name in wanted:
        alike = similar.get(key(name), [])
        exact = [place for place in alike if names[place] == name]
        found.append(exact or (alike if same[key(name)] == 1 else []))
    return found


def describe_missing(
    missing: Sequence[Column], needed: Sequence[Column], unknown: Sequence[str]
) -> str:
    """Return a note about the missing columns.

    Raises InvalidInstances if one of them is needed, or similar to an unknown name, and so perhaps misspelt.
    """
    others = [*map(fold, unknown)][: 1 + PAIRS // (1 + len(missing))]
    lacking = needed or [each for each in missing if get_close_matches(fold(each.name), others)]
    names = ", ".join(repr(column.name) for column in lacking or missing)
    unused = ", ".join(map(repr, unknown))
    if lacking:
        fault = f"There is no column {names}"
        if unknown:
            remedy = "" if needed else ", or leave out the unknown ones"
            fault += f"; unknown: {unused}; name them as the model does{remedy}"
        raise InvalidInstances(fault, "")
    note = f"counted as missing: {names}" if missing else ""
    return note + (f"; not used: {unused}" if missing and unknown else "")


def fold(name: str) -> str:
    """Return the letters and digits of a name, in lower case, or the name if it has none."""
    return "".join(filter(str.isalnum, name)).lower() or name


def is_value(cell: str, read: Callable[[str], Any]) -> bool:
    """Whether a column's function can read a cell."""
    try:
        read(cell)
    except ValueError:
        return False
    return True


def check_separator(first: Sequence[str], columns: int) -> None:
    """Raise InvalidInstances if semicolons or tabs seem to separate the cells of the first line."""
    for mark in ";\t":
        cells = ",".join(first).count(mark) + 1
        if len(first) != columns and (cells == columns or len(first) == 1 < cells):
            raise InvalidInstances(
                f"{mark!r} seems to separate the cells: use commas, and points in decimals", ""
            )


def holds(card: ModelCard) -> bool:
    """Whether a line of CSV can hold the model's input: a row of a table, or one tensor of a known size."""
    return not card.tensors or (len(card.tensors) == 1 and -1 not in card.tensors[0].shape)


def columns_of(tensor: Tensor) -> list[Column]:
    """Return a column for each value of a tensor."""
    kinds = {"BOOL": "boolean", "INT32": "integer", "INT64": "integer", "BYTES": "string"}
    kind: Any = kinds.get(tensor.datatype, "number")
    return [
        Column(name=f"{tensor.name}[{place}]", type=kind)
        for place in range(math.prod(tensor.shape))
    ]


def split_lines(text: str, columns: int) -> Iterator[str]:
    """Yield one line after another; raises InvalidInstances for one that is too long.

    The csv module itself limits the size of a cell, which may span lines in quotes.
    """
    limit = LINE_CHARS + COLUMN_CHARS * columns
    for number, line in enumerate(io.StringIO(text, newline=""), start=1):
        if len(line) > limit:
            raise InvalidInstances(f"line {number} has more than {limit} characters", "")
        yield line


def reader_of(column: Column) -> Callable[[str], Any]:
    """Return the function that reads a cell of the column: its value, or None if missing; it raises ValueError."""
    read = READERS[column.type]
    if column.is_closed:
        read = one_of(column.categories)
    return read if column.required else lambda cell: read(cell) if cell else None


def find_fault(columns: Sequence[Column], cells: Sequence[str]) -> tuple[int, str]:
    """Return the place of the first cell that does not fit its column, and the error; there must be one."""
    for place, (column, cell) in enumerate(zip(columns, cells, strict=True)):
        try:
            reader_of(column)(cell)
        except ValueError:
            rule = ", ".join(column.categories) if column.is_closed else RULES[column.type]
            return place, f"{cell!r} is not {rule}" if cell else "a value is missing"
    raise AssertionError


def to_number(cell: str) -> float:
    """Parse the number in a cell; raises ValueError if it is not one that float32 can hold.

    Python's float() would also accept 1_000 and the digits of other scripts.
    """
    number = float(cell)
    if not abs(number) <= FLOAT32_MAX or "_" in cell or not cell.isascii():
        raise ValueError(cell)
    return number


def to_integer(cell: str) -> int:
    """Parse the whole number in a cell, which may be written as 3.0; raises ValueError if it is not one of 64 bits."""
    number = to_number(cell) if "." in cell else int(cell)
    if number != int(number) or not -(2**63) <= number < 2**63 or "_" in cell or not cell.isascii():
        raise ValueError(cell)
    return int(number)


def to_boolean(cell: str) -> bool:
    """Parse true or false, in any case, or 1 or 0; raises ValueError for anything else."""
    try:
        return BOOLEANS[cell.strip().lower()]
    except KeyError:
        raise ValueError(cell) from None


def to_text(cell: str) -> str:
    """Return the cell unchanged; raises ValueError if it is empty, which means missing."""
    if not cell:
        raise ValueError(cell)
    return cell


def one_of(categories: Sequence[str]) -> Callable[[str], str]:
    """Return a function that reads a cell with one of the categories, and raises ValueError for any other."""

    def read(cell: str) -> str:
        if cell not in categories:
            raise ValueError(cell)
        return cell

    return read


READERS: dict[str, Callable[[str], Any]] = {
    "number": to_number,
    "integer": to_integer,
    "boolean": to_boolean,
    "string": to_text,
}
RULES = {
    "number": "a finite number",
    "integer": "a whole number",
    "boolean": "true or false",
    "string": "text",
}


def encode(predictions: Predictions, card: ModelCard) -> bytes:
    """Encode a heading and a line for each row: the prediction of each output, followed by its probabilities."""
    names = names_of(card, [part.probabilities is not None for part in predictions])
    return to_lines([[name] for name in names]) + to_lines(to_columns(predictions))


def names_of(card: ModelCard, gives_probabilities: Sequence[bool]) -> list[str]:
    """Return the names of the columns of predictions."""
    names = []
    for output, gives in zip(card.outputs, gives_probabilities, strict=True):
        names.append(output.name)
        several = f"{output.name}: " if len(card.outputs) > 1 else ""
        names += [f"{several}{name}" for name in class_names(output) if gives]
    return names


def to_columns(predictions: Predictions) -> list[Sequence[object]]:
    """Return the columns of predictions."""
    columns: list[Sequence[object]] = []
    for values, probabilities in predictions:
        columns.append(values)
        if probabilities is not None:
            columns += probabilities.T.tolist()
    return columns


def parse_numbers(text: bytes) -> NDArray[np.float64] | None:
    """Parse comma-separated numbers; return None if they are anything else."""
    try:
        return np.array(decode_numbers(b"[%b]" % text), np.float64)
    except msgspec.DecodeError:
        # These may be numbers in a notation that JSON does not allow, like .5 and +1.
        pass
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            return np.fromstring(text.decode(), np.float64, sep=",")
        except (DeprecationWarning, ValueError):
            return None


def to_lines(columns: Sequence[Sequence[object]]) -> bytes:
    """Encode columns as lines of CSV, with numbers and booleans as in JSON; csv.writer takes five times as long."""
    texts = {
        value
        for values in columns
        if not isinstance(values, range) and str in set(map(type, values))
        for value in set(values)
        if type(value) is str
    }
    rows = list(zip(*columns, strict=True))
    if any(SPECIAL.search(text) for text in texts) or "" in texts:
        quoted = {text: quote(text) for text in texts}
        return b"".join(
            [
                b",".join([quoted[cell] if type(cell) is str else to_json(cell) for cell in row])
                + b"\r\n"
                for row in rows
            ]
        )
    # No text needs its quotes or contains a bracket.
    return encode_lines(rows).translate(None, b'[]"').replace(b"\n", b"\r\n")


def quote(text: str) -> bytes:
    """Encode a text as a cell, quoted if needed."""
    if text and not NEEDS_QUOTES.search(text):
        return text.encode()
    return b'"%b"' % text.replace('"', '""').encode()


def to_cell(value: object) -> object:
    """Convert a value for CSV: booleans are written as in JSON."""
    return str(value).lower() if isinstance(value, bool) else value
