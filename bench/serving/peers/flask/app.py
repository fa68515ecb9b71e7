"""A typical tutorial's service: a pickled scikit-learn model behind Flask."""

import os
from pathlib import Path

import joblib
from flask import Flask, jsonify, request

app = Flask(__name__)
model = joblib.load(Path(os.environ["MODEL"]) / "model.joblib")


@app.post("/predict")
def predict():
    """Answer with the classes of the rows in ``instances``."""
    return jsonify(predictions=model.predict(request.get_json()["instances"]).tolist())


if __name__ == "__main__":
    app.run(port=int(os.environ["PORT"]))
