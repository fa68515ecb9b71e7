"""The Flask application, put together."""

import os

from flask import Flask

from inference import artifact, logs, problems
from inference.artifact import Artifact
from inference.config import Settings
from inference.errors import StartupError
from inference.predictor import Predictor
from inference.views import create_blueprint


def create_app(settings: Settings | None = None) -> Flask:
    """Build the service; without ``settings`` they come from the environment.

    Raises StartupError when a setting is wrong or the model cannot be loaded.
    """
    settings = settings or Settings.from_environment(os.environ)
    model = artifact.read(settings.model_path)
    predictor = load_predictor(model)

    app = Flask(__name__)
    app.extensions["card"] = predictor.card
    app.config["MAX_CONTENT_LENGTH"] = settings.max_body_bytes
    logs.register(app)
    problems.register(app)
    app.register_blueprint(create_blueprint(predictor, model.version, settings.max_rows))
    return app


def load_predictor(model: Artifact) -> Predictor:
    """Make the predictor of a verified model file.

    Raises StartupError when the predictor cannot make sense of the file.
    """
    try:
        return Predictor.load(model.content)
    except Exception as error:
        reason = " ".join(str(error).split())
        raise StartupError(f"Could not load {model.path}: {reason}; {artifact.REMEDY}") from error
