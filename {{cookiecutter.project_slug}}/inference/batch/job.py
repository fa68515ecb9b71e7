"""Scoring a file of rows into a file of answers, in the same order; a stopped job can resume."""

import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

from inference.batch.files import reading, suffix_of
from inference.batch.parts import Part
from inference.batch.source import SOURCES, Block, Csv, Form, Parquet
from inference.batch.target import Progress, open_target
from inference.config import Settings
from inference.errors import StartupError

if TYPE_CHECKING:
    from inference.batch.scoring import Model, Scored, Scorer

# Blocks to read ahead for each process.
AHEAD = 2
PARENT_SECONDS = 1.0

# Set by prepare() in each process of the pool: the model, or the reason why it cannot be loaded.
model: "Model | StartupError"


@contextmanager
def processes(settings: Settings, workers: int) -> Iterator[Executor]:
    """Start a pool of processes for scoring; raises StartupError if the model cannot be served or a process dies."""
    arguments = settings, os.getpid()
    with ProcessPoolExecutor(workers, get_context("fork"), prepare, arguments) as pool:
        try:
            pool.submit(check_model).result()
            yield pool
        except BrokenProcessPool:
            raise StartupError(
                "A scoring process was killed, or ran out of memory: run the same command again to "
                "resume, with WORKERS=1 to use less memory"
            ) from None
        finally:
            pool.shutdown(cancel_futures=True)


class Job:
    """Scores a part, from a path or an ``s3://`` URL to another.

    Rows without an answer are written to a file beside the target, with the reason. Raises StartupError if the job
    cannot start or finish.
    """

    def __init__(self, part: Part, workers: int) -> None:
        source, target, *self._piece = part
        for name, place in (("IN", source), ("OUT", target)):
            if suffix_of(place) not in SOURCES:
                raise StartupError(f"{name}={place} must end with {', '.join(SOURCES)}")
        are_there = Path(source).exists() and Path(target).exists()
        if source == target or (are_there and os.path.samefile(source, target)):
            raise StartupError(f"OUT={target} is the same file as IN")
        self.source, self.target = source, target
        self._opened = open_target(source, target)
        self._workers = workers
        # Parquet cannot be appended to: it is converted from JSON lines at the end.
        self._form = ".csv" if suffix_of(target) == ".csv" else ".jsonl"

    def run(self, pool: Executor, report: Callable[[int, int, Progress], None]) -> Progress:
        """Score the remaining rows; ``report`` gets the position, the size of the source, and the progress."""
        with reading(self.source) as (file, file_identity):
            source = SOURCES[suffix_of(self.source)](file)
            if isinstance(source, Parquet):
                source.narrow(*self._piece)
            form = Form(suffix_of(self.source), tuple(source.heading), self._form)
            has_heading, head, version, note = pool.submit(describe, form).result()
            begin = source.begin
            if isinstance(source, Csv) and has_heading:
                begin = source.after_heading
            identity = f"{self.source} {file_identity} {version} {self._form} {self._piece}"
            progress = self._opened.begin(identity, begin, head)
            if progress.is_done:
                return progress
            if note:
                print(f"{self.source}: {note}", file=sys.stderr)
            first = progress.rows + (begin if isinstance(source, Parquet) else 0)
            scored = in_order(
                pool, form, source.blocks(progress.position), first, self._workers * AHEAD
            )
            for block, number, (output, faults) in scored:
                failures = [(number + place, reason) for place, reason in faults]
                progress.position = block.end
                progress.rows += block.rows
                progress.failed += len(failures)
                self._opened.write(output, failures, progress)
                report(block.end - begin, source.end - begin, progress)
        self._opened.finish(progress)
        return progress

    def forget(self) -> None:
        """Discard the saved progress, so that the next run starts over."""
        self._opened.forget()


def in_order(
    pool: Executor, form: Form, blocks: Iterator[Block], rows: int, most: int
) -> "Iterator[tuple[Block, int, Scored]]":
    """Yield each block with the number of its first row and its answers; at most ``most`` are in progress."""
    waiting: deque[tuple[Block, int, Future[Any]]] = deque()
    for block in blocks:
        waiting.append((block._replace(content=b""), rows, pool.submit(score, form, block, rows)))
        rows += block.rows
        if len(waiting) > most:
            done, first, future = waiting.popleft()
            yield done, first, future.result()
    for done, first, future in waiting:
        yield done, first, future.result()


def prepare(settings: Settings, parent: int) -> None:
    """Load the model in a process of the pool."""
    global model
    # The parent tells this process when to stop; if the parent is killed, the thread stops it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=end_without, args=(parent,), daemon=True).start()
    from inference.batch.scoring import load

    try:
        model = load(settings)
    except StartupError as error:
        model = error


def end_without(parent: int) -> None:
    """Exit this process when its parent ends."""
    while os.getppid() == parent:
        time.sleep(PARENT_SECONDS)
    os._exit(1)


def get_model() -> "Model":
    """Return the model of this process; raises StartupError if it cannot be served."""
    if isinstance(model, StartupError):
        raise model
    return model


def check_model() -> None:
    """Raise StartupError if the model cannot be served."""
    get_model()


@lru_cache(maxsize=1)
def scorer_of(form: Form) -> "Scorer":
    """Return the scorer for a form, in a process of the pool."""
    from inference.batch.scoring import Scorer

    return Scorer(get_model(), form)


def describe(form: Form) -> tuple[bool, bytes, str, str]:
    """Return whether the source names its columns, the first line of the answers, the model's version, and a note."""
    scorer = scorer_of(form)
    return scorer.has_heading, scorer.head, scorer.version, scorer.note


def score(form: Form, block: Block, first: int) -> "Scored":
    """Score a block."""
    return scorer_of(form).score(block, first)
