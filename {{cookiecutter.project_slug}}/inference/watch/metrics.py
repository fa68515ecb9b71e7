"""Counts of the requests and of the model's answers, added up over all workers.

Each worker counts in an array of its own, in memory that it shares with the others, and the one that is
asked reads them all: prometheus_client's own way to do so costs each request ten times as much.
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

from inference.runtime.signature import ModelCard, Predictions, class_names
from inference.watch.distributions import Counts, Distributions

if TYPE_CHECKING:
    from prometheus_client import core as prometheus

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
STATUSES = 600
# Of a histogram of seconds: its numbers, and the place of the sum among them.
SIZE = len(SECONDS) + 2
SUM = SIZE - 1
NO_ROUTE = "none"


class Shared:
    """Memory in which the workers of a service count, a part for each.

    It is no file, so neither a full /dev/shm nor a read-only disk is in its way. Memory that nobody
    writes to costs nothing.
    """

    # Of a worker: enough for some 200 routes and 10,000 inputs.
    SIZE = 2**24

    def __init__(self) -> None:
        self._memory: memoryview | None = None
        self._workers = 1
        self._worker = 0

    def allocate(self, workers: int) -> None:
        """Take memory for so many workers, before they are forked."""
        self._memory = memoryview(mmap.mmap(-1, workers * self.SIZE))
        self._workers = workers

    def choose(self, worker: int) -> None:
        """Count in the part of this worker, from 0."""
        self._worker = worker

    def take(self, layout: np.dtype[Any]) -> Any:
        """A record of ``layout`` for this worker: what its part holds, or zeros where none is shared."""
        if self._memory is None or layout.itemsize > self.SIZE:
            return np.zeros(1, layout)
        return self._record(layout, self._worker)

    def all(self, layout: np.dtype[Any]) -> list[Any]:
        """The records of all workers, none where nothing is shared."""
        if self._memory is None or layout.itemsize > self.SIZE:
            return []
        return [self._record(layout, worker) for worker in range(self._workers)]

    @property
    def is_first(self) -> bool:
        """Whether this worker is the one that speaks for all."""
        return self._worker == 0

    def _record(self, layout: np.dtype[Any], worker: int) -> Any:
        return np.frombuffer(self._memory or b"", layout, 1, worker * self.SIZE)


shared = Shared()


class Metrics:
    """What this worker counts: requests by the routes of ``app`` and status, rows, predictions by class.

    All are numbers of one array. A histogram has one for each bucket, one for what is above them, and
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
        # An item of a memoryview takes half the time of one of an array.
        self._cells: memoryview[float] = memoryview(self._counts.view(float))
        offsets = {name: place[1] // 8 for name, place in (self._layout.fields or {}).items()}
        self._offsets = offsets
        self._in_flight = offsets["in_flight"]
        self._rows, self._requests = offsets["rows"], offsets["requests"]
        self._sum_of_rows = self._rows + len(ROWS) + 1
        self._no_route = self._routes[NO_ROUTE]
        # The place of each class's count, for each output.
        places = itertools.count(offsets["predictions"])
        self._classes = [dict(zip(output.classes, places, strict=False)) for output in card.outputs]
        # Requests in flight died with the previous worker.
        self._cells[self._in_flight] = 0
        self._lock = threading.Lock()
        # Further metrics, from other modules.
        self.more: Callable[[], Iterable[prometheus.Metric]] = lambda: ()

    def enter(self) -> None:
        """Count a request that came."""
        with self._lock:
            self._cells[self._in_flight] += 1

    def leave(self, route: str, status: int, seconds: float, predictions: Predictions) -> None:
        """Count a request as answered."""
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
                        # One that the card does not know is the predictor's mistake, not the request's.
                        if value in classes:
                            cells[classes[value]] += 1

    def count(self, name: str, number: int = 1) -> None:
        """Count what has one number: dropped_lines of the log; skipped_rows, sampled_rows and unsampled_rows."""
        with self._lock:
            self._cells[self._offsets[name]] += number

    def count_values(self, values: Counts) -> None:
        """Count the values of inputs and outputs, as ``Distributions`` has them."""
        # No other thread of this worker does.
        self._counts["values"][0] += values

    def values(self) -> Counts:
        """The values of inputs and outputs that all workers counted."""
        total: Counts = np.sum([counts["values"][0] for counts in self._all], axis=0)
        return total

    def requests(self, routes: Sequence[str]) -> Counts:
        """The requests to some routes by status and seconds: an array of shape (STATUSES, SIZE)."""
        places = [self._routes[route] for route in routes]
        total: Counts = np.sum(
            [counts["requests"][0, places].sum(axis=0) for counts in self._all], axis=0
        )
        return total

    def expose(self) -> Response:
        """Show the metrics of all workers."""
        # Imported when it is wanted: it takes a tenth of the start.
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
    """The ``counts`` of ``Metrics``, whose requests are by the index of their route, as metrics."""
    from prometheus_client import core as prometheus

    yield prometheus.GaugeMetricFamily(
        "http_requests_in_flight", "Requests that are being answered.", counts["in_flight"]
    )
    yield prometheus.CounterMetricFamily(
        "log_dropped_lines", "Lines of the log that nobody read.", counts["dropped_lines"]
    )
    yield prometheus.CounterMetricFamily(
        "inference_skipped_rows",
        "Rows that are in no statistics, since too many came at once.",
        counts["skipped_rows"],
    )
    sample = prometheus.CounterMetricFamily(
        "inference_sample_rows", "Rows that the sample was to keep.", labels=["result"]
    )
    sample.add_metric(["kept"], counts["sampled_rows"])
    sample.add_metric(["dropped"], counts["unsampled_rows"])
    yield sample
    requests = prometheus.HistogramMetricFamily(
        "http_request_duration_seconds",
        "Seconds from a request, once all of it is there, to its answer.",
        labels=["route", "status"],
    )
    for route, by_status in zip(routes, counts["requests"], strict=True):
        for status in np.flatnonzero(by_status.any(axis=1)):
            requests.add_metric([route, str(status)], *histogram(SECONDS, by_status[status]))
    yield requests
    yield prometheus.HistogramMetricFamily(
        "inference_request_rows", "Rows of a request.", *histogram(ROWS, counts["rows"])
    )
    # A label that is always the same would only be in the way.
    labels = ["output", "class"] if len(card.outputs) > 1 else ["class"]
    predictions = prometheus.CounterMetricFamily(
        "inference_predictions", "Rows predicted, by class.", labels=labels
    )
    names = [[output.name, name] for output in card.outputs for name in class_names(output)]
    for both, count in zip(names, counts["predictions"], strict=True):
        predictions.add_metric(both[-len(labels) :], count)
    yield predictions
    model = {"name": card.name, "version": version, "trained_on": card.trained_on}
    yield prometheus.InfoMetricFamily("inference_model", "The model that is served.", model)
    measured = prometheus.GaugeMetricFamily(
        "inference_model_metric",
        "What training measured of the model on held-out rows.",
        labels=["metric"],
    )
    for name, value in card.metrics.items():
        measured.add_metric([name], value)
    yield measured


def histogram(
    bounds: Sequence[float], counts: NDArray[np.float64]
) -> tuple[list[tuple[str, float]], float]:
    """The cumulated buckets of a histogram by their upper bounds, and its sum."""
    names = [*(str(float(bound)) for bound in bounds), "+Inf"]
    return list(zip(names, itertools.accumulate(counts[:-1]), strict=True)), counts[-1]
