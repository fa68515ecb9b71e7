"""The counts of the service as Prometheus' text."""

import itertools
from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client import core as prometheus

from inference.card import ModelCard
from inference.metrics import ROWS, SECONDS

CONTENT_TYPE = CONTENT_TYPE_LATEST


def to_text(counts: Any, routes: Sequence[str], card: ModelCard, version: str) -> bytes:
    """The text of the ``counts`` of ``Metrics``, whose requests are by the index of their route."""
    registry: Any = SimpleNamespace(collect=lambda: collect(counts, routes, card, version))
    return generate_latest(registry)


def collect(
    counts: Any, routes: Sequence[str], card: ModelCard, version: str
) -> Iterator[prometheus.Metric]:
    """Each metric, as prometheus_client takes it."""
    yield prometheus.GaugeMetricFamily(
        "http_requests_in_flight", "Requests that are being answered.", counts["in_flight"]
    )
    requests = prometheus.HistogramMetricFamily(
        "http_request_duration_seconds",
        "Seconds from a request, once a thread has it, to its answer.",
        labels=["route", "status"],
    )
    for route, by_status in zip(routes, counts["requests"], strict=True):
        for status in np.flatnonzero(by_status.any(axis=1)):
            requests.add_metric([route, str(status)], *histogram(SECONDS, by_status[status]))
    yield requests
    yield prometheus.HistogramMetricFamily(
        "inference_request_rows", "Rows of a request.", *histogram(ROWS, counts["rows"])
    )
    predictions = prometheus.CounterMetricFamily(
        "inference_predictions", "Rows predicted, by class.", labels=["class"]
    )
    for name, count in zip(card.classes, counts["predictions"], strict=True):
        predictions.add_metric([name], count)
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
