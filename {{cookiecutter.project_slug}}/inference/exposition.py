"""The counts of the service as Prometheus' text (format 0.0.4)."""

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from inference.card import ModelCard
from inference.metrics import ROWS, SECONDS

CONTENT_TYPE = CONTENT_TYPE_LATEST


def to_text(counts: Any, routes: Sequence[str], card: ModelCard, version: str) -> bytes:
    """The text of the ``counts`` of ``Metrics``, whose requests are by the index of their route."""
    return generate_latest(Exposition(counts, routes, card, version))


class Exposition(Collector):
    """The counts of ``Metrics``, by name, with the names of what was counted."""

    def __init__(self, counts: Any, routes: Sequence[str], card: ModelCard, version: str) -> None:
        self._counts = counts
        self._routes = routes
        self._card = card
        self._version = version

    def collect(self) -> Iterator[Metric]:
        """Each metric, as prometheus_client takes it."""
        yield GaugeMetricFamily(
            "http_requests_in_flight",
            "Requests that are being answered.",
            self._counts["in_flight"],
        )
        requests = HistogramMetricFamily(
            "http_request_duration_seconds",
            "Seconds from a request to its answer.",
            labels=["route", "status"],
        )
        for route, by_status in zip(self._routes, self._counts["requests"], strict=True):
            for status in np.flatnonzero(by_status.any(axis=1)):
                requests.add_metric([route, str(status)], *histogram(SECONDS, by_status[status]))
        yield requests
        rows = HistogramMetricFamily("inference_request_rows", "Rows of a request.")
        rows.add_metric([], *histogram(ROWS, self._counts["rows"]))
        yield rows
        predictions = CounterMetricFamily(
            "inference_predictions", "Rows predicted, by class.", labels=["class"]
        )
        for name, count in zip(self._card.classes, self._counts["predictions"], strict=True):
            predictions.add_metric([name], count)
        yield predictions
        labels = {
            "name": self._card.name,
            "version": self._version,
            "trained_on": self._card.trained_on,
        }
        info = GaugeMetricFamily(
            "inference_model_info", "The model that is served.", labels=list(labels)
        )
        info.add_metric(list(labels.values()), 1)
        yield info
        measured = GaugeMetricFamily(
            "inference_model_metric",
            "What training measured of the model on held-out rows.",
            labels=["metric"],
        )
        for name, value in self._card.metrics.items():
            measured.add_metric([name], value)
        yield measured


def histogram(
    bounds: Sequence[float], counts: NDArray[np.float64]
) -> tuple[list[tuple[str, float]], float]:
    """The cumulated buckets of a histogram by their upper bounds, and its sum."""
    names = [*(str(float(bound)) for bound in bounds), "+Inf"]
    return list(zip(names, itertools.accumulate(counts[:-1]), strict=True)), counts[-1]
