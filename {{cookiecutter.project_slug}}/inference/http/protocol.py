"""The routes of the Open Inference Protocol v2 (REST), spoken by KServe and Triton, below /v2."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from flask import Blueprint, Response
from numpy.typing import NDArray
from werkzeug.exceptions import BadRequest, NotFound

from inference.formats import tensors
from inference.formats.decoding import too_many_rows
from inference.formats.instances import FLOAT32_MAX
from inference.formats.tensors import InferenceResponse, InputTensor, RequestedOutput
from inference.http.routes import JSON, JSON_LENGTH, respond, to_json
from inference.http.service import Asked, Door, Encode, Reply
from inference.runtime.engine import Engine
from inference.runtime.signature import DATATYPES, MATRIX, Inputs, ModelCard, Predictions, to_array

COLUMN_DATATYPES = {"number": "FP32", "integer": "INT64", "boolean": "BOOL", "string": "BYTES"}
OUTPUT_DATATYPES = {"number": "FP64", "integer": "INT64", "boolean": "BOOL", "string": "BYTES"}
INFER = "/models/<name>/infer"
INFER_VERSION = "/models/<name>/versions/<of_version>/infer"


def create_blueprint(engine: Engine, door: Door, version: str) -> Blueprint:
    """Create the routes for the model of ``engine``, whose file has ``version``."""
    card = engine.card
    blueprint = Blueprint("protocol", __name__, url_prefix="/v2")

    def require(name: str, of_version: str | None) -> None:
        if name != card.name or of_version not in (None, version):
            raise NotFound(f"the model here is {card.name}, version {version}")

    @blueprint.get("")
    def server() -> dict[str, object]:
        """Return the server's name and its protocol extensions."""
        return {"name": card.name, "version": version, "extensions": ["binary_tensor_data"]}

    @blueprint.get("/health/live")
    def live() -> dict[str, object]:
        """Report that the server is up."""
        return {"live": True}

    @blueprint.get("/health/ready")
    def ready() -> dict[str, object]:
        """Report that the model answers: the service listens only once it does."""
        return {"live": True, "ready": True}

    @blueprint.get("/models/<name>/ready")
    @blueprint.get("/models/<name>/versions/<of_version>/ready")
    def model_ready(name: str, of_version: str | None = None) -> dict[str, object]:
        """Report that the model answers."""
        require(name, of_version)
        return {"name": card.name, "ready": True}

    @blueprint.get("/models/<name>")
    @blueprint.get("/models/<name>/versions/<of_version>")
    def model(name: str, of_version: str | None = None) -> dict[str, object]:
        """Describe the model's inputs and outputs."""
        require(name, of_version)
        return describe(engine, version)

    @blueprint.post(INFER)
    @blueprint.post(INFER_VERSION)
    def infer(name: str, of_version: str | None = None) -> Response:
        """Predict for each instance of the tensors."""
        require(name, of_version)
        return respond(door)

    return blueprint


def make_door(card: ModelCard, version: str, max_rows: int) -> Door:
    """Create the door that takes tensors for the model whose file has ``version``."""
    inputs = {given.name: given for given in inputs_of(card)}
    columns = {given.name: given for given in columns_of(card)}

    def infer(asked: Asked) -> tuple[Inputs, Encode]:
        given, parts = tensors.decode(asked.body, json_length(asked))
        if card.is_matrix and given.inputs[0].name != MATRIX and given.inputs[0].name in columns:
            found = find_inputs(given, parts, card, columns, max_rows)
            found = {MATRIX: np.stack([found[name] for name in columns], axis=1)}
        else:
            found = find_inputs(given, parts, card, inputs, max_rows)
        return found, partial(to_reply, given, card, version)

    return infer


def paths_of(card: ModelCard, version: str) -> dict[str, str]:
    """Return the paths for predictions, each with its route."""
    return {
        route.replace("<name>", card.name).replace("<of_version>", version): route
        for route in (f"/v2{path}" for path in (INFER, INFER_VERSION))
    }


def to_reply(
    given: tensors.InferenceRequest, card: ModelCard, version: str, predictions: Predictions
) -> Reply:
    """Encode the requested outputs, each in the JSON or as bytes after it."""
    outputs = to_outputs(predictions, card)
    wanted = given.outputs or [RequestedOutput(name) for name in outputs]
    by_default = (given.parameters or {}).get("binary_data_output", False)
    encoded = []
    for output in wanted:
        # Each output only once: repeats would make the response arbitrarily large.
        if output.name not in outputs:
            raise BadRequest(f"{output.name} is not among the outputs, or requested twice")
        parameters = output.parameters or {}
        if {"shared_memory_region", "classification"} & parameters.keys():
            raise BadRequest(f"{output.name}: no shared memory or classification is supported")
        as_bytes = bool(parameters.get("binary_data", by_default))
        encoded.append(tensors.encode(output.name, outputs.pop(output.name), as_bytes))
    answer = InferenceResponse(card.name, version, [tensor for tensor, _ in encoded], given.id)
    json, raw = to_json(answer), b"".join(raw for _, raw in encoded)
    if not raw:
        return Reply(json, JSON)
    return Reply(json + raw, "application/octet-stream", [(JSON_LENGTH, str(len(json)))])


class Input(NamedTuple):
    """An input in terms of the protocol; ``shape`` is that of an instance, with -1 for a dimension of any size."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    required: bool = True
    # Whether NaN marks a missing value; for a matrix, one flag per column.
    takes_nan: bool | tuple[bool, ...] = False
    # The accepted texts; empty means any.
    categories: tuple[str, ...] = ()


def inputs_of(card: ModelCard) -> list[Input]:
    """Return the model's inputs: a matrix, a tensor for each column of its table, or its tensors."""
    if card.tensors:
        return [Input(tensor.name, tensor.datatype, tensor.shape) for tensor in card.tensors]
    if card.is_matrix:
        optional = tuple(not column.required for column in card.columns)
        takes_nan = any(optional) and optional
        return [Input(MATRIX, "FP32", (len(card.columns),), takes_nan=takes_nan)]
    return columns_of(card)


def columns_of(card: ModelCard) -> list[Input]:
    """Return an input for each column of a table."""
    return [
        Input(
            column.name,
            COLUMN_DATATYPES[column.type],
            (),
            column.required,
            takes_nan=not column.required,
            categories=column.categories if column.is_closed else (),
        )
        for column in card.columns
    ]


def names_of(card: ModelCard) -> list[tuple[str, str]]:
    """Return the names of each output and its probabilities."""
    if len(card.outputs) == 1:
        return [("predictions", "probabilities")]
    return [(output.name, f"{output.name}_probabilities") for output in card.outputs]


def describe(engine: Engine, version: str) -> dict[str, object]:
    """Return the model's metadata; -1 in a shape is the number of instances, or a dimension of any size."""
    card = engine.card
    outputs: list[object] = []
    for output, (name, its_probabilities), gives in zip(
        card.outputs, names_of(card), engine.gives_probabilities, strict=True
    ):
        datatype = OUTPUT_DATATYPES[output.type]
        outputs.append({"name": name, "datatype": datatype, "shape": [-1]})
        if gives:
            shape = [-1, len(output.classes)]
            outputs.append({"name": its_probabilities, "datatype": "FP32", "shape": shape})
    return {
        "name": card.name,
        "versions": [version],
        "platform": "python",
        "inputs": [
            {"name": given.name, "datatype": given.datatype, "shape": [-1, *given.shape]}
            for given in inputs_of(card)
        ],
        "outputs": outputs,
    }


def find_inputs(
    given: tensors.InferenceRequest,
    parts: Sequence[bytes | None],
    card: ModelCard,
    inputs: Mapping[str, Input],
    max_rows: int,
) -> Inputs:
    """Convert a request's tensors to the model's inputs; raises BadRequest if they do not match."""
    found: Inputs = {}
    rows: int | None = None
    for tensor, part in zip(given.inputs, parts, strict=True):
        wanted = inputs.get(tensor.name)
        if wanted is None or tensor.name in found:
            fault = "is given twice" if wanted else f"is not among the inputs: {', '.join(inputs)}"
            raise BadRequest(f"{tensor.name} {fault}")
        check_shape(tensor, wanted, max_rows)
        if rows is not None and tensor.shape[0] != rows:
            raise BadRequest(f"{tensor.name}: {tensor.shape[0]} rows, the inputs before it {rows}")
        rows = tensor.shape[0]
        found[tensor.name] = to_input(tensor, part, wanted)
    for name, wanted in inputs.items():
        if name not in found and wanted.required:
            raise BadRequest(f"the input {name} is missing")
    if card.columns and len(found) < len(inputs):
        # In column order, with columns that the client left out as missing values.
        missing = {
            column.name: to_array(column, [None] * (rows or 0))
            for column in card.columns
            if column.name not in found
        }
        found = {name: found.get(name, missing.get(name)) for name in inputs}  # type: ignore[misc]
    return found


def check_shape(tensor: InputTensor, wanted: Input, max_rows: int) -> None:
    """Raise BadRequest if a tensor does not have the shape of a number of instances."""
    rows, *shape = tensor.shape or [0]
    # A column may be sent as a matrix with one column.
    is_column = not wanted.shape and shape == [1]
    fits = len(shape) == len(wanted.shape) and all(
        size in (-1, got) for size, got in zip(wanted.shape, shape, strict=True)
    )
    if not tensor.shape or not (fits or is_column):
        expected = ", ".join(["rows", *map(str, wanted.shape)])
        raise BadRequest(f"{tensor.name}: shape {tensor.shape} is not [{expected}]")
    if rows > max_rows:
        raise BadRequest(f"{tensor.name}: {too_many_rows(max_rows)}")
    if rows < 1:
        raise BadRequest(f"{tensor.name}: 0 rows: send between 1 and {max_rows}")


def to_input(tensor: InputTensor, part: bytes | None, wanted: Input) -> NDArray[Any]:
    """Convert a tensor's values to the model's input; raises BadRequest if they do not fit its datatype."""
    if (tensor.datatype == "BYTES") != (wanted.datatype == "BYTES"):
        raise BadRequest(
            f"{tensor.name}: datatype {tensor.datatype} is not {wanted.datatype}, which the model takes"
        )
    values = tensors.to_array(tensor, part)
    if not wanted.shape:
        values = values.reshape(-1)
    if wanted.datatype == "BYTES":
        if wanted.required and not all(values.flat):
            raise BadRequest(f"{tensor.name}: a text is empty, which is a missing value")
        if wanted.categories and not set(values.flat) <= {"", *wanted.categories}:
            raise BadRequest(f"{tensor.name}: a text is not {', '.join(wanted.categories)}")
        return values
    dtype = DATATYPES[wanted.datatype]
    if dtype.kind == "f":
        # A column is limited to float32, whatever the client's datatype can hold.
        most = FLOAT32_MAX if wanted.datatype == "FP32" else np.inf
        with np.errstate(invalid="ignore"):
            fits = np.abs(values, dtype=np.float64) <= most
        if wanted.takes_nan and values.dtype.kind == "f":
            fits |= np.isnan(values) & wanted.takes_nan
        if not fits.all() or (most == np.inf and not np.isfinite(values).all()):
            raise BadRequest(
                f"{tensor.name}: a value is missing, or not a number that {wanted.datatype} can hold"
            )
        return values.astype(dtype)
    with np.errstate(invalid="ignore"):
        converted = values.astype(dtype)
    if (converted != values).any():
        raise BadRequest(f"{tensor.name}: a value is not of datatype {wanted.datatype}")
    return converted


def to_outputs(predictions: Predictions, card: ModelCard) -> dict[str, NDArray[Any]]:
    """Return the outputs by name: text for BYTES, whole numbers as int64, other numbers as float64."""
    outputs: dict[str, NDArray[Any]] = {}
    for output, (values, probabilities), (name, its_probabilities) in zip(
        card.outputs, predictions, names_of(card), strict=True
    ):
        outputs[name] = np.array(values, DATATYPES[OUTPUT_DATATYPES[output.type]])
        if probabilities is not None:
            outputs[its_probabilities] = probabilities.astype(np.float32)
    return outputs


def json_length(asked: Asked) -> int:
    """Return the number of bytes of JSON, from the header that the client sends if raw tensors follow it."""
    text = asked.header(JSON_LENGTH, str(len(asked.body)))
    if not (text.isascii() and text.isdecimal()) or len(text) > 18:
        raise BadRequest(f"{JSON_LENGTH} is {text}, not a number of bytes")
    return int(text)
