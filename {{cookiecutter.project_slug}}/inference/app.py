"""The Flask application, put together."""

import functools
import os

from flask import Flask

from inference.config import Settings
from inference.errors import StartupError
from inference.formats.instances import InstancesDecoder
from inference.http import openapi, problems, protocol, routes
from inference.http.api_keys import HEADERS, Keys
from inference.http.body import read_body
from inference.http.middleware import Front, note_route
from inference.predictor import Predictor
from inference.runtime import artifact
from inference.runtime.artifact import Artifact
from inference.runtime.engine import Engine
from inference.watch.logs import AccessLog
from inference.watch.metrics import Metrics


def create_app(settings: Settings | None = None) -> Flask:
    """Build the service; without ``settings`` they come from the environment.

    Raises StartupError when a setting is wrong, or the model cannot be loaded or does not answer.
    """
    settings = settings or Settings.from_environment(os.environ)
    model = artifact.read(settings.model_path)
    engine = load_engine(model, settings)
    card = engine.card
    decoder = InstancesDecoder([feature.name for feature in card.features], settings.max_rows)

    app = Flask(__name__)
    app.extensions["card"] = card
    problems.register(app)
    read = functools.partial(read_body, settings.max_body_bytes)
    keys = Keys(settings.api_keys, card.name, model.version)
    app.register_blueprint(routes.create_blueprint(engine, decoder, read, model.version, keys))
    app.register_blueprint(
        protocol.create_blueprint(engine, read, model.version, settings.max_rows)
    )
    app.register_blueprint(openapi.create_blueprint(card, decoder, model.version, keys))
    metrics = Metrics(app, card, model.version)
    shortcuts = {"/predict": functools.partial(routes.predict_json, engine, decoder)}
    headers = [*HEADERS.items(), ("X-Model-Name", card.name), ("X-Model-Version", model.version)]
    log = AccessLog(metrics.is_busy)
    places = [None] * settings.max_concurrent
    app.before_request(note_route)
    front = Front(app.wsgi_app, read, shortcuts, metrics, keys, headers, places, log)
    app.wsgi_app = front  # type: ignore[method-assign]
    return app


def load_engine(model: Artifact, settings: Settings) -> Engine:
    """Load a verified model file and hold it to its contract (``Engine``).

    Raises StartupError when the predictor cannot make sense of the file, or its answer to its own example does
    not fit its card.
    """
    try:
        predictor = Predictor.load(model.content)
        return Engine(predictor, settings.uses_queue(), settings.request_seconds)
    except Exception as error:
        # An HTTP error says its status in str().
        reason = " ".join(str(getattr(error, "description", error)).split())
        raise StartupError(f"Could not load {model.path}: {reason}; {artifact.REMEDY}") from error
