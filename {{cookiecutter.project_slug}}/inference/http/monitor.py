"""``/monitor``: the model's recent inputs and answers compared with its training data."""

import msgspec
from flask import Blueprint, Response, render_template

from inference.http.routes import JSON, current_service
from inference.monitoring.exposition import look
from inference.runtime.signature import ModelCard


def create_blueprint(card: ModelCard, version: str) -> Blueprint:
    """Create the routes of the page and its data."""
    blueprint = Blueprint("monitor", __name__)

    @blueprint.get("/monitor.json")
    def data() -> Response:
        """Show how inputs and answers are distributed, and whether they have drifted from training."""
        statistics = current_service().statistics
        return Response(msgspec.json.encode(look(statistics)), content_type=JSON)

    @blueprint.get("/monitor")
    def page() -> str:
        """Show the monitoring page."""
        needs_key = current_service().keys.are_needed_for("/monitor.json")
        return render_template("monitor.html", card=card, version=version, needs_key=needs_key)

    return blueprint
