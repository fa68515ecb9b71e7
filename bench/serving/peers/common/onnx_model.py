"""The model in ONNX Runtime, as the peers load it."""

import os
from pathlib import Path

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray


class OnnxModel:
    """Predict rows with ``model.onnx`` from the folder MODEL, in THREADS threads (default 1)."""

    def __init__(self) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = int(os.environ.get("THREADS", "1"))
        options.inter_op_num_threads = 1
        self._session = ort.InferenceSession(
            Path(os.environ["MODEL"]) / "model.onnx", options, providers=["CPUExecutionProvider"]
        )

    def run(self, rows: NDArray[np.float32]) -> tuple[NDArray[np.object_], NDArray[np.float32]]:
        """Return class names of shape (rows,) and probabilities of shape (rows, classes)."""
        return self._session.run(["label", "probabilities"], {"X": rows})

    def predict(self, rows: NDArray[np.float32]) -> dict[str, list[str] | list[list[float]]]:
        """Return the same, ready to be encoded."""
        labels, probabilities = self.run(rows)
        return {"predictions": labels.tolist(), "probabilities": probabilities.tolist()}
