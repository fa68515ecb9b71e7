"""LitServe with ONNX Runtime; with batches where BATCH is above 1."""

import os

import litserve
import numpy as np
from onnx_model import OnnxModel


class Single(litserve.LitAPI):
    """Answers each request by itself."""

    def setup(self, device):
        """Load the model, once a worker."""
        self.model = OnnxModel()

    def decode_request(self, request):
        """The rows of a request."""
        return np.array(request["instances"], np.float32)

    def predict(self, rows):
        """The answer to a request."""
        return self.model.predict(rows)


class Batching(Single):
    """Answers the rows of several requests together."""

    def batch(self, inputs):
        """The requests' rows one after the other, and how many rows each has."""
        return np.concatenate(inputs), [len(rows) for rows in inputs]

    def predict(self, batch):
        """The classes and probabilities of all rows, and how many rows each request has."""
        rows, lengths = batch
        return self.model.run(rows), lengths

    def unbatch(self, output):
        """The answer to each request."""
        (labels, probabilities), lengths = output
        ends = np.cumsum(lengths)
        return [
            {
                "predictions": labels[end - length : end].tolist(),
                "probabilities": probabilities[end - length : end].tolist(),
            }
            for length, end in zip(lengths, ends, strict=True)
        ]


if __name__ == "__main__":
    batch = int(os.environ.get("BATCH", "1"))
    if batch > 1:
        timeout = float(os.environ["BATCH_SECONDS"])
        api = Batching(max_batch_size=batch, batch_timeout=timeout)
    else:
        api = Single()
    workers = int(os.environ["WORKERS"])
    server = litserve.LitServer(
        api,
        accelerator="cpu",
        workers_per_device=workers,
        fast_queue=os.environ.get("FAST_QUEUE") == "1",
    )
    server.run(
        host="127.0.0.1",
        port=int(os.environ["PORT"]),
        num_api_servers=workers,
        log_level="warning",
        generate_client_file=False,
        access_log=False,
    )
