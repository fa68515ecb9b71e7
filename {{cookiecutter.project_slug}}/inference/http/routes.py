"""The routes of the service's own API, SageMaker's, and the page for people."""

from collections.abc import Callable

import msgspec
import numpy as np
from flask import Blueprint, Response, render_template, request
from numpy.typing import NDArray
from werkzeug.exceptions import UnsupportedMediaType

from inference.formats import csv
from inference.formats.instances import InstancesDecoder
from inference.http.api_keys import Keys
from inference.http.body import Reader
from inference.http.context import current
from inference.runtime.engine import Engine
from inference.runtime.signature import ModelCard, Prediction

JSON = "application/json"
CSV = "text/csv"

to_json = msgspec.json.Encoder().encode


class Answer(msgspec.Struct, omit_defaults=True):
    """A prediction for each instance; probabilities by class where the model gives them."""

    predictions: list[str | float]
    probabilities: list[dict[str, float]] = []


def create_blueprint(
    engine: Engine, decoder: InstancesDecoder, read: Reader, version: str, keys: Keys
) -> Blueprint:
    """The routes that answer for the model of ``engine``, whose file has ``version``."""
    card = engine.card
    blueprint = Blueprint("inference", __name__)

    @blueprint.post("/predict")
    def predict() -> Response:
        """Predict for each of the instances."""
        if request.mimetype != JSON:
            raise UnsupportedMediaType(f"Send the instances as {JSON}.")
        return Response(predict_json(engine, decoder, read(request.environ)), content_type=JSON)

    @blueprint.post("/invocations")
    def invocations() -> Response:
        """Predict as a SageMaker endpoint does: JSON or CSV in, JSON or CSV out."""
        decoders: dict[str, Callable[[bytes], NDArray[np.float32]]] = {
            JSON: decoder.decode,
            CSV: lambda body: csv.decode(body, decoder.features, decoder.max_rows),
        }
        if request.mimetype not in decoders:
            raise UnsupportedMediaType(f"Send the instances as {' or '.join(decoders)}.")
        prediction = engine.predict(decoders[request.mimetype](read(request.environ)))
        current.call.record(prediction)
        if request.accept_mimetypes.best_match([JSON, CSV]) == CSV:
            return Response(csv.encode(prediction, card), content_type=f"{CSV}; charset=utf-8")
        return Response(to_json(answer(prediction, card)), content_type=JSON)

    @blueprint.get("/ping")
    def ping() -> Response:
        """Say that the service is up and its model answers."""
        return Response(status=200)

    @blueprint.get("/")
    def page() -> str:
        """The page for people: a form made from the model's signature."""
        return render_template(
            "run_ml_model_inference.html",
            card=card,
            version=version,
            needs_key=keys.are_needed_for("/predict"),
            max_rows=decoder.max_rows,
        )

    return blueprint


def predict_json(engine: Engine, decoder: InstancesDecoder, body: bytes) -> bytes:
    """Answer the JSON of some instances with the JSON of their predictions."""
    prediction = engine.predict(decoder.decode(body))
    current.call.record(prediction)
    return to_json(answer(prediction, engine.card))


def answer(prediction: Prediction, card: ModelCard) -> Answer:
    """The prediction with its probabilities by class."""
    result = Answer(list(prediction.values))
    if prediction.probabilities is not None:
        result.probabilities = [
            dict(zip(card.classes, row, strict=True)) for row in prediction.probabilities.tolist()
        ]
    return result
