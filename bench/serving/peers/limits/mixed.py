"""The minimum for a row of a mixed table: decode JSON, run the model, and encode its answer, on an event loop."""

import os
from pathlib import Path

import msgspec
import numpy as np
import onnxruntime as ort
from hello import Hello, run

DTYPES = {"tensor(string)": object, "tensor(float)": np.float32}
KINDS = {"tensor(string)": str, "tensor(float)": float}
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"

options = ort.SessionOptions()
options.intra_op_num_threads = options.inter_op_num_threads = 1
session = ort.InferenceSession(
    Path(os.environ["MODEL"]) / "project" / "model.onnx",
    options,
    providers=["CPUExecutionProvider"],
)
columns = [(column.name, DTYPES[column.type]) for column in session.get_inputs()]
row = msgspec.defstruct("Row", [(each.name, KINDS[each.type]) for each in session.get_inputs()])
request = msgspec.defstruct("Request", [("instances", list[row])])
decode = msgspec.json.Decoder(request).decode
encode = msgspec.json.Encoder().encode


class Minimum(Hello):
    """Answer each request, whatever its path, without checks of anything but types."""

    def on_body(self, body):
        """Keep the body, which is shorter than a packet."""
        self.body = body

    def on_message_complete(self):
        """Answer a request once the parser has all of it."""
        rows = decode(self.body).instances
        feeds = {
            name: np.array([[getattr(row, name)] for row in rows], dtype) for name, dtype in columns
        }
        values, probabilities = session.run(["values", "probabilities"], feeds)
        answer = {
            "predictions": values.ravel().tolist(),
            "probabilities": probabilities.tolist(),
        }
        body = encode(answer)
        self.transport.write(HEAD % (len(body), body))


if __name__ == "__main__":
    run(Minimum)
