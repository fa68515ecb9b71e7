"""LitServe with ONNX Runtime; with batches if BATCH is above 1."""

import os

import litserve
import numpy as np
from onnx_model import OnnxModel


class Single(litserve.LitAPI):
    """Answer each request separately."""

    def setup(self, device):
        """Load the model, once per worker."""
        self.model = OnnxModel()

    def decode_request(self, request):
        """Return the rows of a request."""
        return np.array(request["instances"], np.float32)

    def predict(self, rows):
        """Return the answer to a request."""
        return self.model.predict(rows)


class Batching(Single):
    """Answer the rows of several requests together."""

    def batch(self, inputs):
        """Concatenate the rows of the requests; return them with the number of rows of each."""
        return np.concatenate(inputs), [len(rows) for rows in inputs]

    def predict(self, batch):
        """Return the classes and probabilities of all rows, and the number of rows of each request."""
        rows, lengths = batch
        return self.model.run(rows), lengths

    def unbatch(self, output):
        """Return the answer to each request."""
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
