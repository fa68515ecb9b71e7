"""Print a request and this model's answer to it, a line each: what a deployed service must give."""

import msgspec

from inference.app import create_app

if __name__ == "__main__":
    app = create_app()
    card = app.extensions["card"]
    request = msgspec.json.encode({"instances": [[feature.example for feature in card.features]]})
    response = app.test_client().post("/predict", data=request, content_type="application/json")
    print(request.decode())
    print(response.text)
