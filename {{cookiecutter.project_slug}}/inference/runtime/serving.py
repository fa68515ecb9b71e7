"""How the model is best served: what training measured, beside the model file."""

from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta


class Serving(msgspec.Struct, frozen=True):
    """Whether requests wait in a queue, for one thread that predicts their rows together.

    ``inline_rows`` is the largest number of rows that the model answers within a millisecond: so many
    may be answered on the event loop. 0 where that was not measured: never there. ``worker_mib`` is the memory
    that a worker takes, in MiB, 0 where that was not measured.
    """

    queue: bool = False
    inline_rows: Annotated[int, Meta(ge=0)] = 0
    worker_mib: Annotated[int, Meta(ge=0)] = 0


def path_of(model_path: Path) -> Path:
    """Where it is kept for a model file."""
    return model_path.with_name("serving.json")


def read(model_path: Path) -> Serving:
    """What was measured, or the default where nothing was."""
    try:
        return msgspec.json.decode(path_of(model_path).read_bytes(), type=Serving)
    except (OSError, msgspec.DecodeError):
        return Serving()
