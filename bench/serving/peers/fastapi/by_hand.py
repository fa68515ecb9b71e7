"""FastAPI at its most minimal: no pydantic, no dependencies, msgspec for the JSON."""

import msgspec
import numpy as np
from fastapi import FastAPI, Request, Response
from onnx_model import OnnxModel


class Instances(msgspec.Struct):
    """Rows of numbers."""

    instances: list[list[float]]


app = FastAPI(openapi_url=None)
model = OnnxModel()
decode = msgspec.json.Decoder(Instances).decode
encode = msgspec.json.Encoder().encode


async def predict(request: Request) -> Response:
    """Answer in the event loop, which blocks meanwhile."""
    rows = np.array(decode(await request.body()).instances, np.float32)
    return Response(encode(model.predict(rows)), media_type="application/json")


app.add_route("/predict", predict, methods=["POST"])
