"""FastAPI as its documentation shows it, with ONNX Runtime and a field for each column of a table."""

import os
from pathlib import Path

import numpy as np
import onnxruntime as ort
from fastapi import FastAPI
from pydantic import BaseModel


class Customer(BaseModel):
    """A row."""

    city: str
    plan: str
    device: str
    age: float
    income: float
    visits: float
    distance: float


class Request(BaseModel):
    """Rows."""

    instances: list[Customer]


class Answer(BaseModel):
    """The class of each row, and its probabilities in the order of the classes."""

    predictions: list[str]
    probabilities: list[list[float]]


app = FastAPI()
options = ort.SessionOptions()
options.intra_op_num_threads = options.inter_op_num_threads = 1
session = ort.InferenceSession(
    Path(os.environ["MODEL"]) / "project" / "model.onnx",
    options,
    providers=["CPUExecutionProvider"],
)
DTYPES = {"tensor(string)": object, "tensor(float)": np.float32}


@app.post("/predict")
async def predict(request: Request) -> Answer:
    """Answer in the event loop, which blocks meanwhile."""
    feeds = {
        column.name: np.array(
            [[getattr(row, column.name)] for row in request.instances], DTYPES[column.type]
        )
        for column in session.get_inputs()
    }
    values, probabilities = session.run(["values", "probabilities"], feeds)
    return Answer(predictions=values.ravel().tolist(), probabilities=probabilities.tolist())
