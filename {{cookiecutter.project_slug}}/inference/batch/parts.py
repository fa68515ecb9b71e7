"""The files of a job: one, those of a folder, or the share of one of many jobs that run at the same time."""

from pathlib import Path
from typing import NamedTuple

from inference.batch.files import is_remote, list_files, suffix_of
from inference.batch.source import SOURCES
from inference.batch.target import ERRORS
from inference.errors import StartupError

# Beside the files of other programs, as Spark's _SUCCESS.
HIDDEN = (".", "_")


class Part(NamedTuple):
    """A file to score, or one of the ``pieces`` of its rows, counted from 0."""

    source: str
    target: str
    piece: int = 0
    pieces: int = 1


def is_folder(place: str) -> bool:
    """Whether it holds files."""
    return place.endswith("/") or (not is_remote(place) and Path(place).is_dir())


def plan(source: str, target: str, index: int = 0, jobs: int = 1) -> list[Part]:
    """What job ``index`` of ``jobs`` scores, counted from 0: every ``jobs``-th file of a folder, or its rows of one file.

    Raises StartupError where ``source`` and ``target`` do not fit each other, or ``source`` cannot be divided.
    """
    if is_folder(source):
        if not is_folder(target):
            raise StartupError(f"OUT={target} must be a folder, as IN is: let it end with /")
        source, target = (place.rstrip("/") + "/" for place in (source, target))
        if is_below(source, target) or is_below(target, source):
            raise StartupError(f"OUT={target} and IN={source} must be apart")
        names = [name for name in list_files(source, SOURCES) if not is_hidden(name)]
        if not names:
            raise StartupError(f"IN={source}: no file is there")
        for name in names:
            if suffix_of(name) not in SOURCES:
                raise StartupError(f"IN={source}{name} must end with {', '.join(SOURCES)}")
        return [Part(source + name, target + name) for name in names[index::jobs]]
    if not is_remote(target) and not Path(target).parent.is_dir():
        raise StartupError(f"OUT={target}: the folder is not there")
    if jobs == 1:
        return [Part(source, target)]
    if suffix_of(source) != ".parquet":
        raise StartupError(f"IN={source}: only a folder or a file of Parquet can be divided")
    stem, _, suffix = target.rpartition(".")
    return [Part(source, f"{stem}-{index:05}-of-{jobs:05}.{suffix}", index, jobs)]


def is_below(folder: str, other: str) -> bool:
    """Whether a folder is another or in it; both end with ``/``."""
    if is_remote(folder) or is_remote(other):
        return folder.startswith(other)
    return Path(folder).resolve().is_relative_to(Path(other).resolve())


def is_hidden(name: str) -> bool:
    """Whether a file is no rows by its name: hidden, or what a job before said of its failures."""
    return name.endswith(ERRORS) or any(each.startswith(HIDDEN) for each in name.split("/"))
