"""The files of a job: one file, those of a folder, or the share of one of several concurrent jobs."""

from pathlib import Path
from typing import NamedTuple

from inference.batch.files import is_remote, list_files, suffix_of
from inference.batch.source import SOURCES
from inference.batch.target import ERRORS
from inference.errors import StartupError

# Hidden files, and marker files of other programs, like Spark's _SUCCESS.
HIDDEN = (".", "_")


class Part(NamedTuple):
    """A file to score, or one of the ``pieces`` of its rows, counted from 0."""

    source: str
    target: str
    piece: int = 0
    pieces: int = 1


def is_folder(place: str) -> bool:
    """Whether a place is a folder."""
    return place.endswith("/") or (not is_remote(place) and Path(place).is_dir())


def plan(source: str, target: str, index: int = 0, jobs: int = 1) -> list[Part]:
    """Return the share of job ``index``, from 0, of ``jobs``: every ``jobs``-th file of a folder, or rows of one file.

    Raises StartupError if ``source`` and ``target`` do not go together, or if ``source`` cannot be divided.
    """
    if is_folder(source):
        if not is_folder(target):
            raise StartupError(f"OUT={target} must be a folder, like IN: end it with /")
        source, target = (place.rstrip("/") + "/" for place in (source, target))
        if is_below(source, target) or is_below(target, source):
            raise StartupError(f"OUT={target} and IN={source} must not overlap")
        names = [name for name in list_files(source, SOURCES) if not is_hidden(name)]
        if not names:
            raise StartupError(f"IN={source}: no files found")
        for name in names:
            if suffix_of(name) not in SOURCES:
                raise StartupError(f"IN={source}{name} must end with {', '.join(SOURCES)}")
        return [Part(source + name, target + name) for name in names[index::jobs]]
    if not is_remote(target) and not Path(target).parent.is_dir():
        raise StartupError(f"OUT={target}: the folder does not exist")
    if jobs == 1:
        return [Part(source, target)]
    if suffix_of(source) != ".parquet":
        raise StartupError(f"IN={source}: only a folder or a Parquet file can be divided")
    stem, _, suffix = target.rpartition(".")
    return [Part(source, f"{stem}-{index:05}-of-{jobs:05}.{suffix}", index, jobs)]


def is_below(folder: str, other: str) -> bool:
    """Whether a folder is the other one or inside it; both end with ``/``."""
    if is_remote(folder) or is_remote(other):
        return folder.startswith(other)
    return Path(folder).resolve().is_relative_to(Path(other).resolve())


def is_hidden(name: str) -> bool:
    """Whether a file's name says that it holds no rows: it is hidden, or the errors file of an earlier job."""
    return name.endswith(ERRORS) or any(each.startswith(HIDDEN) for each in name.split("/"))
