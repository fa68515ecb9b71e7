"""How the model is best served: measured when it is trained, kept beside the model file."""

import time
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from inference.card import Predict

# A queue costs a request some tens of microseconds: batches must save the model more than that.
WORTHWHILE_SECONDS = 100e-6
# A slower model must not be asked by more clients at once than will wait for it.
SLOW_SECONDS = 1e-3
ROWS = 32


class Serving(msgspec.Struct, frozen=True):
    """Whether requests wait in a queue, for one thread that predicts their rows together."""

    queue: bool = False


def path_of(model_path: Path) -> Path:
    """Where it is kept for a model file."""
    return model_path.with_name("serving.json")


def measure(predict: Predict, row: NDArray[np.float32]) -> Serving:
    """Time ``predict`` on ``row``, of shape (features,), alone and in a batch."""
    alone = fastest(predict, row[np.newaxis])
    saved = alone - fastest(predict, np.repeat(row[np.newaxis], ROWS, axis=0)) / ROWS
    return Serving(queue=saved > WORTHWHILE_SECONDS or alone > SLOW_SECONDS)


def fastest(predict: Predict, rows: NDArray[np.float32], times: int = 20) -> float:
    """The least of the seconds that some calls took: the others were disturbed."""
    seconds = []
    for _ in range(times):
        started = time.perf_counter()
        predict(rows)
        seconds.append(time.perf_counter() - started)
    return min(seconds)


def write(model_path: Path, serving: Serving) -> None:
    """Keep it beside the model file."""
    path_of(model_path).write_bytes(msgspec.json.encode(serving) + b"\n")


def read(model_path: Path) -> Serving:
    """What was measured, or the default where nothing was."""
    try:
        return msgspec.json.decode(path_of(model_path).read_bytes(), type=Serving)
    except (OSError, msgspec.DecodeError):
        return Serving()
