"""A file of rows becomes a file of answers, in the same order, whatever stops it in between."""

import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

from inference.batch.files import is_remote, reading, suffix_of
from inference.batch.source import SOURCES, Block, Csv, open_source
from inference.batch.target import Progress, Target, open_target
from inference.config import Settings
from inference.errors import StartupError

if TYPE_CHECKING:
    from inference.batch.scoring import Scored, Scorer

# Blocks that are read ahead, for each process.
AHEAD = 2
PARENT_SECONDS = 1.0

# What a process of the pool has, once it is prepared; or why it has not.
scorer: "Scorer | StartupError"


class Job:
    """Scores the file ``source`` into ``target``; both are paths or ``s3://`` URLs.

    Rows without an answer are in a file beside ``target``, with the reason. Raises StartupError where the job cannot
    begin or end.
    """

    def __init__(self, settings: Settings, source: str, target: str, workers: int) -> None:
        for name, place in (("IN", source), ("OUT", target)):
            if suffix_of(place) not in SOURCES:
                raise StartupError(f"{name}={place} must end with {', '.join(SOURCES)}")
        if not is_remote(target) and not Path(target).parent.is_dir():
            raise StartupError(f"OUT={target}: the folder is not there")
        if source == target or (Path(target).exists() and os.path.samefile(source, target)):
            raise StartupError(f"OUT={target} is the file of IN")
        self._settings = settings
        self._source, self._target = source, target
        self._workers = workers
        # Parquet cannot be added to: it is made of lines at the end.
        self._form = ".csv" if suffix_of(target) == ".csv" else ".jsonl"

    def run(self, report: Callable[[int, int, Progress], None]) -> Progress:
        """Score what is not scored yet; ``report`` gets the position, the size of the source, and the progress."""
        with reading(self._source) as (file, file_identity):
            source = open_source(file, self._source)
            heading = source.heading if isinstance(source, Csv) else []
            arguments = (self._settings, suffix_of(self._source), heading, self._form, os.getpid())
            context = get_context("fork")
            with ProcessPoolExecutor(self._workers, context, prepare, arguments) as pool:
                try:
                    has_heading, head, version = pool.submit(describe).result()
                    begin = source.begin
                    if isinstance(source, Csv) and has_heading:
                        begin = source.after_heading
                    identity = f"{self._source} {file_identity} {version} {self._form}"
                    target = open_target(self._source, self._target)
                    progress = target.begin(identity, begin, head)
                    blocks = source.blocks(progress.position)
                    self._score(pool, blocks, progress, target, source.size, report)
                except BrokenProcessPool:
                    raise StartupError(
                        "A process that scores was ended from outside, or the memory was too little: the same "
                        "command goes on from here, with WORKERS=1 in less memory"
                    ) from None
                finally:
                    pool.shutdown(cancel_futures=True)
        target.finish(progress)
        return progress

    def _score(
        self,
        pool: ProcessPoolExecutor,
        blocks: Iterator[Block],
        progress: Progress,
        target: Target,
        size: int,
        report: Callable[[int, int, Progress], None],
    ) -> None:
        for block, first, scored in in_order(pool, blocks, progress.rows, self._workers * AHEAD):
            failures = [(first + place, reason) for place, reason in scored.faults]
            progress.position = block.end
            progress.rows += block.rows
            progress.failed += len(failures)
            target.write(scored.output, failures, progress)
            report(block.end, size, progress)


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
