"""A typical tutorial's service: a pickled scikit-learn model behind Flask's development server."""

import pickle

from flask import Flask, jsonify, request

app = Flask(__name__)
with open("model.pkl", "rb") as file:
    model = pickle.load(file)  # noqa: S301


@app.get("/ping")
def ping():
    """Report that the service is up."""
    return "ok"


@app.post("/predict")
def predict():
    """Answer with the classes of the rows in ``instances``."""
    return jsonify(predictions=model.predict(request.get_json()["instances"]).tolist())


if __name__ == "__main__":
    app.run(host="0.0.0.0", port=5000)  # noqa: S104
