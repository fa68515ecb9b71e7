"""The generated service's model and JSON behind WSGI, and nothing that protects or watches it."""

import os

from inference.app import load_engine
from inference.config import Settings
from inference.formats.instances import InstancesDecoder
from inference.http.routes import predict_json
from inference.runtime import artifact

settings = Settings.from_environment(os.environ)
engine = load_engine(artifact.read(settings.model_path), settings)
features = [feature.name for feature in engine.card.features]
decoder = InstancesDecoder(features, settings.max_rows)


def application(environ, start_response):
    """Answer the body of a POST, whatever the path."""
    body = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
    answer = predict_json(engine, decoder, body)
    start_response(
        "200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(answer)))]
    )
    return [answer]
