"""Prometheus metrics of the requests and of the model, added up over all workers."""

import collections
import os
import re
import time
from pathlib import Path

import numpy as np
from flask import Blueprint, Flask, Response, g, request
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from inference.card import ModelCard, Predict, Prediction

# Where the workers share their counts: set by __main__, read by prometheus_client when it is imported.
FOLDER = "PROMETHEUS_MULTIPROC_DIR"
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
# A client may send any word as a method; each label is kept for good.
METHODS = {"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"}
ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


class Metrics:
    """What this worker counts."""

    def __init__(self, card: ModelCard, version: str) -> None:
        self.registry = registry = CollectorRegistry()
        self.seconds = Histogram(
            "http_request_duration_seconds",
            "Seconds from a request to its answer.",
            ["method", "route", "status"],
            buckets=SECONDS,
            registry=registry,
        )
        self.in_flight = Gauge(
            "http_requests_in_flight",
            "Requests that are being answered.",
            multiprocess_mode="livesum",
            registry=registry,
        )
        self.rows = Histogram(
            "inference_request_rows", "Rows of a request.", buckets=ROWS, registry=registry
        )
        self.predictions = Counter(
            "inference_predictions", "Rows predicted, by class.", ["class"], registry=registry
        )
        self._classes = {name: self.predictions.labels(name) for name in card.classes}
        info = Gauge(
            "inference_model_info",
            "The model that is served.",
            ["name", "version", "trained_on"],
            multiprocess_mode="max",
            registry=registry,
        )
        info.labels(card.name, version, card.trained_on).set(1)

    def register(self, app: Flask) -> None:
        """Count each request of ``app``, and show the counts at ``/metrics``."""
        blueprint = Blueprint("metrics", __name__)
        blueprint.add_url_rule("/metrics", "metrics", self.expose)
        app.before_request(self.in_flight.inc)
        app.after_request(self.finish)
        app.register_blueprint(blueprint)

    def finish(self, response: Response) -> Response:
        """Count a request that is answered."""
        self.in_flight.dec()
        route = request.url_rule.rule if request.url_rule else "none"
        method = request.method if request.method in METHODS else "other"
        labels = self.seconds.labels(method, route, response.status_code)
        labels.observe(time.perf_counter() - g.started)
        return response

    def watch(self, predict: Predict) -> Predict:
        """``predict``, but its rows are counted, by class where the model has classes, and logged."""

        def watched(rows: NDArray[np.float32]) -> Prediction:
            g.rows = len(rows)
            prediction = predict(rows)
            self.rows.observe(len(rows))
            if self._classes:
                for name, count in collections.Counter(prediction.values).items():
                    self._classes[str(name)].inc(count)
            return prediction

        return watched

    def expose(self) -> Response:
        """Show the metrics of all workers."""
        registry = self.registry
        if folder := os.environ.get(FOLDER):
            forget_dead_workers(Path(folder))
            registry = CollectorRegistry()
            MultiProcessCollector(registry, folder)  # type: ignore[no-untyped-call]
        return Response(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)


def forget_dead_workers(folder: Path) -> None:
    """Drop what workers that are gone had in flight; their counts stay."""
    pids = {int(pid) for pid in re.findall(r"_(\d+)\.db\b", " ".join(os.listdir(folder)))}
    for pid in pids:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            mark_process_dead(pid, str(folder))  # type: ignore[no-untyped-call]
