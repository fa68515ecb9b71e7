"""Score files: ``python -m inference.batch IN OUT``, or, as one of N jobs, ``python -m inference.batch IN OUT N``.

IN is CSV as ``/invocations`` accepts it, JSON lines with an instance each, or Parquet with a column for each name. OUT
is in one of these formats, with the number of each row, counted from 0, its predictions and their probabilities. Both
are paths or s3:// URLs of files, or both are folders and end with /. Each of N jobs scores every N-th file of a
folder, or its share of the rows of a Parquet file; AWS_BATCH_JOB_ARRAY_INDEX is the number of this job, from 0.

Exits with 1 if rows have no answer, which OUT.errors.csv lists, and with 2 if a file could not be scored.
"""

import os
import sys
import time
import traceback
from concurrent.futures import Executor

from inference.batch.job import Job, processes
from inference.batch.parts import plan
from inference.batch.target import ERRORS, Progress
from inference.config import Settings, available_cpus
from inference.errors import StartupError

# Exit codes.
FAILED_ROWS = 1
NOT_DONE = 2
# Seconds between progress updates: on a terminal, which overwrites them, and in a log.
TERMINAL_SECONDS = 0.2
LOG_SECONDS = 10.0


class Bar:
    """A progress bar on standard error."""

    def __init__(self) -> None:
        self._is_terminal = sys.stderr.isatty()
        self._started = self._shown = time.monotonic()
        self._first: tuple[int, int] | None = None

    def show(self, position: int, size: int, progress: Progress) -> None:
        """Show the progress, at intervals."""
        now = time.monotonic()
        if self._first is None:
            # A resumed job does not start at 0.
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
        """Clear the line for other output."""
        if self._is_terminal:
            sys.stderr.write(f"\r{'':70}\r")


def main(arguments: list[str]) -> int:
    """Score the files; return the exit code."""
    try:
        parts = plan(*which(arguments))
        settings = Settings.from_environment(os.environ)
        workers = settings.workers or available_cpus()
        jobs = [Job(part, workers) for part in parts]
        if not jobs:
            print("There are fewer files than jobs: this one has nothing to do.")
            return 0
        with processes(settings, workers) as pool:
            code = max([run(job, pool) for job in jobs])
    except StartupError as error:
        print(error, file=sys.stderr)
        return NOT_DONE
    except KeyboardInterrupt:
        print("\nStopped: run the same command again to resume.", file=sys.stderr)
        return 130
    except Exception:
        # Python's own exit code would be that of failed rows.
        traceback.print_exc()
        return NOT_DONE
    if code != NOT_DONE:
        for job in jobs:
            job.forget()
    return code


def which(arguments: list[str]) -> tuple[str, str, int, int]:
    """Parse IN, OUT, the number of this job, and the number of jobs; raises StartupError."""
    if len(arguments) not in (2, 3) or not all(arguments):
        raise StartupError("make batch IN=rows.csv OUT=scores.csv: both are needed")
    source, target, *rest = arguments
    if not rest:
        return source, target, 0, 1
    index, jobs = os.environ.get("AWS_BATCH_JOB_ARRAY_INDEX", ""), rest[0]
    if not (index.isdecimal() and jobs.isdecimal() and int(index) < int(jobs)):
        raise StartupError(
            f"AWS_BATCH_JOB_ARRAY_INDEX={index} must be a number from 0, less than the number of jobs, {jobs}"
        )
    return source, target, int(index), int(jobs)


def run(job: Job, pool: Executor) -> int:
    """Run a job and report its outcome; return the exit code."""
    bar = Bar()
    started = time.monotonic()
    try:
        progress = job.run(pool, bar.show)
    except StartupError as error:
        reason = str(error)
    except OSError as error:
        reason = f"{error.filename or job.target}: {error.strerror or error}"
    else:
        bar.end()
        answered = progress.rows - progress.failed
        seconds = time.monotonic() - started
        print(f"{job.target}: {answered:,} rows answered in {seconds:,.1f} s", flush=True)
        if progress.failed:
            failed = f"{progress.failed:,} rows without an answer, with the reasons"
            print(f"{job.target}{ERRORS}: {failed}", file=sys.stderr)
        return FAILED_ROWS if progress.failed else 0
    bar.end()
    print(reason if job.source in reason else f"{job.source}: {reason}", file=sys.stderr)
    return NOT_DONE


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
