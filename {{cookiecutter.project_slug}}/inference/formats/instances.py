"""Instances of a request: rows as arrays or as objects with named values, or nested lists for tensors."""

import contextlib
import json
import re
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
from msgspec import Meta
from werkzeug.exceptions import BadRequest

from inference.errors import InvalidInstances, escape
from inference.formats.decoding import DuplicateKeyError, check_keys, skip_mark, too_many_rows, turn
from inference.runtime.signature import MATRIX, Column, Inputs, ModelCard, Tensor, to_inputs

# Just below what float32 rounds to infinity: its largest number is written as 3.4028235e38, which is larger.
FLOAT32_MAX = float(np.nextafter(2.0**128 - 2.0**103, 0))
INT64 = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
# The JSON type of each value type.
VALUES: dict[str, Any] = {
    "number": Annotated[float, Meta(ge=-FLOAT32_MAX, le=FLOAT32_MAX)],
    "integer": INT64,
    "boolean": bool,
    # An empty text is a missing value.
    "string": Annotated[str, Meta(min_length=1)],
    "BOOL": bool,
    "INT32": Annotated[int, Meta(ge=-(2**31), le=2**31 - 1)],
    "INT64": INT64,
    "FP32": Annotated[float, Meta(ge=-FLOAT32_MAX, le=FLOAT32_MAX)],
    "FP64": float,
    "BYTES": str,
}
PATH = re.compile(r"\$\.instances(\[(?P<row>\d+)\](?P<rest>.*))?")
INDEX = re.compile(r"\[(\d+)\]")
# msgspec does not support renaming a field to a key with these characters.
HARD = re.compile(r'["\\]')


class InstancesDecoder:
    """Decodes ``{"instances": [...]}`` for a model with the signature in ``card``."""

    def __init__(self, card: ModelCard, max_rows: int) -> None:
        self.card = card
        self.max_rows = max_rows
        parts: list[Column | Tensor] = [*card.columns, *card.tensors]
        self.names = [part.name for part in parts]
        kinds = [kind_of(part) for part in parts]
        needed = [column.required for column in card.columns] or [True] * len(kinds)
        self._optional = {column.name for column in card.columns if not column.required}
        self._may_be_empty = not any(needed)
        # A column's name need not be an identifier, so fields get generated names.
        fields = [f"field_{index}" for index in range(len(kinds))]
        self._is_hard = any(HARD.search(name) for name in self.names)
        described = [described_kind(*pair) for pair in zip(parts, kinds, strict=True)]
        named_row: Any = msgspec.defstruct(
            "Instance",
            [
                (field, kind) if is_needed else (field, kind, None)
                for field, kind, is_needed in zip(fields, described, needed, strict=True)
            ],
            rename=None if self._is_hard else dict(zip(fields, self.names, strict=True)),
            forbid_unknown_fields=True,
            kw_only=True,
        )
        self._named_row = named_row
        self._fields = fields
        # The number of colons in an object, including those in its names.
        self._colons = sum(1 + name.count(":") for name in self.names)
        self._names_have_colons = self._colons > len(self.names)
        kind: Any = named_row
        if self._is_hard:
            kind = Annotated[dict[str, Any], Meta(extra_json_schema=self._describe_named())]
        if row := row_of(card, kinds):
            kind = row | kind
        rows = Annotated[list[kind], Meta(min_length=1, max_length=max_rows)]
        self.request = msgspec.defstruct(
            "Request", [("instances", rows)], forbid_unknown_fields=True
        )
        self._decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(self.request)

    def _describe_named(self) -> dict[str, Any]:
        """Return the schema of an instance as an object if msgspec does not know its keys."""
        (schema,) = msgspec.json.schema_components([self._named_row])[1].values()
        names = dict(zip(self._fields, self.names, strict=True))
        schema["properties"] = {names[key]: kind for key, kind in schema["properties"].items()}
        schema["required"] = [names[key] for key in schema["required"]]
        return dict(schema)

    def decode(self, body: bytes) -> Inputs:
        """Decode the instances into the model's inputs.

        Raises BadRequest if the body is not JSON, and InvalidInstances, which names the row
        and the column, if the JSON does not match the model.
        """
        with turn(len(body)):
            return self._decode(body)

    def _decode(self, body: bytes) -> Inputs:
        try:
            instances = self._decoder.decode(body).instances
        except msgspec.ValidationError as error:
            instances = self._decode_decimals(body) if "got `float`" in str(error) else None
            if instances is None:
                raise self._explain(error, body) from None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            after_mark = skip_mark(body)
            if after_mark is not None:
                return self._decode(after_mark)
            raise self._explain_malformed(body, error) from None
        # A single colon is the one after "instances": then no instance is an object with keys.
        if (colons := body.count(b":")) != 1 or self._may_be_empty:
            self._refuse_duplicates(body, instances, colons)
            instances = [self._to_row(place, row) for place, row in enumerate(instances)]
        if self.card.is_matrix:
            return {MATRIX: np.array(instances, np.float32)}
        try:
            return to_inputs(self.card, instances)
        except ValueError:
            raise self._explain_shapes(instances) from None

    def _decode_decimals(self, body: bytes) -> list[Any] | None:
        """Decode instances in which whole numbers have decimals, as pandas writes them beside others: 2.0 for 2."""
        with contextlib.suppress(ValueError, RecursionError):
            content = json.loads(body, parse_float=lambda text: to_whole(float(text)))
            return list(msgspec.convert(content, self.request).instances)  # type: ignore[attr-defined]
        return None

    def _to_row(self, place: int, row: Any) -> Any:
        """Return the values of an instance in the order of the signature, even if it came as an object."""
        if type(row) is dict:
            named = dict(zip(self.names, self._fields, strict=True))
            unknown = [name for name in row if name not in named]
            if unknown:
                fault = f"Object contains unknown field `{unknown[0]}`"
                raise self._explain(msgspec.ValidationError(f"{fault} - at `$.instances[{place}]`"))
            try:
                given = {named[name]: to_whole(value) for name, value in row.items()}
                row = msgspec.convert(given, self._named_row)
            except msgspec.ValidationError as error:
                # Translate generated field names back to the model's names.
                text = re.sub(
                    r"field_(\d+)", lambda found: self.names[int(found[1])], str(error)
                ).replace("`$", f"`$.instances[{place}]")
                if "- at" not in text:
                    text += f" - at `$.instances[{place}]`"
                raise self._explain(msgspec.ValidationError(text)) from None
        if type(row) is list or type(row) is tuple:
            return row
        values = msgspec.structs.astuple(row)
        if self.card.columns:
            return values
        return dict(zip(self.names, values, strict=True))

    def _refuse_duplicates(self, body: bytes, instances: list[Any], colons: int) -> None:
        """Raise InvalidInstances for a duplicate key, of which msgspec would take the last.

        Each row has all its keys, so a duplicate adds a colon. The expensive check is only for bodies with a
        wrong number of colons, for those that may have escaped a colon in a name, and for rows that need not
        have all keys.
        """
        lists = sum(type(row) is list or type(row) is tuple for row in instances)
        named = len(instances) - lists
        if (
            colons == 1 + named * self._colons
            and not (self._names_have_colons and b"\\" in body)
            and not (self._optional and named)
        ):
            return
        try:
            check_keys(body)
        except DuplicateKeyError as error:
            raise InvalidInstances(f"duplicate key {error} in an object", "") from None

    def _explain(
        self, error: msgspec.ValidationError, body: bytes = b"", fault: str = ""
    ) -> InvalidInstances:
        """Translate an error of msgspec from a path to row and column; ``fault`` replaces that of a number's range."""
        reason, _, path = str(error).partition(" - at ")
        fault = fault if fault and reason.startswith("Expected `float` ") else reason
        place = PATH.fullmatch(path.strip("`"))
        if place is None:
            return InvalidInstances(f'{fault}: send an object with a list "instances"', "")
        row, rest = place["row"], place["rest"]
        if reason == f"Expected `array` of length <= {self.max_rows}" and row is None:
            fault = too_many_rows(self.max_rows)
        if row is None:
            return InvalidInstances(f"instances: {fault}", "/instances")
        if rest and self.card.tensors:
            pointer = INDEX.sub(r"/\1", rest).replace(".", "/", 1)
            return InvalidInstances(
                f"instances[{row}]{rest}: {fault}", f"/instances/{row}{pointer}"
            )
        name, key = rest[1:], escape(rest[1:])
        # msgspec checks the types of a row before its length.
        values = None if rest.startswith(".") else count_values(body, int(row))
        if values not in (None, len(self.names)):
            name, fault = "", f"{values} values instead of {len(self.names)}"
        elif column := INDEX.fullmatch(rest):
            key = column[1]
            name = self.names[int(key)] if int(key) < len(self.names) else ""
            fault = fault if name else "Too many values"
        if fault != reason and name in self._optional:
            fault += ", or null for a missing value"
        if name:
            return InvalidInstances(f"instances[{row}].{name}: {fault}", f"/instances/{row}/{key}")
        return InvalidInstances(
            f"instances[{row}]: {fault}; the model takes {describe(self.card)}", f"/instances/{row}"
        )

    def _explain_malformed(self, body: bytes, error: Exception) -> BadRequest | InvalidInstances:
        """Find the row and column of a NaN or infinity, which Python writes but JSON does not allow."""
        try:
            msgspec.convert(json.loads(body), self.request)
        except msgspec.ValidationError as invalid:
            return self._explain(invalid, body, "Expected a finite number")
        except (ValueError, RecursionError):
            pass
        return BadRequest(f"The body is not JSON: {error}")

    def _explain_shapes(self, instances: Sequence[Any]) -> InvalidInstances:
        """Find the instance with a tensor whose shape differs from that of the first instance."""
        for row, instance in enumerate(instances):
            try:
                to_inputs(self.card, [instances[0], instance])
            except ValueError:
                return InvalidInstances(
                    f"instances[{row}]: its lists are uneven, or differ in length from those of "
                    f"instances[0]; the model takes {describe(self.card)}",
                    f"/instances/{row}",
                )
        raise AssertionError


def to_whole(value: Any) -> Any:
    """Return a float without decimals as the integer that JSON Schema takes it for; return other values unchanged."""
    is_whole = type(value) is float and value.is_integer() and abs(value) < 2**63
    return int(value) if is_whole else value


def count_values(body: bytes, row: int) -> int | None:
    """Return the number of values in an instance, or None if it is no list."""
    with contextlib.suppress(ValueError, RecursionError, LookupError, TypeError):
        instance = json.loads(body)["instances"][row]
        return len(instance) if type(instance) is list else None
    return None


def kind_of(part: Column | Tensor) -> Any:
    """Return the JSON type of a column's or tensor's value."""
    kind: Any
    if isinstance(part, Column):
        kind = VALUES[part.type]
        if part.type == "string" and not part.required:
            # The empty text means the same as null.
            kind = str
        if part.is_closed:
            kind = Literal[part.categories if part.required else ("", *part.categories)]
        return kind if part.required else kind | None
    kind = VALUES[part.datatype]
    for size in reversed(part.shape):
        kind = list[kind]
        if size >= 0:
            kind = Annotated[kind, Meta(min_length=size, max_length=size)]
    return kind


def described_kind(part: Column | Tensor, kind: Any) -> Any:
    """Annotate a type with its range and examples from training, for the schema."""
    about = None
    if part.minimum is not None and part.maximum is not None:
        unit = f" {part.unit}" if isinstance(part, Column) and part.unit else ""
        about = f"From {part.minimum:g} to {part.maximum:g}{unit} in the training data."
    examples: list[Any] = [] if part.example is None else [part.example]
    if isinstance(part, Column) and part.categories:
        examples = list(part.categories)
    return Annotated[kind, Meta(description=about, examples=examples)]


def row_of(card: ModelCard, kinds: Sequence[Any]) -> Any:
    """Return the type of an instance without names, or None if a tensor's name is required."""
    if card.is_matrix and len(set(kinds)) == 1:
        return Annotated[list[kinds[0]], Meta(min_length=len(kinds), max_length=len(kinds))]  # type: ignore[valid-type]
    if card.columns:
        return tuple[tuple(kinds)]  # type: ignore[misc]
    return kinds[0] if len(kinds) == 1 and card.tensors[0].shape else None


def describe(card: ModelCard) -> str:
    """Describe an instance, for a client that sent something else."""
    if card.columns:
        return f"{len(card.columns)} columns: {', '.join(column.name for column in card.columns)}"
    return ", ".join(
        f"{tensor.name} of shape {list(tensor.shape)} and type {tensor.datatype}"
        for tensor in card.tensors
    )
