"""FastAPI as its documentation shows it, with the scikit-learn model."""

import os
from pathlib import Path

import joblib
from fastapi import FastAPI
from schema import Answer, Request

app = FastAPI()
model = joblib.load(Path(os.environ["MODEL"]) / "model.joblib")


@app.post("/predict")
def predict(request: Request) -> Answer:
    """Answer with the classes and their probabilities, calling the model once."""
    probabilities = model.predict_proba(request.instances)
    predictions = model.classes_[probabilities.argmax(axis=1)]
    return Answer(predictions=predictions.tolist(), probabilities=probabilities.tolist())
