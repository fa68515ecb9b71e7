"""``/monitor``: the model's recent inputs and answers compared with its training data."""

import msgspec
from flask import Blueprint, Response, current_app, render_template

from inference.http.api_keys import Keys
from inference.http.routes import JSON
from inference.http.service import Service
from inference.runtime.signature import ModelCard
from inference.watch.exposition import look


def create_blueprint(card: ModelCard, version: str, keys: Keys) -> Blueprint:
    """Create the routes of the page and its data."""
    blueprint = Blueprint("monitor", __name__)

    @blueprint.get("/monitor.json")
    def data() -> Response:
        """Show how inputs and answers are distributed, and whether they have drifted from training."""
        service: Service = current_app.extensions["service"]
        return Response(msgspec.json.encode(look(service.statistics)), content_type=JSON)

    @blueprint.get("/monitor")
    def page() -> str:
        """Show the monitoring page."""
        needs_key = keys.are_needed_for("/monitor.json")
        return render_template("monitor.html", card=card, version=version, needs_key=needs_key)

    return blueprint
