"""Output of training: the model file, its checksum, and the measured settings for serving it."""

import hashlib
import math
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import numpy as np

from inference.predictor import Predictor
from inference.runtime.artifact import (
    Artifact,
    checksum_path,
    digest_of,
    digests_of,
    files_of,
    list_checksums,
)
from inference.runtime.contract import check_card, check_example
from inference.runtime.serving import Serving, path_of
from inference.runtime.signature import Inputs, Predict, to_inputs
from training.dataset import UnfitError

# A model file, several files by name, or a folder of files.
Content = bytes | Mapping[str, bytes] | Path
# A queue costs each request some tens of microseconds: batching must save more than that.
WORTHWHILE_SECONDS = 100e-6
# A slower model needs a queue, so that no more clients call it at once than will wait for it.
SLOW_SECONDS = 1e-3
ROWS = 32
# The longest time that one request may block the event loop.
INLINE_SECONDS = 1e-3
# With more rows, JSON blocks the event loop for longer than the model does.
MAX_INLINE_ROWS = 1000
# Uses default settings, not those set on this machine.
LOAD_SERVICE = """
import sys
from inference.app import create_app
from inference.config import Settings

create_app(Settings(model_path=sys.argv[1]))
print(open("/proc/self/status").read())
"""


def today() -> str:
    """Return the date of SOURCE_DATE_EPOCH, for reproducible builds, or else the current date."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    now = datetime.fromtimestamp(int(epoch), UTC) if epoch else datetime.now(UTC)
    return now.date().isoformat()


@contextmanager
def loaded(content: Content) -> Iterator[Predictor]:
    """Load a predictor from a model that is not published yet."""
    with tempfile.TemporaryDirectory(prefix="model-") as folder:
        yield Predictor.load(write_model(Path(folder) / "model", content).content)


def publish(path: Path, content: Content) -> None:
    """Write a model that the service can load, measure how best to serve it, and report its size and version."""
    with loaded(content) as predictor:
        try:
            check_card(predictor.card)
        except ValueError as error:
            raise UnfitError(f"The model cannot be served: {error}") from error
        check_example(predictor.card, predictor.predict)
        example = to_inputs(predictor.card, [predictor.card.example])
        # A predictor without the attribute may block.
        max_inline = 0 if getattr(predictor, "may_block", True) else MAX_INLINE_ROWS
        serving = measure(predictor.predict, example, max_inline)
    try:
        model = write_model(path, content)
    except OSError as error:
        raise UnfitError(f"Could not write {path}: {error.strerror}") from error
    write_serving(path, msgspec.structs.replace(serving, worker_mib=measure_memory(path)))
    print(f"{path}: {model.size:,} bytes, version {model.version}", end="")
    print("; requests will be predicted together" if serving.queue else "")


def write_model(path: Path, content: Content) -> Artifact:
    """Write a model file or folder and its checksum; readers never see a partial file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, bytes):
        digest = hashlib.sha256(content).hexdigest()
        replace(path, content)
        replace(checksum_path(path), list_checksums({path.name: digest}))
        return Artifact(path, content, digest)
    if isinstance(content, Path):
        content = {
            file.relative_to(content).as_posix(): file.read_bytes()
            for file in files_of(content).values()
        }
    with tempfile.TemporaryDirectory(prefix=f"{path.name}-", dir=path.parent) as folder:
        fresh, old = Path(folder, "fresh"), Path(folder, "old")
        for name, part in content.items():
            (fresh / name).parent.mkdir(parents=True, exist_ok=True)
            (fresh / name).write_bytes(part)
        if path.exists():
            path.rename(old)
        fresh.rename(path)
    digests = digests_of(path)
    replace(checksum_path(path), list_checksums(digests))
    return Artifact(path, path, digest_of(digests))


def write_serving(model_path: Path, serving: Serving) -> None:
    """Write the settings for serving a model next to its file."""
    replace(path_of(model_path), msgspec.json.encode(serving) + b"\n")


def replace(path: Path, content: bytes) -> None:
    """Replace a file atomically."""
    partial = path.with_name(path.name + ".part")
    try:
        partial.write_bytes(content)
        partial.replace(path)
    except OSError:
        partial.unlink(missing_ok=True)
        raise


def measure(predict: Predict, example: Inputs, max_inline: int = 0) -> Serving:
    """Time ``predict`` on one instance, alone and repeated in a batch.

    Requests of up to ``max_inline`` rows may be answered on the event loop if that is fast enough. Pass 0
    for a model that may block.
    """
    alone = fastest(predict, example)
    saved = alone - fastest(predict, repeat(example, ROWS)) / ROWS
    queue = saved > WORTHWHILE_SECONDS or alone > SLOW_SECONDS
    return Serving(queue, count_inline_rows(predict, example, max_inline))


def count_inline_rows(predict: Predict, example: Inputs, max_rows: int) -> int:
    """Return the largest of 1, 2, 4, ... and ``max_rows`` rows that ``predict`` handles within INLINE_SECONDS."""
    quick = 0
    while quick < max_rows:
        rows = min(2 * quick or 1, max_rows)
        if fastest(predict, repeat(example, rows), times=5) > INLINE_SECONDS:
            break
        quick = rows
    return quick


def measure_memory(path: Path) -> int:
    """Return the peak memory, in MiB, of a process that loads the service with this model; 0 without /proc."""
    command = [sys.executable, "-c", LOAD_SERVICE, str(path)]
    service = subprocess.run(command, stdout=subprocess.PIPE, text=True)  # noqa: S603
    peak = re.search(r"^VmHWM:\s+(\d+) kB$", service.stdout, re.MULTILINE)
    return math.ceil(int(peak[1]) / 1024) if peak else 0


def repeat(example: Inputs, rows: int) -> Inputs:
    """Repeat one instance ``rows`` times."""
    return {name: np.repeat(array, rows, axis=0) for name, array in example.items()}


def fastest(predict: Predict, inputs: Inputs, times: int = 20) -> float:
    """Return the seconds of the fastest of several calls, which was disturbed least."""
    seconds = []
    for _ in range(times):
        started = time.perf_counter()
        predict(inputs)
        seconds.append(time.perf_counter() - started)
    return min(seconds)
