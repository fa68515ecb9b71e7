"""The routes of the native API, the SageMaker API, and the web page."""

from functools import cache

import msgspec
from flask import Blueprint, Response, current_app, render_template, request
from werkzeug.datastructures import MIMEAccept
from werkzeug.exceptions import UnsupportedMediaType
from werkzeug.http import parse_accept_header

from inference.formats import csv
from inference.formats.answers import answer
from inference.formats.instances import InstancesDecoder
from inference.http.body import read_body
from inference.http.context import current
from inference.http.service import Asked, Door, Encode, Reply, Service
from inference.runtime.signature import Inputs, ModelCard, Predictions, class_names, to_label

JSON = "application/json"
CSV = "text/csv"
JSON_LENGTH = "Inference-Header-Content-Length"

to_json = msgspec.json.Encoder().encode


def make_doors(card: ModelCard, decoder: InstancesDecoder) -> dict[str, Door]:
    """Create the doors of the native API and of a SageMaker endpoint."""
    classes = [class_names(output) for output in card.outputs]
    cells = cache(lambda: csv.Cells(card))

    def encode_json(predictions: Predictions) -> Reply:
        return Reply(to_json(answer(card, classes, predictions)), JSON)

    def encode_csv(predictions: Predictions) -> Reply:
        return Reply(csv.encode(predictions, card), f"{CSV}; charset=utf-8")

    def predict(asked: Asked) -> tuple[Inputs, Encode]:
        if mimetype(asked) != JSON:
            raise UnsupportedMediaType(f"Send the instances as {JSON}.")
        return decoder.decode(asked.body), encode_json

    def invocations(asked: Asked) -> tuple[Inputs, Encode]:
        kind = mimetype(asked)
        if kind == JSON:
            inputs = decoder.decode(asked.body)
        elif kind == CSV:
            inputs = cells().decode(asked.body, decoder.max_rows)
        else:
            raise UnsupportedMediaType(f"Send the instances as {JSON} or {CSV}.")
        return inputs, encode_csv if wants_csv(asked.header("Accept")) else encode_json

    return {"/predict": predict, "/invocations": invocations}


def create_blueprint(card: ModelCard, doors: dict[str, Door], version: str) -> Blueprint:
    """Create the routes for the model whose file has ``version``."""
    blueprint = Blueprint("inference", __name__)

    @blueprint.post("/predict")
    def predict() -> Response:
        """Predict each of the instances."""
        return respond(doors["/predict"])

    @blueprint.post("/invocations")
    def invocations() -> Response:
        """Predict like a SageMaker endpoint: JSON or CSV in, JSON or CSV out."""
        return respond(doors["/invocations"])

    @blueprint.get("/ping")
    def ping() -> Response:
        """Report that the service is up and its model answers."""
        return Response(status=200)

    @blueprint.get("/")
    def page() -> str:
        """Show the web page: a form generated from the model's signature."""
        service = current_service()
        return render_template(
            "run_ml_model_inference.html",
            card=card,
            version=version,
            needs_key=service.keys.are_needed_for("/predict"),
            max_rows=service.settings.max_rows,
            takes_csv=csv.holds(card),
            accent=service.settings.page_accent,
            readable=readable,
            to_label=to_label,
            class_names=class_names,
        )

    return blueprint


def readable(number: float) -> str:
    """Format a number for display: four digits, or all digits before the decimal point."""
    return f"{number:,.0f}" if 1000 <= abs(number) < 1e15 else f"{number:.4g}"


def current_service() -> Service:
    """Return the service of Flask's current application."""
    service: Service = current_app.extensions["service"]
    return service


def respond(door: Door) -> Response:
    """Answer Flask's current request through a door."""
    service = current_service()
    given = request.headers
    body = read_body(service.settings.max_body_bytes, request.environ)
    asked = Asked(body, lambda name, default="": given.get(name, default))
    body, content_type, headers = service.predict(current.call, door, asked)
    return Response(body, headers=[("Content-Type", content_type), *headers])


def mimetype(asked: Asked) -> str:
    """Return the media type of the body, without its parameters."""
    kind = asked.header("Content-Type")
    return kind if kind == JSON else kind.partition(";")[0].strip().lower()


def wants_csv(accept: str) -> bool:
    """Whether an Accept header prefers CSV over JSON."""
    is_any = accept in ("", "*/*")
    return not is_any and parse_accept_header(accept, MIMEAccept).best_match([JSON, CSV]) == CSV
