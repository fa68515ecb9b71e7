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
        try:
            instances = self._decoder.decode(body).instances
        except msgspec.ValidationError as error:
            raise self._explain(error) from None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise self._explain_malformed(body, error) from None
        rows = [row if type(row) is list else msgspec.structs.astuple(row) for row in instances]
        return np.array(rows, dtype=np.float32)

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
