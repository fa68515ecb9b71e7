"""Tensors of the Open Inference Protocol v2, in JSON or as raw bytes after it.

The bytes are little-endian in row-major order; an element of BYTES is prefixed with its length in four
bytes (the protocol's binary tensor data extension).
"""

import math
from functools import cache
from typing import Annotated, Any

import msgspec
import numpy as np
from msgspec import UNSET, Meta, Raw, UnsetType
from numpy.typing import NDArray
from werkzeug.exceptions import BadRequest

from inference.formats.decoding import DuplicateKeyError, check_keys, skip_mark, turn
from inference.runtime.signature import DATATYPES

NAMES = {dtype: name for name, dtype in DATATYPES.items()}

Size = Annotated[int, Meta(ge=0)]
# Limit for lists that no request needs to be longer, as their elements cost memory.
Few = Meta(max_length=64)
# A tensor for each column of a table.
MOST_INPUTS = 4096
Parameters = Annotated[dict[str, bool | int | float | str | None], Few]
VALUE = {"type": ["boolean", "number", "string", "null"]}
# Values are decoded once their datatype and shape are known; the schema documents them as flat or nested.
NESTED = {"anyOf": [VALUE, {"type": "array", "items": {}}]}
Data = Annotated[Raw, Meta(extra_json_schema={"type": ["array", "null"], "items": NESTED})]


class InputTensor(msgspec.Struct):
    """A tensor of a request, with its values in ``data``, flat or nested, or as bytes after the JSON."""

    name: str
    shape: Annotated[list[Size], Few]
    datatype: str
    parameters: Parameters | None = None
    data: Data | UnsetType = UNSET


class RequestedOutput(msgspec.Struct):
    """An output that the client requests; ``parameters`` may request it as bytes."""

    name: str
    parameters: Parameters | None = None


class InferenceRequest(msgspec.Struct):
    """The JSON of a request."""

    inputs: Annotated[list[InputTensor], Meta(min_length=1, max_length=MOST_INPUTS)]
    id: str | None = None
    parameters: Parameters | None = None
    outputs: Annotated[list[RequestedOutput], Few] | None = None


class OutputTensor(msgspec.Struct, omit_defaults=True):
    """A tensor of a response."""

    name: str
    shape: list[int]
    datatype: str
    parameters: dict[str, Any] = {}
    data: Annotated[list[Any], Meta(extra_json_schema={"items": {}})] | None = None


class InferenceResponse(msgspec.Struct, omit_defaults=True):
    """The JSON of a response."""

    model_name: str
    model_version: str
    outputs: list[OutputTensor]
    id: str | None = None


decoder = msgspec.json.Decoder(InferenceRequest)
# A datatype accepts no values of another kind, except whole numbers as floats. JSON has no NaN, so null stands for it.
KINDS: dict[str, Any] = {"b": bool, "i": int, "f": float | None, "O": str}


@cache
def decoder_of(kind: str, depth: int) -> msgspec.json.Decoder[Any]:
    """Return a decoder for values of a dtype kind, flat or in nested lists of that depth."""
    value: Any = KINDS[kind]
    values: Any = list[value]
    for _ in range(depth - 1):
        values = list[value | values]
    return msgspec.json.Decoder(values)


def decode(body: bytes, json_length: int) -> tuple[InferenceRequest, list[bytes | None]]:
    """Split a body into its request and the bytes of each input, or None for inputs in JSON.

    ``json_length`` is the number of bytes of JSON. Raises BadRequest if the parts do not add up to
    the body.
    """
    if json_length > len(body):
        raise BadRequest(
            f"Inference-Header-Content-Length is {json_length}, the body has {len(body)} bytes"
        )
    with turn(json_length):
        request = decode_json(body[:json_length])
    rest = memoryview(body)[json_length:]
    parts: list[bytes | None] = []
    for tensor in request.inputs:
        size = (tensor.parameters or {}).get("binary_data_size")
        if size is None:
            parts.append(None)
            continue
        if type(size) is not int or not 0 <= size <= len(rest):
            raise BadRequest(
                f"{tensor.name}: binary_data_size is {size}, {len(rest)} bytes are left"
            )
        parts.append(bytes(rest[:size]))
        rest = rest[size:]
    if rest:
        raise BadRequest(f"{len(rest)} bytes of the body belong to no input")
    return request, parts


def decode_json(body: bytes) -> InferenceRequest:
    """Decode the JSON of a request, except the values of its tensors; raises BadRequest."""
    try:
        try:
            request = decoder.decode(body)
        except msgspec.DecodeError:
            after_mark = skip_mark(body)
            if after_mark is None:
                raise
            body, request = after_mark, decoder.decode(after_mark)
        # An extra key, be it duplicate, unknown or null, is an extra colon; so is a colon in a text. One input
        # with its data has five keys, none of them duplicate.
        colons = body.count(b":")
        if colons != 5 and (colons != count_keys(request) or b"\\" in body):
            check_keys(body)
    except DuplicateKeyError as error:
        raise BadRequest(f"duplicate key {error} in an object") from None
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise BadRequest(str(error)) from None
    return request


def count_keys(request: InferenceRequest) -> int:
    """Count the keys of all objects in a request, if each occurs once and none is null."""
    tensors = request.inputs
    outputs = request.outputs
    keys = 1 + (request.id is not None) + 3 * len(tensors)
    keys += sum(tensor.data is not UNSET for tensor in tensors)
    if outputs is not None:
        keys += 1 + len(outputs)
    for part in (request, *tensors, *(outputs or ())):
        if part.parameters is not None:
            keys += 1 + len(part.parameters)
    return keys


def to_array(tensor: InputTensor, part: bytes | None) -> NDArray[Any]:
    """Return the values of a tensor in its shape; raises BadRequest if they do not fit it."""
    dtype = DATATYPES.get(tensor.datatype)
    if dtype is None:
        raise BadRequest(f"{tensor.name}: datatype {tensor.datatype} is not {', '.join(DATATYPES)}")
    count = math.prod(tensor.shape)
    if part is not None and tensor.datatype == "BYTES":
        return unpack(tensor, part, count).reshape(tensor.shape)
    if part is not None:
        if len(part) != count * dtype.itemsize:
            raise BadRequest(
                f"{tensor.name}: {len(part)} bytes are not the {count * dtype.itemsize} of shape "
                f"{tensor.shape} and datatype {tensor.datatype}"
            )
        return np.frombuffer(part, dtype).reshape(tensor.shape)
    if tensor.data is UNSET:
        raise BadRequest(f"{tensor.name}: data is missing; shared memory is not supported")
    with turn(memoryview(tensor.data).nbytes):
        values = decode_values(tensor, tensor.data, dtype)
    if values.size != count:
        raise BadRequest(f"{tensor.name}: {values.size} values do not fill shape {tensor.shape}")
    return values.reshape(tensor.shape)


def decode_values(tensor: InputTensor, data: Raw, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Decode values in JSON, flat or nested; raises BadRequest if they are not of the datatype."""
    fault = f"{tensor.name}: data is not of datatype {tensor.datatype}"
    try:
        decoded = decoder_of(dtype.kind, max(len(tensor.shape), 1)).decode(data)
        values = np.array(decoded, {"O": object, "f": np.float64}.get(dtype.kind))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadRequest(f"{fault}: {error}") from None
    except (TypeError, ValueError):
        raise BadRequest(f"{tensor.name}: data is neither flat nor nested evenly") from None
    if dtype.kind == "i" and (
        values.dtype.kind not in "iu" or (values.astype(dtype) != values).any()
    ):
        raise BadRequest(fault)
    if dtype.kind == "O" and any(type(value) is not str for value in values.flat):
        raise BadRequest(f"{tensor.name}: data is neither flat nor nested evenly")
    return values


def unpack(tensor: InputTensor, part: bytes, count: int) -> NDArray[Any]:
    """Unpack the texts of a BYTES tensor; raises BadRequest if their number is not ``count``, or one is not UTF-8."""
    texts: list[str] = []
    place = 0
    while place < len(part) and len(texts) <= count:
        start = place + 4
        place = start + int.from_bytes(part[place:start], "little")
        try:
            texts.append(part[start:place].decode())
        except UnicodeDecodeError as error:
            raise BadRequest(f"{tensor.name}: element {len(texts)} is not UTF-8: {error}") from None
    if place != len(part) or len(texts) != count:
        raise BadRequest(
            f"{tensor.name}: {len(part)} bytes are not the {count} elements of shape {tensor.shape}, "
            "each after its length in four bytes"
        )
    return np.array([*texts, None], object)[:-1]


def encode(name: str, values: NDArray[Any], as_bytes: bool) -> tuple[OutputTensor, bytes]:
    """Return an output, and its raw bytes if ``as_bytes``; an array of objects holds str, for BYTES."""
    is_text = values.dtype == object
    datatype = "BYTES" if is_text else NAMES[values.dtype]
    output = OutputTensor(name, list(values.shape), datatype)
    if not as_bytes:
        output.data = values.ravel().tolist()
        return output, b""
    raw = pack(values) if is_text else values.tobytes()
    output.parameters = {"binary_data_size": len(raw)}
    return output, raw


def pack(values: NDArray[Any]) -> bytes:
    """Pack texts as BYTES, each prefixed with its length."""
    texts = (str(value).encode() for value in values.flat)
    return b"".join(len(text).to_bytes(4, "little") + text for text in texts)
