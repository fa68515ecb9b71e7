"""Prometheus metrics of the requests and of the model, added up over all workers.

Each worker counts in a file of its own, in shared memory, and the one that is asked reads them all:
prometheus_client's own way to do so costs each request ten times as much.
"""

import itertools
import mmap
import os
import tempfile
import threading
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from flask import Flask, Response
from numpy.typing import NDArray
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from inference.call import call
from inference.card import ModelCard, Predict, Prediction

# The environment variable that names the folder in which workers share their counts.
FOLDER = "METRICS_FOLDER"
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
STATUSES = 600
NO_ROUTE = "none"


class Metrics(Collector):
    """What this worker counts: requests by the routes of ``app`` and status, rows, predictions by class.

    All are numbers of one array. A histogram has one for each bucket, one for what is above them, and
    one for the sum.
    """

    def __init__(self, app: Flask, card: ModelCard, version: str) -> None:
        app.add_url_rule("/metrics", "metrics", self.expose)
        routes = dict.fromkeys(rule.rule for rule in app.url_map.iter_rules())
        self._card = card
        self._version = version
        self._routes = {route: index for index, route in enumerate([*routes, NO_ROUTE])}
        self._layout = np.dtype(
            [
                ("in_flight", float),
                ("rows", float, len(ROWS) + 2),
                ("predictions", float, len(card.classes)),
                ("requests", float, (len(self._routes), STATUSES, len(SECONDS) + 2)),
            ]
        )
        offsets = {name: field[1] // 8 for name, field in (self._layout.fields or {}).items()}
        self._rows, self._requests = offsets["rows"], offsets["requests"]
        self._classes: dict[str | float, int] = {
            name: offsets["predictions"] + i for i, name in enumerate(card.classes)
        }
        self._counts = share(self._layout.itemsize)
        self._lock = threading.Lock()
        self._registry = CollectorRegistry()
        self._registry.register(self)

    def enter(self) -> None:
        """Count a request that came."""
        with self._lock:
            self._counts[0] += 1

    def leave(self, status: int, seconds: float) -> None:
        """Count the current request as answered."""
        route = self._routes.get(call.route, len(self._routes) - 1)
        start = self._requests + (route * STATUSES + status) * (len(SECONDS) + 2)
        with self._lock:
            self._counts[0] -= 1
            self._counts[start + bisect_left(SECONDS, seconds)] += 1
            self._counts[start + len(SECONDS) + 1] += seconds

    def watch(self, predict: Predict) -> Predict:
        """``predict``, but its rows are counted, by class where the model has classes, and logged."""

        def watched(rows: NDArray[np.float32]) -> Prediction:
            call.rows = len(rows)
            prediction = predict(rows)
            with self._lock:
                self._counts[self._rows + bisect_left(ROWS, len(rows))] += 1
                self._counts[self._rows + len(ROWS) + 1] += len(rows)
                if self._classes:
                    for name in prediction.values:
                        self._counts[self._classes[name]] += 1
            return prediction

        return watched

    def expose(self) -> Response:
        """Show the metrics of all workers."""
        return Response(generate_latest(self._registry), content_type=CONTENT_TYPE_LATEST)

    def collect(self) -> Iterator[Metric]:
        """The sums over all workers, as prometheus_client takes them."""
        counts = self._add_up()
        yield GaugeMetricFamily(
            "http_requests_in_flight", "Requests that are being answered.", counts["in_flight"]
        )
        requests = HistogramMetricFamily(
            "http_request_duration_seconds",
            "Seconds from a request to its answer.",
            labels=["route", "status"],
        )
        for route, index in self._routes.items():
            for status in np.flatnonzero(counts["requests"][index].any(axis=1)):
                buckets, total = histogram(SECONDS, counts["requests"][index, status])
                requests.add_metric([route, str(status)], buckets, total)
        yield requests
        rows = HistogramMetricFamily("inference_request_rows", "Rows of a request.")
        rows.add_metric([], *histogram(ROWS, counts["rows"]))
        yield rows
        predictions = CounterMetricFamily(
            "inference_predictions", "Rows predicted, by class.", labels=["class"]
        )
        for name, count in zip(self._card.classes, counts["predictions"], strict=True):
            predictions.add_metric([name], count)
        yield predictions
        info = GaugeMetricFamily(
            "inference_model_info",
            "The model that is served.",
            labels=["name", "version", "trained_on"],
        )
        info.add_metric([self._card.name, self._version, self._card.trained_on], 1)
        yield info

    def _add_up(self) -> Any:
        """The counts of all workers, by name; what one that is gone had in flight is dropped."""
        folder = os.environ.get(FOLDER)
        if folder is None:
            return np.array(self._counts).view(self._layout)[0]
        total = np.zeros(len(self._counts))
        for file in Path(folder).iterdir():
            counts = np.fromfile(file)
            # Empty while its worker starts.
            if len(counts):
                counts[0] *= is_alive(int(file.name.partition("-")[0]))
                total += counts
        return total.view(self._layout)[0]


def histogram(
    bounds: Sequence[float], counts: NDArray[np.float64]
) -> tuple[list[tuple[str, float]], float]:
    """The cumulated buckets of a histogram by their upper bounds, and its sum."""
    names = [*(str(float(bound)) for bound in bounds), "+Inf"]
    return list(zip(names, itertools.accumulate(counts[:-1]), strict=True)), counts[-1]


def share(size: int) -> "memoryview[float]":
    """Numbers of ``size`` bytes, 0 at first, which other workers can read where there is a folder for it."""
    folder = os.environ.get(FOLDER)
    if folder is None:
        return memoryview(bytearray(size)).cast("d")
    with tempfile.NamedTemporaryFile(dir=folder, prefix=f"{os.getpid()}-", delete=False) as file:
        file.truncate(size)
        return memoryview(mmap.mmap(file.fileno(), size)).cast("d")


def is_alive(pid: int) -> bool:
    """Whether there is such a process."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
