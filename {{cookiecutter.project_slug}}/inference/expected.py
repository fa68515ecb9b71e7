"""Print what a deployed service should return, as lines of JSON except for the third and fourth.

The lines are a request and this model's answer, its version, its metrics, and a request with many instances and its
answer.
"""

import os

import msgspec

from inference.app import create_app
from inference.config import Settings

if __name__ == "__main__":
    # Only clients of the deployed service need a key.
    settings = Settings.from_environment({**os.environ, "API_KEY": ""})
    app = create_app(settings)
    card = app.extensions["service"].engine.card
    sample = card.sample or [example.instance for example in card.examples] or [card.example]
    sample = sample[: settings.max_rows]
    requests = [msgspec.json.encode({"instances": each}) for each in ([card.example], sample)]
    client = app.test_client()
    responses = [
        client.post("/predict", data=request, content_type="application/json")
        for request in requests
    ]
    print(requests[0].decode())
    print(responses[0].text)
    print(responses[0].headers["X-Model-Version"])
    print(*(f"{name}={value:.4g}" for name, value in card.metrics.items()))
    print(requests[1].decode())
    print(responses[1].text)
