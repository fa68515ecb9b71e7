"""What a benchmark knows of a server: how it is installed, started and asked."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Environments that are no folder below peers: the generated project, and that of the release before.
PROJECT = "project"
BEFORE = "before"


@dataclass(frozen=True)
class Request:
    """A request that a load generator sends again and again."""

    path: str
    content_type: str
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Launch:
    """What a command line is made from: ``models`` is the folder of the benchmark's models."""

    python: Path
    port: int
    workers: int
    model: str
    models: Path


# Of shape (rows, features), or objects of a table that is not of numbers alone.
Rows = NDArray[np.float32] | list[dict[str, Any]]


@dataclass(frozen=True)
class Encoding:
    """How rows are sent, and the class of each found in the answer; ``is_array`` takes numbers alone."""

    request: Callable[[str, Any], Request]
    classes: Callable[[bytes, Mapping[str, str]], list[str]]
    is_array: bool = False


@dataclass(frozen=True)
class Setting:
    """One way to run a peer.

    ``environment`` names the folder below ``peers`` whose requirements.txt it runs with, or is PROJECT or
    BEFORE. ``models`` are
    those that it serves, ``encodings`` what it speaks, by name: "json", "binary". A ``tuned`` setting is
    written by hand for speed, and reported beside the rest.
    """

    peer: str
    name: str
    environment: str
    command: Callable[[Launch], list[str]]
    encodings: Mapping[str, Encoding]
    models: tuple[str, ...]
    variables: Mapping[str, str] = field(default_factory=dict)
    tuned: bool = False
