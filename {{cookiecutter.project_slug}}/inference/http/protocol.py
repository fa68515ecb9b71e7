"""The routes of the Open Inference Protocol v2 (REST), as KServe and Triton speak it, below /v2."""

from collections.abc import Sequence
from functools import partial

import numpy as np
from flask import Blueprint, Response
from numpy.typing import NDArray
from werkzeug.exceptions import BadRequest, NotFound

from inference.formats import tensors
from inference.formats.decoding import too_many_rows
from inference.formats.instances import FLOAT32_MAX
from inference.formats.tensors import InferenceResponse, RequestedOutput
from inference.http.body import Reader
from inference.http.routes import JSON, JSON_LENGTH, respond, to_json
from inference.http.service import Asked, Door, Encode, Reply
from inference.runtime.engine import Engine
from inference.runtime.signature import ModelCard, Prediction

INPUT = "instances"
INFER = "/models/<name>/infer"
INFER_VERSION = "/models/<name>/versions/<of_version>/infer"


def create_blueprint(engine: Engine, door: Door, read: Reader, version: str) -> Blueprint:
    """The routes that answer for the model of ``engine``, whose file has ``version``."""
    card = engine.card
    blueprint = Blueprint("protocol", __name__, url_prefix="/v2")

    def require(name: str, of_version: str | None) -> None:
        if name != card.name or of_version not in (None, version):
            raise NotFound(f"the model here is {card.name}, version {version}")

    @blueprint.get("")
    def server() -> dict[str, object]:
        """Name the server and what it speaks beyond the protocol."""
        extensions = ["binary_tensor_data"]
        return {"name": card.name, "version": version, "extensions": extensions}

    @blueprint.get("/health/live")
    def live() -> dict[str, object]:
        """Say that the server is up."""
        return {"live": True}

    @blueprint.get("/health/ready")
    def ready() -> dict[str, object]:
        """Say that the model answers: the service listens only once it does."""
        return {"live": True, "ready": True}

    @blueprint.get("/models/<name>/ready")
    @blueprint.get("/models/<name>/versions/<of_version>/ready")
    def model_ready(name: str, of_version: str | None = None) -> dict[str, object]:
        """Say that the model answers."""
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
        """Predict for each row of the tensor."""
        require(name, of_version)
        return respond(engine, door, read)

    return blueprint


def make_door(card: ModelCard, version: str, max_rows: int) -> Door:
    """The way to ask the model whose file has ``version`` by tensors."""

    def infer(asked: Asked) -> tuple[NDArray[np.float32], Encode]:
        given, parts = tensors.decode(asked.body, json_length(asked))
        rows = find_rows(given, parts, len(card.features), max_rows)
        return rows, partial(to_reply, given, card, version)

    return infer


def paths_of(card: ModelCard, version: str) -> dict[str, str]:
    """The paths at which the model is asked, each with its route."""
    return {
        route.replace("<name>", card.name).replace("<of_version>", version): route
        for route in (f"/v2{path}" for path in (INFER, INFER_VERSION))
    }


def to_reply(
    given: tensors.InferenceRequest, card: ModelCard, version: str, prediction: Prediction
) -> Reply:
    """The outputs that the request wants, each as JSON or as bytes after it."""
    outputs = to_outputs(prediction, card)
    wanted = given.outputs or [RequestedOutput(name) for name in outputs]
    by_default = (given.parameters or {}).get("binary_data_output", False)
    encoded = []
    for output in wanted:
        # Each once: many of them would be an answer of any size.
        if output.name not in outputs:
            raise BadRequest(f"{output.name} is not among the outputs, or asked for twice")
        as_bytes = bool((output.parameters or {}).get("binary_data", by_default))
        encoded.append(tensors.encode(output.name, outputs.pop(output.name), as_bytes))
    answer = InferenceResponse(card.name, version, [tensor for tensor, _ in encoded], given.id)
    json, raw = to_json(answer), b"".join(raw for _, raw in encoded)
    if not raw:
        return Reply(json, JSON)
    return Reply(json + raw, "application/octet-stream", [(JSON_LENGTH, str(len(json)))])


def describe(engine: Engine, version: str) -> dict[str, object]:
    """The model's metadata; -1 in a shape is the number of rows."""
    card = engine.card
    datatype = "BYTES" if card.classes else "FP64"
    outputs: list[object] = [{"name": "predictions", "datatype": datatype, "shape": [-1]}]
    if engine.gives_probabilities:
        shape = [-1, len(card.classes)]
        outputs.append({"name": "probabilities", "datatype": "FP32", "shape": shape})
    return {
        "name": card.name,
        "versions": [version],
        "platform": "python",
        "inputs": [{"name": INPUT, "datatype": "FP32", "shape": [-1, len(card.features)]}],
        "outputs": outputs,
    }


def find_rows(
    given: tensors.InferenceRequest, parts: Sequence[bytes | None], features: int, max_rows: int
) -> NDArray[np.float32]:
    """The one input as float32 of shape (rows, features); raises BadRequest where it is not."""
    (tensor, part), *others = zip(given.inputs, parts, strict=True)
    if others or tensor.name != INPUT:
        raise BadRequest(f"the model has one input, {INPUT}")
    if len(tensor.shape) != 2 or tensor.shape[1] != features:
        raise BadRequest(f"{INPUT}: shape {tensor.shape} is not [rows, {features}]")
    if tensor.shape[0] > max_rows:
        raise BadRequest(f"{INPUT}: {too_many_rows(max_rows)}")
    if tensor.shape[0] < 1:
        raise BadRequest(f"{INPUT}: 0 rows: send between 1 and {max_rows}")
    values = tensors.to_array(tensor, part)
    if not (np.abs(values, dtype=np.float64) <= FLOAT32_MAX).all():
        raise BadRequest(f"{INPUT}: a value is not a number that FP32 can hold")
    return values.astype(np.float32)


def to_outputs(prediction: Prediction, card: ModelCard) -> dict[str, NDArray[np.generic]]:
    """The outputs by name: classes as str, for BYTES; numbers as float64."""
    dtype = object if card.classes else np.float64
    outputs: dict[str, NDArray[np.generic]] = {
        "predictions": np.array(prediction.values, dtype=dtype)
    }
    if prediction.probabilities is not None:
        outputs["probabilities"] = prediction.probabilities.astype(np.float32)
    return outputs


def json_length(asked: Asked) -> int:
    """The number of bytes of JSON, which the client says where those of tensors come after it."""
    text = asked.header(JSON_LENGTH)
    if not text:
        return len(asked.body)
    if not (text.isascii() and text.isdecimal()) or len(text) > 18:
        raise BadRequest(f"{JSON_LENGTH} is {text}, not a number of bytes")
    return int(text)
