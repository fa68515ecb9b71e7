"""Instances of a request: rows of numbers, as arrays or as objects by feature name."""

import json
import re
from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray
from werkzeug.exceptions import BadRequest

from inference.errors import InvalidInstances
from inference.formats.decoding import (
    LARGE_BYTES,
    DuplicateKeyError,
    check_keys,
    one_at_a_time,
    skip_mark,
    too_many_rows,
)

FLOAT32_MAX = float(np.finfo(np.float32).max)
PATH = re.compile(r"\$\.instances(\[(?P<row>\d+)\](\[(?P<column>\d+)\]|\.(?P<name>.+))?)?")


class InstancesDecoder:
    """Decodes ``{"instances": [...]}`` for a model with the given features."""

    def __init__(self, features: Sequence[str], max_rows: int) -> None:
        self.features = features
        self.max_rows = max_rows
        number = Annotated[float, Meta(ge=-FLOAT32_MAX, le=FLOAT32_MAX)]
        row = Annotated[list[number], Meta(min_length=len(features), max_length=len(features))]
        # A feature's name need not be an identifier, so each field has a name of its own.
        fields = {f"feature_{index}": name for index, name in enumerate(features)}
        # An object has that many colons, those of its names among them.
        self._colons = sum(1 + name.count(":") for name in features)
        self._names_have_colons = self._colons > len(features)
        named_row = msgspec.defstruct(
            "Instance",
            [(field, number) for field in fields],
            rename=fields,
            forbid_unknown_fields=True,
        )
        rows = Annotated[list[row | named_row], Meta(min_length=1, max_length=max_rows)]  # type: ignore[valid-type]
        self.request = msgspec.defstruct(
            "Request", [("instances", rows)], forbid_unknown_fields=True
        )
        self._decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(self.request)

    def decode(self, body: bytes) -> NDArray[np.float32]:
        """Return the instances as an array of shape (rows, features).

        Raises BadRequest for a body that is not JSON, and InvalidInstances, which names the row
        and the feature, for JSON that does not fit the model.
        """
        if len(body) > LARGE_BYTES:
            with one_at_a_time:
                return self._decode(body)
        return self._decode(body)

    def _decode(self, body: bytes) -> NDArray[np.float32]:
        try:
            instances = self._decoder.decode(body).instances
        except msgspec.ValidationError as error:
            raise self._explain(error) from None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            after_mark = skip_mark(body)
            if after_mark is not None:
                return self._decode(after_mark)
            raise self._explain_malformed(body, error) from None
        # One colon is the one after "instances": no key can be there twice.
        if (colons := body.count(b":")) != 1:
            self._refuse_duplicates(body, instances, colons)
        rows = [row if type(row) is list else msgspec.structs.astuple(row) for row in instances]
        return np.array(rows, dtype=np.float32)

    def _refuse_duplicates(self, body: bytes, instances: list[Any], colons: int) -> None:
        """Raise InvalidInstances for a key that is there twice, of which msgspec takes the last.

        Each row has all its keys, and a key more is a colon more; looking for it in earnest is for bodies
        with a wrong number, and for those that may have written a name's own colon as an escape.
        """
        named = len(instances) - [type(row) for row in instances].count(list)
        if colons == 1 + named * self._colons and not (self._names_have_colons and b"\\" in body):
            return
        try:
            check_keys(body)
        except DuplicateKeyError as error:
            raise InvalidInstances(f"{error} is twice in one object", "") from None

    def _explain(
        self, error: msgspec.ValidationError, fault: str | None = None
    ) -> InvalidInstances:
        """Say by row and feature what msgspec says by path; ``fault`` replaces its reason."""
        reason, _, path = str(error).partition(" - at ")
        fault = fault or reason
        place = PATH.fullmatch(path.strip("`"))
        if place is None:
            return InvalidInstances(f'{fault}: send an object with a list "instances"', "")
        row, column, name = place["row"], place["column"], place["name"]
        if reason == f"Expected `array` of length <= {self.max_rows}" and row is None:
            fault = too_many_rows(self.max_rows)
        if row is None:
            return InvalidInstances(f"instances: {fault}", "/instances")
        if column is not None and int(column) < len(self.features):
            name = self.features[int(column)]
        elif column is not None:
            fault = "Too many values"
        if name is not None:
            key = column or name.replace("~", "~0").replace("/", "~1")
            return InvalidInstances(f"instances[{row}].{name}: {fault}", f"/instances/{row}/{key}")
        features = f"{len(self.features)} features: {', '.join(self.features)}"
        return InvalidInstances(
            f"instances[{row}]: {fault}; the model takes {features}", f"/instances/{row}"
        )

    def _explain_malformed(self, body: bytes, error: Exception) -> BadRequest | InvalidInstances:
        """Find the row and feature of a NaN or infinity, which Python writes but JSON has not."""
        try:
            msgspec.convert(json.loads(body), self.request)
        except msgspec.ValidationError as invalid:
            return self._explain(invalid, "Expected a finite number")
        except (ValueError, RecursionError):
            pass
        return BadRequest(f"The body is not JSON: {error}")
