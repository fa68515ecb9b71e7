"""The Flask application, put together."""

import os

from flask import Flask

from inference import admission, artifact, docs, logs, problems, protocol, security, views
from inference.artifact import Artifact
from inference.config import Settings
from inference.engine import Engine
from inference.errors import StartupError
from inference.instances import InstancesDecoder
from inference.metrics import Metrics
from inference.predictor import Predictor


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
    app.config["MAX_CONTENT_LENGTH"] = settings.max_body_bytes
    logs.register(app)
    metrics = Metrics(card, model.version)
    metrics.register(app)
    engine.predict = metrics.watch(engine.predict)
    problems.register(app)
    admission.register(app, settings.max_concurrent)
    security.register(app, settings.api_keys)
    needs_key = bool(settings.api_keys)
    app.register_blueprint(views.create_blueprint(engine, decoder, model.version, needs_key))
    app.register_blueprint(protocol.create_blueprint(engine, model.version, settings.max_rows))
    app.register_blueprint(docs.create_blueprint(card, decoder, model.version, needs_key))
    return app


def load_engine(model: Artifact, settings: Settings) -> Engine:
    """Load a verified model file and let it answer its own example.

    Raises StartupError when the predictor cannot make sense of the file, or does not answer.
    """
    try:
        predictor = Predictor.load(model.content)
        return Engine(predictor, settings.uses_queue(), settings.request_seconds)
    except Exception as error:
        reason = " ".join(str(error).split())
        raise StartupError(f"Could not load {model.path}: {reason}; {artifact.REMEDY}") from error
