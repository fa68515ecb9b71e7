"""Targets for the answers: files from which a stopped job resumes, or S3 objects, which appear once complete."""

import csv
import io
import os
import tempfile
import time
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec

from inference.batch.files import (
    AsFile,
    as_startup_error,
    exists,
    is_remote,
    publish,
    store_of,
    suffix_of,
)
from inference.batch.source import NEEDS_PYARROW, cut_lines, split
from inference.errors import StartupError

ERRORS = ".errors.csv"
SAVE_SECONDS = 1.0
HEAD_OF_ERRORS = ("row", "error")

# The number of a row, and the reason why it has no answer.
Failure = tuple[int, str]


class Progress(msgspec.Struct):
    """The progress of a job: its position in the source, its rows, and the bytes of its two files."""

    # Identifies the job: source, model, format of the answers.
    identity: str
    position: int
    rows: int = 0
    failed: int = 0
    output_bytes: int = 0
    errors_bytes: int = 0
    is_done: bool = False


def open_target(source: str, target: str) -> "Files | Objects":
    """Open the target for answers, a path or an ``s3://`` URL."""
    if not is_remote(target):
        return Files(target, Path(target))
    name = sha256(f"{source} {target}".encode()).hexdigest()[:12]
    try:
        folder = Path(tempfile.gettempdir())
    except FileNotFoundError:
        # No temporary folder, as in a container with a read-only disk.
        return Objects(target)
    return Files(target, folder / f"batch-{name}{suffix_of(target)}")


class Files:
    """Partial files beside ``path``, from which a job can resume until they become ``target``."""

    def __init__(self, target: str, path: Path) -> None:
        self._target = target
        self._output = path.with_name(f"{path.name}.part")
        self._errors = path.with_name(f"{path.name}{ERRORS}.part")
        self._saved = path.with_name(f"{path.name}.progress")
        self._when_saved = 0.0

    def begin(self, identity: str, position: int, head: bytes) -> Progress:
        """Start, or resume a stopped job with the same identity."""
        progress = self._resume(identity)
        if progress is None:
            self._output.parent.mkdir(parents=True, exist_ok=True)
            self._output.write_bytes(head)
            errors_head = to_csv([HEAD_OF_ERRORS])
            self._errors.write_bytes(errors_head)
            progress = Progress(identity, position, 0, 0, len(head), len(errors_head))
            self._save(progress)
        if progress.is_done:
            return progress
        self._files = self._output.open("ab"), self._errors.open("ab")
        self._when_saved = time.monotonic()
        return progress

    def _resume(self, identity: str) -> Progress | None:
        """Return the progress of the same job, with its files truncated to match, or None."""
        try:
            progress = msgspec.json.decode(self._saved.read_bytes(), type=Progress)
            if progress.is_done:
                return progress if progress.identity == identity and exists(self._target) else None
            cuts = {self._output: progress.output_bytes, self._errors: progress.errors_bytes}
            if progress.identity != identity or any(
                path.stat().st_size < size for path, size in cuts.items()
            ):
                return None
        except (OSError, msgspec.DecodeError):
            return None
        for path, size in cuts.items():
            os.truncate(path, size)
        return progress

    def _save(self, progress: Progress) -> None:
        partial = self._saved.with_name(f"{self._saved.name}.part")
        partial.write_bytes(msgspec.json.encode(progress))
        partial.replace(self._saved)

    def write(self, output: bytes, failures: list[Failure], progress: Progress) -> None:
        """Write the answers and failures of some rows, which ``progress`` already counts; save it from time to time."""
        errors = to_csv(failures)
        for file, content in zip(self._files, (output, errors), strict=True):
            file.write(content)
        progress.output_bytes += len(output)
        progress.errors_bytes += len(errors)
        if time.monotonic() - self._when_saved > SAVE_SECONDS:
            for file in self._files:
                file.flush()
                os.fsync(file.fileno())
            self._save(progress)
            self._when_saved = time.monotonic()

    def finish(self, progress: Progress) -> None:
        """Publish the files: the errors first, so that answers never appear without them.

        Raises StartupError if that fails.
        """
        for file in self._files:
            file.close()
        self._save(progress)
        # A job that cannot publish resumes from the JSON lines.
        is_parquet = suffix_of(self._target) == ".parquet"
        output = to_parquet(self._output) if is_parquet else self._output
        if progress.failed or is_remote(self._target):
            publish(self._errors, self._target + ERRORS)
        else:
            self._errors.unlink()
            # Left by an earlier run.
            Path(self._target + ERRORS).unlink(missing_ok=True)
        publish(output, self._target)
        self._output.unlink(missing_ok=True)
        progress.is_done = True
        self._save(progress)

    def forget(self) -> None:
        """Make the next run start over."""
        self._saved.unlink(missing_ok=True)


class Objects:
    """Objects in S3, written as the answers arrive; a job that is stopped leaves none."""

    def __init__(self, target: str) -> None:
        self._fault = f"Could not write {target}"
        self._places = target, target + ERRORS
        self._output: Any = None
        self._errors: Any = None

    def begin(self, identity: str, position: int, head: bytes) -> Progress:
        """Start."""
        import obstore

        with as_startup_error(self._fault):
            self._output, self._errors = (
                obstore.open_writer(*store_of(place)) for place in self._places
            )
            if suffix_of(self._places[0]) == ".parquet":
                self._output = ParquetWriter(AsFile(self._output, self._places[0]))
            self._output.write(head)
            self._errors.write(to_csv([HEAD_OF_ERRORS]))
        return Progress(identity, position)

    def write(self, output: bytes, failures: list[Failure], progress: Progress) -> None:
        """Write answers."""
        with as_startup_error(self._fault):
            self._output.write(output)
            self._errors.write(to_csv(failures))

    def finish(self, progress: Progress) -> None:
        """Publish the objects: the errors first."""
        with as_startup_error(self._fault):
            # Even without failures: the job need not have permission to delete an old errors object.
            self._errors.close()
            self._output.close()

    def forget(self) -> None:
        """Do nothing: there is nothing to resume from."""


def to_csv(rows: list[Any]) -> bytes:
    """Encode rows as CSV."""
    text = io.StringIO(newline="")
    csv.writer(text).writerows(rows)
    return text.getvalue().encode()


class ParquetWriter:
    """Writes JSON lines as Parquet; the first write determines the types of the columns."""

    def __init__(self, file: Any) -> None:
        try:
            from pyarrow import json, parquet
        except ImportError:
            raise StartupError(NEEDS_PYARROW) from None
        self._read_json, self._options = json.read_json, json.ParseOptions
        self._file = file
        self._make_writer = partial(parquet.ParquetWriter, file)
        self._writer: Any = None

    def write(self, lines: bytes) -> None:
        """Write some lines."""
        if not lines:
            return
        options = self._options(explicit_schema=self._writer.schema if self._writer else None)
        table = self._read_json(io.BytesIO(lines), parse_options=options)
        if self._writer is None:
            self._writer = self._make_writer(table.schema)
        self._writer.write_table(table)

    def close(self) -> None:
        """Write the footer and close the file."""
        if self._writer is None:
            import pyarrow

            self._writer = self._make_writer(pyarrow.schema([("row", pyarrow.int64())]))
        self._writer.close()
        self._file.close()


def to_parquet(path: Path) -> Path:
    """Convert a file of JSON lines to a Parquet file beside it; return its path."""
    made = path.with_name(path.name + ".parquet")
    with path.open("rb") as file:
        writer = ParquetWriter(made.open("wb"))
        for lines, _ in split(file, 0, cut_lines):
            writer.write(lines)
        writer.close()
    return made
