"""The routes of the service."""

import msgspec
from flask import Blueprint, Response, g, render_template, request
from werkzeug.exceptions import RequestEntityTooLarge, UnsupportedMediaType

from inference.instances import InstancesDecoder
from inference.predictor import Predictor

CONTENT_SECURITY_POLICY = (
    "default-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'"
)


def create_blueprint(predictor: Predictor, version: str, max_rows: int) -> Blueprint:
    """The routes that answer for ``predictor``, whose model file has ``version``."""
    card = predictor.card
    blueprint = Blueprint("inference", __name__)
    decoder = InstancesDecoder([feature.name for feature in card.features], max_rows)
    encoder = msgspec.json.Encoder()

    @blueprint.post("/predict")
    def predict() -> Response:
        """Predict for each of the instances in the body."""
        if request.mimetype != "application/json":
            raise UnsupportedMediaType("Send the instances as application/json.")
        rows = decoder.decode(read_body())
        g.rows = len(rows)
        prediction = predictor.predict(rows)
        answer: dict[str, object] = {"predictions": prediction.values}
        if prediction.probabilities is not None:
            answer["probabilities"] = [
                dict(zip(card.classes, row, strict=True))
                for row in prediction.probabilities.tolist()
            ]
        return Response(encoder.encode(answer), content_type="application/json")

    @blueprint.get("/ping")
    def ping() -> Response:
        """Say that the service is up and its model loaded."""
        return Response(status=200)

    @blueprint.get("/")
    def page() -> str:
        """The page for people: a form made from the model's signature."""
        return render_template("run_ml_model_inference.html", card=card, version=version)

    @blueprint.after_app_request
    def identify_model(response: Response) -> Response:
        response.headers["X-Model-Name"] = card.name
        response.headers["X-Model-Version"] = version
        return response

    @blueprint.after_app_request
    def protect(response: Response) -> Response:
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["Content-Security-Policy"] = CONTENT_SECURITY_POLICY
        return response

    return blueprint


def read_body() -> bytes:
    """Return the request's body.

    Raises RequestEntityTooLarge, also where the client did not say how long the body is: Flask
    would cut that one off at the limit.
    """
    body = request.get_data(cache=False)
    if request.content_length is None and len(body) == request.max_content_length:
        raise RequestEntityTooLarge
    return body
