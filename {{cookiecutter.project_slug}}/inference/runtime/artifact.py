"""The model file and its checksum: FILE and FILE.sha256, as ``sha256sum`` writes it."""

import hashlib
import os
from pathlib import Path
from typing import NamedTuple

from inference.errors import StartupError

# `make train` would write over a file that is there, and that may be somebody's only copy.
REMEDY = "train or export it again"
LFS_POINTER = b"version https://git-lfs"


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
    checksum = checksum_path(path)
    try:
        content = path.read_bytes()
        expected = checksum.read_text("ascii").split(maxsplit=1)[0].lower()
    except FileNotFoundError as error:
        remedy = f"write it with `sha256sum {path.name} >{checksum.name}` where the model is right"
        if error.filename == str(path):
            remedy = "run `make train`, or set MODEL_PATH"
        raise StartupError(
            f"Could not read the model: {error.filename}: {error.strerror}; {remedy}"
        ) from error
    except OSError as error:
        raise StartupError(
            f"Could not read the model: {error.filename}: {error.strerror}"
        ) from error
    except (ValueError, IndexError) as error:
        raise StartupError(f"Could not read the model: {checksum}: not a checksum file") from error
    digest = hashlib.sha256(content).hexdigest()
    if content.startswith(LFS_POINTER):
        raise StartupError(f"{path} is a pointer of Git LFS, not the model; run `git lfs pull`")
    if digest != expected:
        raise StartupError(
            f"{path} is not the file that {checksum.name} names: it was changed, or copied without "
            "its checksum; put the two back that belong together"
        )
    return Artifact(path, content, digest)
