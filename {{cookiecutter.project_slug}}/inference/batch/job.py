"""A file of rows becomes a file of answers, in the same order, whatever stops it in between."""

import csv
import io
import os
import signal
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from hashlib import sha256
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from inference.batch.files import is_remote, publish, reading, suffix_of
from inference.batch.source import NEEDS_PYARROW, SOURCES, Block, Csv, open_source
from inference.config import Settings
from inference.errors import StartupError

if TYPE_CHECKING:
    from inference.batch.scoring import Scored, Scorer

# Blocks that are read ahead, for each process.
AHEAD = 2
SAVE_SECONDS = 1.0
PARENT_SECONDS = 1.0
ERRORS = ".errors.csv"

# What a process of the pool has, once it is prepared; or why it has not.
scorer: "Scorer | StartupError"


class Progress(msgspec.Struct):
    """How far a job is: in its source, in rows, and in bytes of its two files."""

    # Of what it is: source, model, form of the answers.
    identity: str
    position: int
    rows: int = 0
    failed: int = 0
    output_bytes: int = 0
    errors_bytes: int = 0


class Job:
    """Scores the file ``source`` into ``target``; both are paths or ``s3://`` URLs.

    Rows without an answer are in a file beside ``target``, with the reason. Raises StartupError where the job cannot
    begin or end.
    """

    def __init__(self, settings: Settings, source: str, target: str, workers: int) -> None:
        if suffix_of(source) not in SOURCES:
            raise StartupError(f"IN={source} must end with {', '.join(SOURCES)}")
        if suffix_of(target) not in SOURCES:
            raise StartupError(f"OUT={target} must end with {', '.join(SOURCES)}")
        if not is_remote(target) and not Path(target).parent.is_dir():
            raise StartupError(f"OUT={target}: the folder is not there")
        if source == target or (Path(target).exists() and os.path.samefile(source, target)):
            raise StartupError(f"OUT={target} is the file of IN")
        self._settings = settings
        self._source, self._target = source, target
        self._workers = workers
        # Parquet cannot be added to: it is made of lines at the end.
        self._form = ".csv" if suffix_of(target) == ".csv" else ".jsonl"
        folder = Path(target).parent
        name = Path(target).name
        if is_remote(target):
            folder = Path(tempfile.gettempdir())
            name = f"batch-{sha256(f'{source} {target}'.encode()).hexdigest()[:12]}-{name}"
        self._output = folder / f"{name}.part"
        self._errors = folder / f"{name}{ERRORS}.part"
        self._saved = folder / f"{name}.progress"

    def run(self, report: Callable[[int, int, Progress], None]) -> Progress:
        """Score what is not scored yet; ``report`` gets the position, the size of the source, and the progress."""
        with reading(self._source) as (file, file_identity):
            source = open_source(file, self._source)
            heading = source.heading if isinstance(source, Csv) else []
            arguments = (self._settings, suffix_of(self._source), heading, self._form, os.getpid())
            context = get_context("fork")
            with ProcessPoolExecutor(self._workers, context, prepare, arguments) as pool:
                try:
                    about = pool.submit(describe).result()
                    has_heading, head, version = about
                    begin = source.begin
                    if isinstance(source, Csv) and has_heading:
                        begin = source.after_heading
                    identity = f"{self._source} {file_identity} {version} {self._form}"
                    progress = self._resume(identity, begin, head)
                    blocks = source.blocks(progress.position)
                    self._score(pool, blocks, progress, source.size, report)
                except BrokenProcessPool:
                    raise StartupError(
                        "A process that scores was ended from outside, or the memory was too little: the same "
                        "command goes on from here, with WORKERS=1 in less memory"
                    ) from None
                finally:
                    pool.shutdown(cancel_futures=True)
        self._finish(progress)
        return progress

    def _resume(self, identity: str, begin: int, head: bytes) -> Progress:
        """The progress of this job before it was stopped, its files cut to it; or that of a new one."""
        try:
            progress = msgspec.json.decode(self._saved.read_bytes(), type=Progress)
            sizes = (progress.output_bytes, progress.errors_bytes)
            is_here = progress.identity == identity and all(
                path.stat().st_size >= size
                for path, size in zip((self._output, self._errors), sizes, strict=True)
            )
        except (OSError, msgspec.DecodeError):
            is_here = False
        if is_here:
            for path, size in zip((self._output, self._errors), sizes, strict=True):
                os.truncate(path, size)
            return progress
        self._output.write_bytes(head)
        errors_head = to_csv([("row", "error")])
        self._errors.write_bytes(errors_head)
        progress = Progress(identity, begin, 0, 0, len(head), len(errors_head))
        self._save(progress)
        return progress

    def _save(self, progress: Progress) -> None:
        partial = self._saved.with_name(self._saved.name + ".part")
        partial.write_bytes(msgspec.json.encode(progress))
        partial.replace(self._saved)

    def _score(
        self,
        pool: ProcessPoolExecutor,
        blocks: Iterator[Block],
        progress: Progress,
        size: int,
        report: Callable[[int, int, Progress], None],
    ) -> None:
        saved = time.monotonic()
        with self._output.open("ab") as output, self._errors.open("ab") as errors:
            for block, first, scored in in_order(
                pool, blocks, progress.rows, self._workers * AHEAD
            ):
                output.write(scored.output)
                faults = to_csv([(first + place, reason) for place, reason in scored.faults])
                errors.write(faults)
                progress.position = block.end
                progress.rows += block.rows
                progress.failed += len(scored.faults)
                progress.output_bytes += len(scored.output)
                progress.errors_bytes += len(faults)
                if time.monotonic() - saved > SAVE_SECONDS:
                    for file in (output, errors):
                        file.flush()
                        os.fsync(file.fileno())
                    self._save(progress)
                    saved = time.monotonic()
                report(block.end, size, progress)
        self._save(progress)

    def _finish(self, progress: Progress) -> None:
        """Put the files where they belong: the errors first, so that answers are never without them."""
        if suffix_of(self._target) == ".parquet":
            to_parquet(self._output)
        errors = self._target + ERRORS
        if progress.failed:
            publish(self._errors, errors)
        else:
            self._errors.unlink()
            if not is_remote(errors):
                # Of a run before this one.
                Path(errors).unlink(missing_ok=True)
        publish(self._output, self._target)
        self._saved.unlink()


def in_order(
    pool: ProcessPoolExecutor, blocks: Iterator[Block], rows: int, most: int
) -> "Iterator[tuple[Block, int, Scored]]":
    """Each block with the number of its first row and its answers; no more than ``most`` are under way."""
    waiting: deque[tuple[Block, int, Future[Any]]] = deque()
    for block in blocks:
        waiting.append((block._replace(content=b""), rows, pool.submit(score, block, rows)))
        rows += block.rows
        if len(waiting) > most:
            done, first, future = waiting.popleft()
            yield done, first, future.result()
    for done, first, future in waiting:
        yield done, first, future.result()


def prepare(settings: Settings, kind: str, heading: list[str], form: str, parent: int) -> None:
    """Load the model, in a process of the pool."""
    global scorer
    # The parent says when to stop; and where it is killed, nobody else would.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=end_without, args=(parent,), daemon=True).start()
    from inference.batch.scoring import Scorer

    try:
        scorer = Scorer(settings, kind, heading, form)
    except StartupError as error:
        scorer = error


def end_without(parent: int) -> None:
    """End this process with its parent."""
    while os.getppid() == parent:
        time.sleep(PARENT_SECONDS)
    os._exit(1)


def describe() -> tuple[bool, bytes, str]:
    """Whether the source names its columns, the first line of the answers, and the model's version."""
    if isinstance(scorer, StartupError):
        raise scorer
    return scorer.has_heading, scorer.head, scorer.version


def score(block: Block, first: int) -> "Scored":
    """The answers to a block."""
    if isinstance(scorer, StartupError):
        raise scorer
    return scorer.score(block, first)


def to_csv(rows: list[tuple[Any, ...]]) -> bytes:
    """Rows as CSV."""
    text = io.StringIO(newline="")
    csv.writer(text).writerows(rows)
    return text.getvalue().encode()


def to_parquet(path: Path) -> None:
    """Make Parquet of a file of JSON lines, in its place."""
    try:
        import pyarrow
        import pyarrow.json
        import pyarrow.parquet
    except ImportError:
        raise StartupError(NEEDS_PYARROW) from None
    made = path.with_name(path.name + ".parquet")
    if not path.stat().st_size:
        pyarrow.parquet.write_table(
            pyarrow.table({"row": pyarrow.array([], pyarrow.int64())}), made
        )
    else:
        with (
            pyarrow.json.open_json(path) as reader,
            pyarrow.parquet.ParquetWriter(made, reader.schema) as writer,
        ):
            for batch in reader:
                writer.write_batch(batch)
    made.replace(path)
