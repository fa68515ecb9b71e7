"""The model file and its checksum: FILE and FILE.sha256, as ``sha256sum`` writes it."""

import hashlib
import os
from pathlib import Path
from typing import NamedTuple

from inference.errors import StartupError

REMEDY = "run `make train`"


class Artifact(NamedTuple):
    """A model file whose checksum was verified."""

    path: Path
    content: bytes
    digest: str

    @property
    def version(self) -> str:
        """The first 12 hex digits of the SHA-256: the version that responses carry."""
        return self.digest[:12]


def checksum_path(path: Path) -> Path:
    """Where the checksum of the model file ``path`` stands."""
    return path.with_name(path.name + ".sha256")


def read(path: str | os.PathLike[str]) -> Artifact:
    """Read a model file and verify its SHA-256.

    Raises StartupError when either file is missing or unreadable, or when they disagree.
    """
    path = Path(path)
    try:
        content = path.read_bytes()
        expected = checksum_path(path).read_text("ascii").split(maxsplit=1)[0]
    except (OSError, ValueError, IndexError) as error:
        file = getattr(error, "filename", None) or checksum_path(path)
        reason = getattr(error, "strerror", None) or "not a checksum file"
        raise StartupError(f"Could not read the model: {file}: {reason}; {REMEDY}") from error
    digest = hashlib.sha256(content).hexdigest()
    if digest != expected:
        raise StartupError(
            f"{path} is not the file that {checksum_path(path).name} names; {REMEDY}"
        )
    return Artifact(path, content, digest)
