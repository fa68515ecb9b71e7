"""How the model is best served: what training measured, beside the model file."""

from pathlib import Path

import msgspec


class Serving(msgspec.Struct, frozen=True):
    """Whether requests wait in a queue, for one thread that predicts their rows together."""

    queue: bool = False
    inline_rows: int = 0


def path_of(model_path: Path) -> Path:
    """Where it is kept for a model file."""
    return model_path.with_name("serving.json")


def read(model_path: Path) -> Serving:
    """What was measured, or the default where nothing was."""
    try:
        return msgspec.json.decode(path_of(model_path).read_bytes(), type=Serving)
    except (OSError, msgspec.DecodeError):
        return Serving()
