"""``/monitor``: what the model is asked and answers, beside what training saw."""

import msgspec
from flask import Blueprint, Response, current_app, render_template

from inference.http.api_keys import Keys
from inference.http.routes import JSON
from inference.http.service import Service
from inference.runtime.signature import ModelCard
from inference.watch.exposition import look


def create_blueprint(card: ModelCard, version: str, keys: Keys) -> Blueprint:
    """The page, and what it shows."""
    blueprint = Blueprint("monitor", __name__)

    @blueprint.get("/monitor.json")
    def data() -> Response:
        """Show how inputs and answers are distributed, and whether they have drifted from training."""
        service: Service = current_app.extensions["service"]
        return Response(msgspec.json.encode(look(service.statistics)), content_type=JSON)

    @blueprint.get("/monitor")
    def page() -> str:
        """Show that to people."""
        needs_key = keys.are_needed_for("/monitor.json")
        return render_template("monitor.html", card=card, version=version, needs_key=needs_key)

    return blueprint
