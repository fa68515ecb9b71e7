"""Statistics of inputs and answers compared with training, and whether they have drifted.

Requests add their inputs and predictions here. Small requests are counted in batches, which costs each little, by the
last request of a batch; a thread in each worker counts large requests, and small ones if no more arrive. All workers
share the memory of the counts. The window is the last hour, or as long as is set: each worker remembers the counts at
intervals of a twelfth of it. The first worker logs changes.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from inference.config import Settings
from inference.monitoring.background import Background
from inference.monitoring.distributions import (
    Counts,
    Distribution,
    Distributions,
    chance_level,
    stability_index,
)
from inference.monitoring.metrics import Metrics, shared
from inference.runtime.signature import Inputs, ModelCard, Predictions

logger = logging.getLogger("inference.drift")

# Interval at which the thread looks for waiting requests.
INTERVAL = 0.25
# The number of input values that are counted within some hundred microseconds.
QUICK = 10_000
# Limit for input values that wait to be counted; rows beyond it are skipped.
MOST_WAITING = 2_000_000
# Assumed size of a dimension of any size.
SOME = 256
# Requests that are counted together. More would stay in memory for so long that the next need new memory.
AT_A_TIME = 128
STEPS = 12
# With fewer rows there is no verdict on drift, however they are distributed.
LEAST_ROWS = 100


class Finding(NamedTuple):
    """The assessment of the recent values of an input or output.

    ``psi`` is their population stability index against training, or None if there are no values or no training
    counts. ``verdict`` is one of "drifted", "steady", "few rows" and "unknown". ``counts`` are by the bins of
    ``distribution``.
    """

    distribution: Distribution
    counts: Counts
    rows: int
    psi: float | None
    verdict: str

    @property
    def role(self) -> str:
        """Whether it is an input or an output."""
        return self.distribution.role

    @property
    def missing_share(self) -> float:
        """The share of missing values."""
        return self.distribution.missing(self.counts) / self.rows if self.rows else 0.0

    @property
    def outside_share(self) -> float:
        """The share of values outside the training range, or not among the training values."""
        return self.distribution.outside(self.counts) / self.rows if self.rows else 0.0


class Window:
    """The counts within the last ``seconds``, from the stored totals of one step ago, two steps ago, and so on."""

    def __init__(self, seconds: float, now: float, counts: Counts) -> None:
        self._step_seconds = seconds / STEPS
        self._step = self._step_of(now)
        self._past = deque([counts], maxlen=STEPS + 1)

    def _step_of(self, now: float) -> int:
        return int(now // self._step_seconds)

    def advance(self, now: float, counts: Counts) -> bool:
        """Store the counts if a step is over; return whether one is."""
        step = self._step_of(now)
        # Compare for inequality: a clock that was set back must not stop the window.
        if step == self._step:
            return False
        self._past += [counts] * min(max(step - self._step, 1), STEPS + 1)
        self._step = step
        return True

    def recent(self, counts: Counts) -> Counts:
        """Return the counts within the window."""
        return counts - self._past[0]


class Statistics:
    """Counts inputs and answers, and compares them with training."""

    def __init__(
        self, settings: Settings, card: ModelCard, distributions: Distributions, metrics: Metrics
    ) -> None:
        self.distributions = distributions
        self.settings = settings
        self._metrics = metrics
        self._is_on = settings.statistics == "on"
        width = len(card.columns) + sum(
            int(np.prod([size if size >= 0 else SOME for size in tensor.shape]))
            for tensor in card.tensors
        )
        self._most_rows = max(MOST_WAITING // max(width, 1), 1)
        self._quick_rows = QUICK // max(width, 1)
        self._waiting: deque[tuple[Inputs, Predictions]] = deque()
        # Requests with many rows, and the total of these rows.
        self._large: deque[tuple[Inputs, Predictions]] = deque()
        self._large_rows = 0
        self._awake = threading.Event()
        self._lock = threading.Lock()
        self._counting = threading.Lock()
        self._thread = Background("statistics", self._work)
        self._window = Window(settings.drift_window_seconds, time.time(), metrics.values())
        self._drifted: set[Distribution] = set()
        # Further periodic jobs, called with the time; they must be quick.
        self.jobs: list[Callable[[float], None]] = []

    def add(self, inputs: Inputs, predictions: Predictions) -> None:
        """Add an answered request; its arrays must not change afterwards."""
        if not self._is_on:
            return
        rows = len(predictions[0].values)
        if rows > self._quick_rows:
            self._add_many(inputs, predictions, rows)
            return
        waiting = self._waiting
        waiting.append((inputs, predictions))
        if len(waiting) < AT_A_TIME:
            return
        self.start()
        if self._counting.acquire(blocking=False):
            try:
                self._count_some()
            finally:
                self._counting.release()

    def _add_many(self, inputs: Inputs, predictions: Predictions, rows: int) -> None:
        """Queue a large request for the thread, unless too many rows wait for it already."""
        with self._lock:
            has_room = self._large_rows + rows <= self._most_rows
            if has_room:
                self._large_rows += rows
                self._large.append((inputs, predictions))
        if has_room:
            self.start()
            self._awake.set()
        else:
            self._metrics.count("skipped_rows", rows)

    def start(self) -> None:
        """Start the thread that counts requests."""
        self._thread.start()

    def flush(self) -> None:
        """Count all waiting requests."""
        with self._counting:
            while self._waiting:
                self._count_some()
            while self._large:
                inputs, predictions = self._large.popleft()
                with self._lock:
                    self._large_rows -= len(predictions[0].values)
                self._count([(inputs, predictions)])

    def _count_some(self) -> None:
        """Count some of the waiting small requests; the caller holds the counting lock."""
        size = min(len(self._waiting), AT_A_TIME)
        self._count([self._waiting.popleft() for _ in range(size)])

    def _count(self, answered: list[tuple[Inputs, Predictions]]) -> None:
        """Count the values of some requests; the caller holds the counting lock."""
        try:
            self._metrics.count_values(self.distributions.count(answered))
        except Exception:
            # A custom predictor may return anything; its requests have been answered.
            logger.exception("Could not count inputs and answers")

    def _work(self) -> None:
        while True:
            self._awake.wait(INTERVAL)
            self._awake.clear()
            try:
                self._look(time.time())
            except Exception:
                # The next run may succeed, and predictions do not depend on it.
                logger.exception("Could not update the statistics")

    def _look(self, now: float) -> None:
        """Count waiting requests, and do what is due."""
        self.flush()
        if self._window.advance(now, self._metrics.values()) and shared.is_first:
            self._tell()
        for job in self.jobs:
            job(now)

    def findings(self) -> list[Finding]:
        """Return the finding of each input and output, in the model's order."""
        self.flush()
        recent = self._window.recent(self._metrics.values())
        return [
            self._judge(each, counts)
            for each, counts in zip(
                self.distributions.all, self.distributions.part(recent), strict=True
            )
        ]

    def totals(self) -> dict[Distribution, Counts]:
        """Return the counts since the start, by the bins of each input and output."""
        parts = self.distributions.part(self._metrics.values())
        return dict(zip(self.distributions.all, parts, strict=True))

    def worst(self) -> list[Finding]:
        """Return the findings by decreasing distance, and then by the share of values missing or out of range."""
        return sorted(
            self.findings(),
            key=lambda each: (each.psi or 0, each.outside_share + each.missing_share),
            reverse=True,
        )

    def _judge(self, distribution: Distribution, counts: Counts) -> Finding:
        rows, expected = int(counts.sum()), distribution.expected
        if expected is None or not expected.sum():
            return Finding(distribution, counts, rows, None, "unknown")
        if not rows:
            return Finding(distribution, counts, rows, None, "few rows")
        index, chance = stability_index(expected, counts), chance_level(expected, counts)
        threshold = self.settings.drift_threshold
        verdict = "steady"
        if rows >= LEAST_ROWS and index > max(threshold, chance):
            verdict = "drifted"
        elif rows < LEAST_ROWS or chance > threshold:
            # Chance alone may explain the distance, or hide one.
            verdict = "few rows"
        return Finding(distribution, counts, rows, index, verdict)

    def _tell(self) -> None:
        """Log the inputs and outputs that have drifted since the last call, or no longer do."""
        for finding in self.findings():
            name, is_drifted = finding.distribution.name, finding.verdict == "drifted"
            was_drifted = finding.distribution in self._drifted
            if is_drifted == was_drifted or finding.verdict == "few rows":
                continue
            fields = {
                "name": name,
                "psi": finding.psi,
                "threshold": self.settings.drift_threshold,
                "rows": finding.rows,
                "missing_share": round(finding.missing_share, 4),
                "outside_share": round(finding.outside_share, 4),
            }
            if is_drifted:
                self._drifted.add(finding.distribution)
                logger.warning("%s has drifted from training", name, extra={"fields": fields})
            else:
                self._drifted.remove(finding.distribution)
                logger.info("%s no longer drifts from training", name, extra={"fields": fields})
