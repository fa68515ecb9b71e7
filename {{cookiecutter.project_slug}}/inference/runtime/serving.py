"""How to serve the model best, as measured in training and stored beside the model file."""

from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta


class Serving(msgspec.Struct, frozen=True):
    """Measurements of a model.

    ``queue`` says whether requests wait in a queue for one thread, which predicts their rows together.
    ``inline_rows`` is the largest number of rows that the model answers within a millisecond, and so
    on the event loop; 0, if not measured, means never there. ``worker_mib`` is the memory
    that a worker takes, in MiB, or 0 if not measured.
    """

    queue: bool = False
    inline_rows: Annotated[int, Meta(ge=0)] = 0
    worker_mib: Annotated[int, Meta(ge=0)] = 0


def path_of(model_path: Path) -> Path:
    """Return the path of the measurements for a model file."""
    return model_path.with_name("serving.json")


def read(model_path: Path) -> Serving:
    """Read the measurements, or return the defaults if there are none."""
    try:
        return msgspec.json.decode(path_of(model_path).read_bytes(), type=Serving)
    except (OSError, msgspec.DecodeError):
        return Serving()
