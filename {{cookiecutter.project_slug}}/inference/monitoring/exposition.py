"""Exports of the statistics: to Prometheus, CloudWatch, and the monitoring page."""

import itertools
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from inference.monitoring import logs
from inference.monitoring.distributions import Counts, Distribution
from inference.monitoring.metrics import SECONDS, SUM, Metrics, shared
from inference.monitoring.statistics import LEAST_ROWS, Finding, Statistics

if TYPE_CHECKING:
    from prometheus_client import core as prometheus

# The number of inputs with series of their own, those farthest from training; the others share series.
MOST_NAMED = 20
OTHERS = "(others)"
# Limit for the inputs and outputs on the page.
MOST_SHOWN = 100
# Limit for the inputs and outputs in CloudWatch, which charges for each.
MOST_IN_CLOUDWATCH = 10
MINUTE = 60
PERCENTILES = (50, 99)


def collect(statistics: Statistics) -> "Iterator[prometheus.Metric]":
    """Yield the counts since the start, and the distance from training within the window, as metrics."""
    worst = statistics.worst()
    totals = statistics.totals()
    for role in ("input", "output"):
        yield from collect_role(role, [each for each in worst if each.role == role], totals)


def collect_role(
    role: str, worst: Sequence[Finding], totals: dict[Distribution, Counts]
) -> "Iterator[prometheus.Metric]":
    """Yield the metrics of the inputs, or of the outputs."""
    from prometheus_client import core as prometheus

    named, others = worst[:MOST_NAMED], worst[MOST_NAMED:]
    index = prometheus.GaugeMetricFamily(
        f"inference_{role}_psi",
        "Population stability index of the rows within the window against training.",
        labels=[role],
    )
    values = prometheus.HistogramMetricFamily(
        f"inference_{role}_values",
        "Values by the bins of training: numbers, characters of text, means of tensors.",
        labels=[role],
    )
    categories = prometheus.CounterMetricFamily(
        f"inference_{role}_categories", "Values by category or class.", labels=[role, "value"]
    )
    missing = prometheus.CounterMetricFamily(
        f"inference_{role}_missing", "Missing values.", labels=[role]
    )
    outside = prometheus.CounterMetricFamily(
        f"inference_{role}_outside",
        "Values outside the training range, or not among the training values.",
        labels=[role],
    )
    for distribution, number in [(each.distribution, each.psi) for each in named]:
        name, counts = distribution.name, totals[distribution]
        if number is not None:
            index.add_metric([name], number)
        if distribution.values:
            for label, count in zip(distribution.labels, counts[:-1], strict=False):
                categories.add_metric([name, label], count)
        else:
            bounds = [*map(str, map(float, distribution.edges[1:])), "+Inf"]
            _, *buckets = itertools.accumulate(counts[:-1])
            values.add_metric([name], list(zip(bounds, buckets, strict=True)), sum_value=None)
        missing.add_metric([name], distribution.missing(counts))
        outside.add_metric([name], distribution.outside(counts))
    if others:
        rest = [(each.distribution, totals[each.distribution]) for each in others]
        missing.add_metric([OTHERS], sum(one.missing(counts) for one, counts in rest))
        outside.add_metric([OTHERS], sum(one.outside(counts) for one, counts in rest))
    rows = prometheus.GaugeMetricFamily(
        f"inference_{role}_window_rows",
        "Rows within the window.",
        max((each.rows for each in worst), default=0),
    )
    drifted = prometheus.GaugeMetricFamily(
        f"inference_{role}_drifted",
        f"Number of {role}s that have drifted from training.",
        sum(each.verdict == "drifted" for each in worst),
    )
    yield from (index, values, categories, missing, outside, rows, drifted)


class CloudWatch:
    """Writes metrics to the log once a minute, in CloudWatch's embedded metric format.

    CloudWatch Logs turns the lines into metrics, without an agent or a permission. ``routes`` are those for
    predictions: health checks do not count as traffic.
    """

    def __init__(
        self,
        namespace: str,
        release: str,
        metrics: Metrics,
        statistics: Statistics,
        routes: Sequence[str],
    ) -> None:
        self._namespace = namespace
        self._release = release
        self._metrics = metrics
        self._statistics = statistics
        self._routes = routes
        self._minute = time.time() // MINUTE
        self._before = metrics.requests(routes)

    def tick(self, now: float) -> None:
        """Write the metrics of the last minute if it is over."""
        if now // MINUTE != self._minute:
            self._minute = now // MINUTE
            if shared.is_first:
                for line in self.lines(now):
                    logs.writer.write(line)

    def lines(self, now: float) -> list[bytes]:
        """Return the lines since the last call: one for the service, one for each of the worst inputs or outputs."""
        requests = self._metrics.requests(self._routes)
        recent, self._before = requests - self._before, requests
        findings = self._statistics.worst()
        values: dict[str, tuple[float, str]] = {
            "Requests": (recent[:, :SUM].sum(), "Count"),
            "ClientErrors": (recent[400:500, :SUM].sum(), "Count"),
            "ServerErrors": (recent[500:, :SUM].sum(), "Count"),
        }
        if recent.any():
            by_seconds = recent[:, :SUM].sum(axis=0)
            values |= {
                f"LatencyP{percent}": (1000 * percentile(by_seconds, percent), "Milliseconds")
                for percent in PERCENTILES
            }
        values["DriftedInputs"] = (count_drifted(findings, "input"), "Count")
        values["DriftedOutputs"] = (count_drifted(findings, "output"), "Count")
        lines = [self._line(now, {}, values, {"Release": self._release})]
        judged = [each for each in findings if each.verdict in ("drifted", "steady")]
        for each in judged[:MOST_IN_CLOUDWATCH]:
            more = {
                "verdict": each.verdict,
                "rows": each.rows,
                "missing_share": each.missing_share,
                "outside_share": each.outside_share,
            }
            of = {each.role.capitalize(): to_dimension(each.distribution.name)}
            lines.append(self._line(now, of, {"Drift": (each.psi or 0, "None")}, more))
        return lines

    def _line(
        self,
        now: float,
        dimensions: dict[str, str],
        values: dict[str, tuple[float, str]],
        more: dict[str, Any],
    ) -> bytes:
        metrics = [{"Name": name, "Unit": unit} for name, (_, unit) in values.items()]
        dimensions = {"Service": self._namespace} | dimensions
        about = [self._directive(list(dimensions), metrics)]
        if "Requests" in values:
            # Requests by release show which release replaced which, and when.
            about.append(self._directive(["Service", "Release"], metrics[:1]))
        numbers = {name: float(value) for name, (value, _) in values.items()}
        head = {"_aws": {"Timestamp": int(now * 1000), "CloudWatchMetrics": about}}
        return logs.to_line("INFO", "inference.metrics", head | dimensions | numbers | more)

    def _directive(self, dimensions: list[str], metrics: list[dict[str, str]]) -> dict[str, Any]:
        return {"Namespace": self._namespace, "Dimensions": [dimensions], "Metrics": metrics}


def to_dimension(name: str) -> str:
    """Convert a name to a dimension value: ASCII, no leading colon, at most 1,024 characters."""
    return name.encode("ascii", "backslashreplace").decode().lstrip(":")[:1024] or "-"


def count_drifted(findings: Sequence[Finding], role: str) -> int:
    """Return the number of inputs, or outputs, that have drifted."""
    return sum(each.role == role and each.verdict == "drifted" for each in findings)


def percentile(counts: Counts, percent: float) -> float:
    """Return a percentile of the request durations in seconds, interpolated linearly within a bucket.

    ``counts`` are by the buckets of ``SECONDS``, and one above, for which only the lower bound is known.
    """
    bounds = np.array([0.0, *SECONDS, SECONDS[-1]])
    reached = np.concatenate([[0], np.cumsum(counts)])
    return float(np.interp(percent / 100 * reached[-1], reached, bounds))


class Described(msgspec.Struct):
    """An input or output in ``/monitor.json``; the shares are by the bins in ``labels``."""

    name: str
    role: str
    measured: str
    verdict: str
    psi: float | None
    rows: int
    missing_share: float
    outside_share: float
    labels: list[str]
    training: list[float]
    recent: list[float]


class Monitored(msgspec.Struct):
    """The content of ``/monitor.json``: the worst of ``total`` inputs and outputs, the very worst first."""

    is_on: bool
    window_seconds: int
    threshold: float
    least_rows: int
    total: int
    drifted: int
    found: list[Described]


def describe(finding: Finding) -> Described:
    """Return a finding with both histograms as shares, without the outer bins that are empty in both."""
    distribution = finding.distribution
    expected = distribution.expected
    if expected is None:
        expected = np.zeros(distribution.size)
    # Show the bins outside the training range only if they have counts.
    shown = (expected > 0) | (finding.counts > 0)
    inner = slice(0, -2) if distribution.values else slice(1, -2)
    shown[inner] = True
    labels = list(itertools.compress(distribution.labels, shown))
    return Described(
        name=distribution.name,
        role=finding.role,
        measured=distribution.measured,
        verdict=finding.verdict,
        psi=finding.psi,
        rows=finding.rows,
        missing_share=finding.missing_share,
        outside_share=finding.outside_share,
        labels=labels,
        training=to_shares(expected)[shown].tolist(),
        recent=to_shares(finding.counts)[shown].tolist(),
    )


def to_shares(counts: Counts) -> Counts:
    """Return the share of each bin, or zeros if there are no counts."""
    shares: Counts = counts / max(counts.sum(), 1)
    return shares


def look(statistics: Statistics) -> Monitored:
    """Return the state of all inputs and outputs."""
    worst = statistics.worst()
    return Monitored(
        is_on=statistics.settings.statistics == "on",
        window_seconds=statistics.settings.drift_window_seconds,
        threshold=statistics.settings.drift_threshold,
        least_rows=LEAST_ROWS,
        total=len(worst),
        drifted=sum(each.verdict == "drifted" for each in worst),
        found=[describe(each) for each in worst[:MOST_SHOWN]],
    )
