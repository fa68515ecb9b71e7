"""Score a file: ``python -m inference.batch IN OUT``.

IN is CSV as ``/invocations`` takes it, JSON lines with an instance each, or Parquet with a column of each name; OUT is
one of these, with the number of each row, counted from 0, its predictions and their probabilities. Both are paths or
s3:// URLs. Exits with 1 where rows have no answer: OUT.errors.csv names them; with 2 where the job was not done.
"""

import os
import sys
import time

from inference.batch.job import Job
from inference.batch.target import Progress
from inference.config import Settings, available_cpus
from inference.errors import StartupError

# Between two lines of progress, where they are in one place and where they are below each other.
TERMINAL_SECONDS = 0.2
LOG_SECONDS = 10.0


class Bar:
    """Shows the progress on standard error."""

    def __init__(self) -> None:
        self._is_terminal = sys.stderr.isatty()
        self._started = self._shown = time.monotonic()
        self._first: tuple[int, int] | None = None

    def show(self, position: int, size: int, progress: Progress) -> None:
        """Show it, now and then."""
        now = time.monotonic()
        if self._first is None:
            # What was done before, where the job goes on.
            self._first = position, progress.rows
        if now - self._shown < (TERMINAL_SECONDS if self._is_terminal else LOG_SECONDS):
            return
        self._shown = now
        seconds = now - self._started
        start, rows = self._first
        speed = (progress.rows - rows) / seconds
        left = (size - position) * seconds / max(position - start, 1)
        text = f"{position / max(size, 1):4.0%}  {progress.rows:,} rows  {speed:,.0f}/s  {left:,.0f} s left"
        sys.stderr.write(f"\r{text:70}" if self._is_terminal else text + "\n")
        sys.stderr.flush()

    def end(self) -> None:
        """Leave the line to what comes after."""
        if self._is_terminal:
            sys.stderr.write(f"\r{'':70}\r")


def main(arguments: list[str]) -> int:
    """Score; return the exit code."""
    if len(arguments) != 2 or not all(arguments):
        print("make batch IN=rows.csv OUT=scores.csv: both are needed", file=sys.stderr)
        return 2
    source, target = arguments
    bar = Bar()
    started = time.monotonic()
    try:
        settings = Settings.from_environment(os.environ)
        workers = settings.workers or available_cpus()
        progress = Job(settings, source, target, workers).run(bar.show)
    except StartupError as error:
        bar.end()
        print(error, file=sys.stderr)
        return 2
    except OSError as error:
        bar.end()
        print(f"{error.filename or target}: {error.strerror or error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        bar.end()
        print("Stopped: the same command goes on from here.", file=sys.stderr)
        return 130
    bar.end()
    answered = progress.rows - progress.failed
    print(f"{target}: {answered:,} rows answered in {time.monotonic() - started:,.1f} s")
    if progress.failed:
        print(
            f"{target}.errors.csv: {progress.failed:,} rows without an answer, and why",
            file=sys.stderr,
        )
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
