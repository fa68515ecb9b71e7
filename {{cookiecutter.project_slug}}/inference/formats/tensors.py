"""Tensors of the Open Inference Protocol v2: in JSON, or as raw bytes after it.

The bytes are little-endian in row-major order; an element of BYTES has its length before it, as four
bytes (the protocol's binary tensor data extension).
"""

import math
from typing import Annotated, Any

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray
from werkzeug.exceptions import BadRequest

DTYPES = {
    "BOOL": np.dtype("?"),
    "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"),
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
}
NAMES = {dtype: name for name, dtype in DTYPES.items()}
KINDS = {"BOOL": "b", "INT32": "iu", "INT64": "iu", "FP32": "iuf", "FP64": "iuf"}

Size = Annotated[int, Meta(ge=0)]
Parameters = dict[str, Any]
Number = bool | int | float


class InputTensor(msgspec.Struct):
    """A tensor of a request: its values in ``data``, flat or nested, or as bytes after the JSON."""

    name: str
    shape: list[Size]
    datatype: str
    parameters: Parameters | None = None
    data: list[Number | list[Number]] | None = None


class RequestedOutput(msgspec.Struct):
    """An output that the client wants; ``parameters`` may ask for it as bytes."""

    name: str
    parameters: Parameters | None = None


class InferenceRequest(msgspec.Struct):
    """The JSON of a request."""

    inputs: Annotated[list[InputTensor], Meta(min_length=1)]
    id: str | None = None
    parameters: Parameters | None = None
    outputs: list[RequestedOutput] | None = None


class OutputTensor(msgspec.Struct, omit_defaults=True):
    """A tensor of a response."""

    name: str
    shape: list[int]
    datatype: str
    parameters: Parameters = {}
    data: list[Any] | None = None


class InferenceResponse(msgspec.Struct, omit_defaults=True):
    """The JSON of a response."""

    model_name: str
    model_version: str
    outputs: list[OutputTensor]
    id: str | None = None


decoder = msgspec.json.Decoder(InferenceRequest)


def decode(body: bytes, json_length: int) -> tuple[InferenceRequest, list[bytes | None]]:
    """Split a body into its request and the bytes of each input, None for those in JSON.

    ``json_length`` is the number of bytes of JSON. Raises BadRequest where the parts do not make up
    the body.
    """
    if json_length > len(body):
        raise BadRequest(
            f"Inference-Header-Content-Length is {json_length}, the body has {len(body)} bytes"
        )
    try:
        request = decoder.decode(body[:json_length])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadRequest(str(error)) from None
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


def to_array(tensor: InputTensor, part: bytes | None) -> NDArray[Any]:
    """The values of a tensor in its shape; raises BadRequest where they do not fit it."""
    dtype = DTYPES.get(tensor.datatype)
    if dtype is None:
        raise BadRequest(f"{tensor.name}: datatype {tensor.datatype} is not {', '.join(DTYPES)}")
    count = math.prod(tensor.shape)
    if part is not None:
        if len(part) != count * dtype.itemsize:
            raise BadRequest(
                f"{tensor.name}: {len(part)} bytes are not the {count * dtype.itemsize} of shape "
                f"{tensor.shape} and datatype {tensor.datatype}"
            )
        return np.frombuffer(part, dtype).reshape(tensor.shape)
    try:
        values = np.array(tensor.data if tensor.data is not None else "missing")
    except ValueError:
        raise BadRequest(f"{tensor.name}: data is neither flat nor nested evenly") from None
    is_of_kind = values.dtype.kind in KINDS[tensor.datatype]
    if not is_of_kind or (dtype.kind == "i" and (values.astype(dtype) != values).any()):
        raise BadRequest(f"{tensor.name}: data is not of datatype {tensor.datatype}")
    if values.size != count:
        raise BadRequest(f"{tensor.name}: {values.size} values do not fill shape {tensor.shape}")
    return values.reshape(tensor.shape)


def encode(name: str, values: NDArray[Any], as_bytes: bool) -> tuple[OutputTensor, bytes]:
    """An output, and its bytes where ``as_bytes``; an array of objects holds str, for BYTES."""
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
    """Texts as BYTES: each with its length before it."""
    texts = (str(value).encode() for value in values.flat)
    return b"".join(len(text).to_bytes(4, "little") + text for text in texts)
