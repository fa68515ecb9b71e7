"""The benchmark's description of a server: how to install, start and query it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Environments without a folder below peers: the generated project, and that of the previous release.
PROJECT = "project"
BEFORE = "before"


@dataclass(frozen=True)
class Request:
    """A request that a load generator sends repeatedly."""

    path: str
    content_type: str
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Launch:
    """The inputs of a command line: ``models`` is the folder of the benchmark's models."""

    python: Path
    port: int
    workers: int
    model: str
    models: Path


# An array of shape (rows, features), or objects for a table that has more than numbers.
Rows = NDArray[np.float32] | list[dict[str, Any]]


@dataclass(frozen=True)
class Encoding:
    """How to send rows and find the class of each in the response; ``is_array`` only supports numbers."""

    request: Callable[[str, Any], Request]
    classes: Callable[[bytes, Mapping[str, str]], list[str]]
    is_array: bool = False


@dataclass(frozen=True)
class Setting:
    """One way to run a peer.

    ``environment`` names the folder below ``peers`` with its requirements.txt, or is PROJECT or
    BEFORE. ``models`` are those that it serves, ``encodings`` those that it supports, by name: "json",
    "binary". A ``tuned`` setting is written by hand for speed, and reported separately.
    """

    peer: str
    name: str
    environment: str
    command: Callable[[Launch], list[str]]
    encodings: Mapping[str, Encoding]
    models: tuple[str, ...]
    variables: Mapping[str, str] = field(default_factory=dict)
    tuned: bool = False
