"""Print a request, this model's answer, its version and its metrics, a line each: what a deployed service should give."""

import os

import msgspec

from inference.app import create_app
from inference.config import Settings

if __name__ == "__main__":
    # A key is for those who ask the deployed service.
    app = create_app(Settings.from_environment({**os.environ, "API_KEY": ""}))
    card = app.extensions["service"].engine.card
    request = msgspec.json.encode({"instances": [card.example]})
    response = app.test_client().post("/predict", data=request, content_type="application/json")
    print(request.decode())
    print(response.text)
    print(response.headers["X-Model-Version"])
    print(*(f"{name}={value:.4g}" for name, value in card.metrics.items()))
