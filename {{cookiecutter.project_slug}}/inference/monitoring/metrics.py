"""Counts of requests and of the model's answers, summed over all workers.

Each worker counts in its own array, in memory shared with the others, and the worker that serves
``/metrics`` reads them all: the multiprocess mode of prometheus_client costs each request ten times as much.
"""

import itertools
import mmap
import threading
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
from flask import Flask, Response
from numpy.typing import NDArray

from inference.monitoring.distributions import Counts, Distributions
from inference.runtime.signature import ModelCard, Predictions, class_names

if TYPE_CHECKING:
    from prometheus_client import core as prometheus

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
STATUSES = 600
# The length of a histogram of seconds, and the index of the sum in it.
SIZE = len(SECONDS) + 2
SUM = SIZE - 1
NO_ROUTE = "none"


class Shared:
    """Shared memory for the counts of all workers, with a part for each.

    It is not a file, so neither a full /dev/shm nor a read-only disk affects it. Pages that are never
    written to cost nothing.
    """

    # Bytes per worker: enough for some 200 routes and 10,000 inputs.
    SIZE = 2**24

    def __init__(self) -> None:
        self._memory: memoryview | None = None
        self._workers = 1
        self._worker = 0

    def allocate(self, workers: int) -> None:
        """Allocate memory for that many workers, before they are forked."""
        self._memory = memoryview(mmap.mmap(-1, workers * self.SIZE))
        self._workers = workers

    def choose(self, worker: int) -> None:
        """Select the part of this worker, numbered from 0."""
        self._worker = worker

    def take(self, layout: np.dtype[Any]) -> Any:
        """Return this worker's part as a record of ``layout``, or a record of zeros if nothing is shared."""
        if self._memory is None or layout.itemsize > self.SIZE:
            return np.zeros(1, layout)
        return self._record(layout, self._worker)

    def all(self, layout: np.dtype[Any]) -> list[Any]:
        """Return the records of all workers, or none if nothing is shared."""
        if self._memory is None or layout.itemsize > self.SIZE:
            return []
        return [self._record(layout, worker) for worker in range(self._workers)]

    @property
    def is_first(self) -> bool:
        """Whether this worker is the one that reports for all."""
        return self._worker == 0

    def _record(self, layout: np.dtype[Any], worker: int) -> Any:
        return np.frombuffer(self._memory or b"", layout, 1, worker * self.SIZE)


shared = Shared()


class Metrics:
    """The counts of this worker: requests by route of ``app`` and status, rows, predictions by class.

    All counts are in one array. A histogram has one number for each bucket, one for values above them, and
    one for the sum.
    """

    def __init__(
        self, app: Flask, card: ModelCard, version: str, distributions: Distributions
    ) -> None:
        app.add_url_rule("/metrics", "metrics", self.expose)
        routes = dict.fromkeys(rule.rule for rule in app.url_map.iter_rules())
        self._card = card
        self._version = version
        self._routes = {route: index for index, route in enumerate([*routes, NO_ROUTE])}
        self._layout = np.dtype(
            [
                ("in_flight", float),
                ("dropped_lines", float),
                ("rows", float, len(ROWS) + 2),
                ("predictions", float, sum(len(output.classes) for output in card.outputs)),
                ("requests", float, (len(self._routes), STATUSES, SIZE)),
                ("skipped_rows", float),
                ("sampled_rows", float),
                ("unsampled_rows", float),
                ("values", float, distributions.size),
            ]
        )
        self._counts = shared.take(self._layout)
        self._all = shared.all(self._layout) or [self._counts]
        # Accessing an item of a memoryview takes half the time of an array.
        self._cells: memoryview[float] = memoryview(self._counts.view(float))
        offsets = {name: place[1] // 8 for name, place in (self._layout.fields or {}).items()}
        self._offsets = offsets
        self._in_flight = offsets["in_flight"]
        self._rows, self._requests = offsets["rows"], offsets["requests"]
        self._sum_of_rows = self._rows + len(ROWS) + 1
        self._no_route = self._routes[NO_ROUTE]
        # The index of each class's count, for each output.
        places = itertools.count(offsets["predictions"])
        self._classes = [dict(zip(output.classes, places, strict=False)) for output in card.outputs]
        # Requests in flight died with the previous worker.
        self._cells[self._in_flight] = 0
        self._lock = threading.Lock()
        # Further metrics, from other modules.
        self.more: Callable[[], Iterable[prometheus.Metric]] = lambda: ()

    def enter(self) -> None:
        """Count a request as in flight."""
        with self._lock:
            self._cells[self._in_flight] += 1

    def leave(self, route: str, status: int, seconds: float, predictions: Predictions) -> None:
        """Count a request as finished."""
        cells = self._cells
        index = self._routes.get(route, self._no_route)
        first = self._requests + (index * STATUSES + status) * SIZE
        with self._lock:
            cells[self._in_flight] -= 1
            cells[first + bisect_left(SECONDS, seconds)] += 1
            cells[first + SUM] += seconds
            if not predictions:
                return
            rows = len(predictions[0].values)
            cells[self._rows + bisect_left(ROWS, rows)] += 1
            cells[self._sum_of_rows] += rows
            for classes, prediction in zip(self._classes, predictions, strict=True):
                if classes:
                    for value in prediction.values:
                        # A class that is not on the card is the predictor's mistake, not the request's.
                        if value in classes:
                            cells[classes[value]] += 1

    def count(self, name: str, number: int = 1) -> None:
        """Increase a single counter: dropped_lines of the log, skipped_rows, sampled_rows or unsampled_rows."""
        with self._lock:
            self._cells[self._offsets[name]] += number

    def count_values(self, values: Counts) -> None:
        """Add counts of the values of inputs and outputs, in the layout of ``Distributions``."""
        # No lock: callers ensure that only one thread of this worker does this at a time.
        self._counts["values"][0] += values

    def values(self) -> Counts:
        """Return the counts of the values of inputs and outputs, summed over all workers."""
        total: Counts = np.sum([counts["values"][0] for counts in self._all], axis=0)
        return total

    def requests(self, routes: Sequence[str]) -> Counts:
        """Return the requests to some routes by status and seconds, as an array of shape (STATUSES, SIZE)."""
        places = [self._routes[route] for route in routes]
        total: Counts = np.sum(
            [counts["requests"][0, places].sum(axis=0) for counts in self._all], axis=0
        )
        return total

    def expose(self) -> Response:
        """Show the metrics of all workers."""
        # Imported only when needed: it takes a tenth of the startup time.
        from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

        total = sum(counts.view(float) for counts in self._all)
        counts = total.view(self._layout)[0]

        def metrics() -> "Iterator[prometheus.Metric]":
            yield from collect(counts, list(self._routes), self._card, self._version)
            yield from self.more()

        registry: Any = SimpleNamespace(collect=metrics)
        return Response(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)


def collect(
    counts: Any, routes: Sequence[str], card: ModelCard, version: str
) -> "Iterator[prometheus.Metric]":
    """Yield the ``counts`` of ``Metrics`` as metrics; ``routes`` are in the order of its requests."""
    from prometheus_client import core as prometheus

    yield prometheus.GaugeMetricFamily(
        "http_requests_in_flight", "Requests in flight.", counts["in_flight"]
    )
    yield prometheus.CounterMetricFamily(
        "log_dropped_lines", "Log lines dropped for lack of a reader.", counts["dropped_lines"]
    )
    yield prometheus.CounterMetricFamily(
        "inference_skipped_rows",
        "Rows left out of the statistics because too many arrived at once.",
        counts["skipped_rows"],
    )
    sample = prometheus.CounterMetricFamily(
        "inference_sample_rows", "Rows chosen for the sample.", labels=["result"]
    )
    sample.add_metric(["kept"], counts["sampled_rows"])
    sample.add_metric(["dropped"], counts["unsampled_rows"])
    yield sample
    requests = prometheus.HistogramMetricFamily(
        "http_request_duration_seconds",
        "Seconds from receiving a complete request to its response.",
        labels=["route", "status"],
    )
    for route, by_status in zip(routes, counts["requests"], strict=True):
        for status in np.flatnonzero(by_status.any(axis=1)):
            requests.add_metric([route, str(status)], *histogram(SECONDS, by_status[status]))
    yield requests
    yield prometheus.HistogramMetricFamily(
        "inference_request_rows", "Rows of a request.", *histogram(ROWS, counts["rows"])
    )
    # A label with only one value would just be noise.
    labels = ["output", "class"] if len(card.outputs) > 1 else ["class"]
    predictions = prometheus.CounterMetricFamily(
        "inference_predictions", "Rows predicted, by class.", labels=labels
    )
    names = [[output.name, name] for output in card.outputs for name in class_names(output)]
    for both, count in zip(names, counts["predictions"], strict=True):
        predictions.add_metric(both[-len(labels) :], count)
    yield predictions
    model = {"name": card.name, "version": version, "trained_on": card.trained_on}
    yield prometheus.InfoMetricFamily("inference_model", "The served model.", model)
    measured = prometheus.GaugeMetricFamily(
        "inference_model_metric",
        "Metrics of the model on held-out rows, measured in training.",
        labels=["metric"],
    )
    for name, value in card.metrics.items():
        measured.add_metric([name], value)
    yield measured


def histogram(
    bounds: Sequence[float], counts: NDArray[np.float64]
) -> tuple[list[tuple[str, float]], float]:
    """Return the cumulative buckets of a histogram by their upper bounds, and its sum."""
    names = [*(str(float(bound)) for bound in bounds), "+Inf"]
    return list(zip(names, itertools.accumulate(counts[:-1]), strict=True)), counts[-1]
