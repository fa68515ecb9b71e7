"""BentoML services with ONNX Runtime: one that answers each request separately, one with batches."""

import os
from typing import Annotated, Any

import bentoml
import numpy as np
from bentoml.validators import DType
from onnx_model import OnnxModel

Rows = Annotated[np.ndarray, DType("float32")]
# Its metrics and access log are on by default.
OPTIONS: dict[str, Any] = {
    "workers": int(os.environ["WORKERS"]),
    "metrics": {"enabled": False},
    "logging": {"access": {"enabled": False}},
}


@bentoml.service(**OPTIONS)
class Single:
    """Answer each request separately."""

    def __init__(self) -> None:
        self.model = OnnxModel()

    @bentoml.api(route="/predict")
    def predict(self, instances: Rows) -> dict[str, Any]:
        """Answer in a thread of the pool."""
        return self.model.predict(instances)

    @bentoml.api(route="/predict-async")
    async def predict_async(self, instances: Rows) -> dict[str, Any]:
        """Answer in the event loop, which blocks meanwhile."""
        return self.model.predict(instances)


@bentoml.service(**OPTIONS)
class Batching:
    """Answer the rows of several requests together."""

    def __init__(self) -> None:
        self.model = OnnxModel()

    @bentoml.api(batchable=True, max_batch_size=64, route="/predict")
    def predict(self, instances: Rows) -> list[dict[str, Any]]:
        """Answer in a thread of the pool; return one item per row, so that BentoML can split the batch."""
        labels, probabilities = self.model.run(instances)
        return [
            {"prediction": label, "probabilities": row}
            for label, row in zip(labels.tolist(), probabilities.tolist(), strict=True)
        ]
