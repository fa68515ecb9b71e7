"""What the inputs and answers look like against those of training, and whether they have drifted.

Requests leave their inputs and predictions here. Many are counted together, which costs each little, by the last that
came; a thread of each worker counts large ones, and what waits where nobody comes. All workers share the memory of the
counts. The window is the last hour, or as long as is set: each worker remembers what the counts were, a twelfth of it
apart. The first worker of all tells the log.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from inference.config import Settings
from inference.runtime.signature import Inputs, ModelCard, Predictions
from inference.watch.background import Background
from inference.watch.distributions import (
    Counts,
    Distribution,
    Distributions,
    chance_level,
    stability_index,
)
from inference.watch.metrics import Metrics, shared

logger = logging.getLogger("inference.drift")

# The thread looks for what waits.
INTERVAL = 0.25
# Numbers of inputs that are counted within some hundred microseconds.
QUICK = 10_000
# So many numbers of inputs wait to be counted; those of more rows are left out.
MOST_WAITING = 2_000_000
# Of a dimension of any size.
SOME = 256
# Requests that are counted together. More would be kept for so long that the next need other memory.
AT_A_TIME = 128
STEPS = 12
# With fewer rows there is no verdict, however they are distributed.
LEAST_ROWS = 100


class Finding(NamedTuple):
    """What is known of the recent values of an input or output.

    ``psi`` is their population stability index against training, None where there are no values or training's are
    not known. ``verdict`` is one of "drifted", "steady", "few rows" and "unknown". ``counts`` are by the bins of
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
        """The share of values out of the range of training, or not among its values."""
        return self.distribution.outside(self.counts) / self.rows if self.rows else 0.0


class Window:
    """The counts within the last ``seconds``, from what they were then, a step ago, two steps ago, and so on."""

    def __init__(self, seconds: float, now: float, counts: Counts) -> None:
        self._step_seconds = seconds / STEPS
        self._step = self._step_of(now)
        self._past = deque([counts], maxlen=STEPS + 1)

    def _step_of(self, now: float) -> int:
        return int(now // self._step_seconds)

    def advance(self, now: float, counts: Counts) -> bool:
        """Remember the counts where a step is over; say whether one is."""
        step = self._step_of(now)
        # A clock that was set back is no reason to wait.
        if step == self._step:
            return False
        self._past += [counts] * min(max(step - self._step, 1), STEPS + 1)
        self._step = step
        return True

    def recent(self, counts: Counts) -> Counts:
        """How much was counted within the window."""
        return counts - self._past[0]


class Statistics:
    """Counts what was asked and answered, and compares it with training."""

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
        # Each with many rows, and how many these are together.
        self._large: deque[tuple[Inputs, Predictions]] = deque()
        self._large_rows = 0
        self._awake = threading.Event()
        self._lock = threading.Lock()
        self._counting = threading.Lock()
        self._thread = Background("statistics", self._work)
        self._window = Window(settings.drift_window_seconds, time.time(), metrics.values())
        self._drifted: set[Distribution] = set()
        # Further periodic work, called with the time; it must be quick.
        self.jobs: list[Callable[[float], None]] = []

    def add(self, inputs: Inputs, predictions: Predictions) -> None:
        """Take a request that was answered; its arrays must not change any more."""
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
        """Leave a large request to the thread, unless too much waits for it already."""
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
        """Begin to count what nobody else does."""
        self._thread.start()

    def flush(self) -> None:
        """Count what waits."""
        with self._counting:
            while self._waiting:
                self._count_some()
            while self._large:
                inputs, predictions = self._large.popleft()
                with self._lock:
                    self._large_rows -= len(predictions[0].values)
                self._count([(inputs, predictions)])

    def _count_some(self) -> None:
        """Count some of the small requests that wait, as the only thread that does."""
        size = min(len(self._waiting), AT_A_TIME)
        self._count([self._waiting.popleft() for _ in range(size)])

    def _count(self, answered: list[tuple[Inputs, Predictions]]) -> None:
        """Count the values of some requests, as the only thread that does."""
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
                # The next time may be better, and who asks is answered without.
                logger.exception("Could not look at the statistics")

    def _look(self, now: float) -> None:
        """Count what waits, and do what is due."""
        self.flush()
        if self._window.advance(now, self._metrics.values()) and shared.is_first:
            self._tell()
        for job in self.jobs:
            job(now)

    def findings(self) -> list[Finding]:
        """What is known of each input and output, in the model's order."""
        self.flush()
        recent = self._window.recent(self._metrics.values())
        return [
            self._judge(each, counts)
            for each, counts in zip(
                self.distributions.all, self.distributions.part(recent), strict=True
            )
        ]

    def totals(self) -> dict[Distribution, Counts]:
        """What was counted since the start, by the bins of each input and output."""
        parts = self.distributions.part(self._metrics.values())
        return dict(zip(self.distributions.all, parts, strict=True))

    def worst(self) -> list[Finding]:
        """The findings, those of the greatest distance first, and what is missing or out of range before the rest."""
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
            # Chance alone may be the distance that there is, or hide one.
            verdict = "few rows"
        return Finding(distribution, counts, rows, index, verdict)

    def _tell(self) -> None:
        """Say in the log what has drifted since, or does no more."""
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
                logger.info("%s is as in training again", name, extra={"fields": fields})
