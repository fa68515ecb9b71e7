"""FastAPI as its documentation shows it, with ONNX Runtime."""

import numpy as np
from fastapi import FastAPI
from onnx_model import OnnxModel
from schema import Answer, Request

app = FastAPI()
model = OnnxModel()


@app.post("/predict")
def predict(request: Request) -> Answer:
    """Answer in a thread of the pool."""
    return Answer(**model.predict(np.array(request.instances, np.float32)))


@app.post("/predict-async")
async def predict_async(request: Request) -> Answer:
    """Answer in the event loop, which blocks meanwhile."""
    return Answer(**model.predict(np.array(request.instances, np.float32)))
