"""The model, a file or a folder of files, and its checksum: NAME.sha256, in the format of ``sha256sum``."""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from inference.errors import StartupError

# Not `make train`: it would overwrite the existing file, which may be the user's only copy.
REMEDY = "train or export it again"
LFS_POINTER = b"version https://git-lfs"


class Artifact(NamedTuple):
    """A model with a verified checksum; ``content`` is the bytes of its file, or the path of its folder."""

    path: Path
    content: Any
    digest: str

    @property
    def version(self) -> str:
        """The first 12 hex digits of the SHA-256, sent as the model version in responses."""
        return self.digest[:12]

    @property
    def size(self) -> int:
        """The total size of all files in bytes."""
        if isinstance(self.content, bytes):
            return len(self.content)
        return sum(file.stat().st_size for file in files_of(self.content).values())


def checksum_path(path: Path) -> Path:
    """Return the path of the checksum file for the model at ``path``."""
    return path.with_name(path.name + ".sha256")


def files_of(folder: Path) -> dict[str, Path]:
    """Return all files below a folder, sorted, by their paths relative to its parent."""
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    return {file.relative_to(folder.parent).as_posix(): file for file in files}


def digests_of(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of each file in a folder, without loading whole files into memory."""
    digests = {}
    for name, path in files_of(folder).items():
        with path.open("rb") as file:
            digests[name] = hashlib.file_digest(file, "sha256").hexdigest()
    return digests


def list_checksums(digests: Mapping[str, str]) -> bytes:
    """Format digests by name as a checksum file."""
    return "".join(f"{digest}  {name}\n" for name, digest in digests.items()).encode()


def read(path: str | os.PathLike[str]) -> Artifact:
    """Read a model and verify the SHA-256 of each of its files.

    The digest of a folder is that of the list of its files and their digests. Raises StartupError if a file is missing,
    unreadable, or does not match its checksum.
    """
    path = Path(path)
    checksum = checksum_path(path)
    content: Any
    try:
        if path.is_dir():
            content, files = path, [*files_of(path).values()]
            digests = digests_of(path)
        else:
            content, files = path.read_bytes(), [path]
            digests = {path.name: hashlib.sha256(content).hexdigest()}
        pointers = [file for file in files if is_pointer(file)]
        expected = parse_checksums(checksum.read_text("utf-8"), path.name)
    except FileNotFoundError as error:
        remedy = f"write it with `sha256sum {path.name} >{checksum.name}` if the model is right"
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
    if pointers:
        raise StartupError(
            f"{pointers[0]} is a Git LFS pointer, not the model itself; run `git lfs pull`"
        )
    wrong = digests.items() ^ expected.items()
    if wrong:
        name, _ = min(wrong)
        raise StartupError(
            f"{path.parent / name} is not the file that {checksum.name} names: it was changed, added or removed, or "
            "copied without its checksum; restore the matching pair"
        )
    return Artifact(path, content, digest_of(digests))


def is_pointer(path: Path) -> bool:
    """Whether the file is only a Git LFS pointer."""
    with path.open("rb") as file:
        return file.read(len(LFS_POINTER)) == LFS_POINTER


def digest_of(digests: Mapping[str, str]) -> str:
    """Return the digest of a model: that of its file, or of the list of files in its folder, whatever its name."""
    (name, digest), *more = digests.items()
    if not more and "/" not in name:
        return digest
    inside = {name.partition("/")[2]: digest for name, digest in digests.items()}
    return hashlib.sha256(list_checksums(inside)).hexdigest()


def parse_checksums(text: str, only: str) -> dict[str, str]:
    """Parse a checksum file into digests by name. A single line is that of the model, whatever name it has.

    Raises ValueError if a line has no digest, and IndexError if there are no lines.
    """
    lines = [line.split(maxsplit=1) for line in text.splitlines() if line.strip()]
    if len(lines) == 1 and "/" not in lines[0][-1]:
        return {only: lines[0][0].lower()}
    if not lines:
        raise IndexError("no line")
    return {name.lstrip("*"): digest.lower() for digest, name in lines}
