"""Scoring a block of rows, in a process of the pool."""

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from inference.batch.source import Block, Form, records_of
from inference.config import Settings
from inference.errors import InvalidInstances, StartupError, message_of
from inference.formats.answers import answer
from inference.formats.csv import Cells, holds, names_of, to_columns, to_lines
from inference.formats.instances import FLOAT32_MAX, InstancesDecoder
from inference.runtime import artifact
from inference.runtime.contract import check_finite
from inference.runtime.engine import Engine, load_engine
from inference.runtime.signature import MATRIX, Inputs, ModelCard, Predictions, class_names, count

INSTANCE = re.compile(r"^instances\[\d+\][.:]? ?")

encode_lines = msgspec.json.Encoder().encode_lines

# The place of a row in its block, and its error.
Fault = tuple[int, str]
# The places of some rows, and their inputs for the model.
Part = tuple[list[int], Inputs]


class Scored(NamedTuple):
    """The encoded answers to a block, and the rows without an answer, by their places in the block."""

    output: bytes
    faults: list[Fault]


class Model(NamedTuple):
    """A loaded model and its version."""

    engine: Engine
    version: str


def load(settings: Settings) -> Model:
    """Load the model like the service; raises StartupError if it cannot be served."""
    model = artifact.read(settings.model_path)
    return Model(load_engine(model, False, settings.request_seconds), model.version)


class Scorer:
    """Reads rows and writes answers in the formats of ``form``.

    ``has_heading`` says whether the first CSV record names the columns, ``head`` is the first line of the answers.
    ``note`` tells the user which columns are missing. Raises StartupError if the model does not accept such rows.
    """

    def __init__(self, model: Model, form: Form) -> None:
        kind, heading, out = form
        engine, self.version = model
        self.card: ModelCard = engine.card
        self.has_heading = False
        self.note = ""
        self._run = engine.run
        self._read: Callable[[bytes], tuple[list[Part], list[Fault]]]
        self._places: list[int | None] = []
        if kind == ".csv" and not holds(self.card):
            raise StartupError("a line of CSV cannot hold what the model takes: use JSON lines")
        # Parquet has a column for each tensor, which the decoder finds by name.
        if kind == ".csv" or (heading and self.card.columns):
            self._cells = Cells(self.card)
            try:
                self._places, self.note = self._cells.find_columns(heading)
            except InvalidInstances as error:
                raise StartupError(str(error.description)) from error
        if kind == ".csv":
            self.has_heading = bool(self._places)
            self._width = len(heading) if self._places else len(self._cells.columns)
            self._read = self._read_csv
        else:
            self._decoder = InstancesDecoder(self.card, max_rows=2**31)
            self._read = self._read_parquet if kind == ".parquet" else self._read_lines
        self._classes = [class_names(output) for output in self.card.outputs]
        names = ["row", *names_of(self.card, engine.gives_probabilities)]
        self._write = self._write_csv if out == ".csv" else self._write_lines
        self.head = to_lines([[name] for name in names]) if out == ".csv" else b""

    def score(self, block: Block, first: int) -> Scored:
        """Score the rows of a block; ``first`` is the number of its first row."""
        parts, faults = self._read(block.content)
        output = []
        for places, inputs in parts:
            for start, answers in self._predict(inputs, 0, faults, places):
                kept = places[start : start + len(answers[0].values)]
                output.append(self._write([first + place for place in kept], answers))
        return Scored(b"".join(output), sorted(faults))

    def _write_csv(self, rows: Sequence[int], predictions: Predictions) -> bytes:
        return to_lines([rows, *to_columns(predictions)])

    def _write_lines(self, rows: Sequence[int], predictions: Predictions) -> bytes:
        given = answer(self.card, self._classes, predictions)
        lines: list[dict[str, Any]] = [
            {"row": row, "prediction": value}
            for row, value in zip(rows, given.predictions, strict=True)
        ]
        for line, probabilities in zip(lines, given.probabilities, strict=False):
            line["probabilities"] = probabilities
        return encode_lines(lines)

    def _predict(
        self, inputs: Inputs, start: int, faults: list[Fault], places: Sequence[int]
    ) -> Iterator[tuple[int, Predictions]]:
        """Yield the model's answers; if it raises an error, bisect the rows to find the failing ones."""
        rows = count(inputs)
        try:
            yield start, check_finite(self._run(inputs))
        except Exception as error:
            if rows == 1:
                faults.append((places[start], reason_of(error)))
                return
            half = rows // 2
            for begin, end in ((0, half), (half, rows)):
                part = {name: array[begin:end] for name, array in inputs.items()}
                yield from self._predict(part, start + begin, faults, places)

    def _read_csv(self, content: bytes) -> tuple[list[Part], list[Fault]]:
        numbers = self._cells.read_numbers(content, self._places, self._width)
        if numbers is not None:
            return [([*range(len(numbers))], {MATRIX: numbers})], []
        rows: list[list[Any]] = []
        places: list[int] = []
        faults: list[Fault] = []
        text = content.decode(errors="surrogateescape")
        has_strange = not text.isascii() and any("\udc80" <= char <= "\udcff" for char in text)
        place = -1
        for record in records_of(text):
            if not record:
                continue
            place += 1
            if not isinstance(record, list):
                faults.append((place, f"not CSV: {record}"))
            elif has_strange and not is_utf8(record):
                faults.append((place, "not UTF-8"))
            else:
                try:
                    rows.append(self._cells.read(record, self._places, self._width))
                    places.append(place)
                except InvalidInstances as error:
                    faults.append((place, str(error.description)))
        return [(places, self._cells.to_inputs(rows))] if rows else [], faults

    def _read_lines(self, content: bytes) -> tuple[list[Part], list[Fault]]:
        lines = [stripped for line in content.split(b"\n") if (stripped := line.strip())]
        return self._read_instances(lines)

    def _read_instances(self, lines: Sequence[bytes]) -> tuple[list[Part], list[Fault]]:
        if not lines:
            return [], []
        together = self._decode(lines)
        if together is not None:
            return [([*range(len(lines))], together)], []
        alone: list[Part] = []
        faults: list[Fault] = []
        for place, line in enumerate(lines):
            try:
                inputs = self._decoder.decode(b'{"instances":[%b]}' % line)
                if count(inputs) != 1:
                    raise InvalidInstances("not one instance", "")
                alone.append(([place], inputs))
            except Exception as error:
                faults.append((place, reason_of(error)))
        places = [place for (place,), _ in alone]
        together = self._decode([lines[place] for place in places]) if places else None
        # Tensors of any size may differ from row to row.
        return alone if together is None else [(places, together)], faults

    def _decode(self, lines: Sequence[bytes]) -> Inputs | None:
        """Decode the instances of all lines; return None if one of them is invalid."""
        try:
            inputs = self._decoder.decode(b'{"instances":[%b]}' % b",\n".join(lines))
        except Exception:
            return None
        return inputs if count(inputs) == len(lines) else None

    def _read_parquet(self, content: bytes) -> tuple[list[Part], list[Fault]]:
        import pyarrow

        table = pyarrow.ipc.open_stream(content).read_all()
        known = [name for name in self._decoder.names if name in table.column_names]
        places: list[Any] = [*known]
        if self._places:
            named = zip(self._decoder.names, self._places, strict=True)
            pairs = [(name, place) for name, place in named if place is not None]
            known, places = [name for name, _ in pairs], [place for _, place in pairs]
        table = table.select(places).rename_columns(known)
        if self.card.is_matrix and len(known) == len(self._decoder.names):
            numbers = to_numbers(table.columns)
            if numbers is not None:
                return [([*range(len(numbers))], {MATRIX: numbers})], []
        instances = table.to_pylist()
        return self._read_instances([msgspec.json.encode(instance) for instance in instances])


def to_numbers(columns: Sequence[Any]) -> NDArray[np.float32] | None:
    """Convert Parquet columns at once if they hold only numbers; otherwise return None."""
    from pyarrow import types

    for column in columns:
        is_numeric = types.is_integer(column.type) or types.is_floating(column.type)
        if column.null_count or not is_numeric:
            return None
    values = np.column_stack([column.to_numpy() for column in columns])
    if not (np.abs(values) <= FLOAT32_MAX).all():
        return None
    return values.astype(np.float32)


def is_utf8(record: Sequence[str]) -> bool:
    """Whether all cells were valid UTF-8, before decoding with surrogateescape."""
    return all(
        cell.isascii() or not any("\udc80" <= char <= "\udcff" for char in cell) for cell in record
    )


def reason_of(error: Exception) -> str:
    """Return the error of a row, without its place in a request."""
    return INSTANCE.sub("", message_of(error))
