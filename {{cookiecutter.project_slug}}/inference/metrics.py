"""Counts of the requests and of the model's answers, added up over all workers.

Each worker counts in a file of its own, in shared memory, and the one that is asked reads them all:
prometheus_client's own way to do so costs each request ten times as much.
"""

import mmap
import os
import tempfile
import threading
from bisect import bisect_left
from pathlib import Path
from typing import Any

import numpy as np
from flask import Flask, Response

from inference.call import Call
from inference.card import ModelCard
from inference.config import METRICS_FOLDER

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
STATUSES = 600
NO_ROUTE = "none"


class Metrics:
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
        self._classes: dict[str | float, int] = {name: i for i, name in enumerate(card.classes)}
        self._counts = share(self._layout)
        self._in_flight = self._counts["in_flight"]
        self._rows = self._counts["rows"][0]
        self._predictions = self._counts["predictions"][0]
        self._requests = self._counts["requests"][0]
        self._lock = threading.Lock()

    def enter(self) -> None:
        """Count a request that came."""
        with self._lock:
            self._in_flight[0] += 1

    def leave(self, call: Call, status: int, seconds: float) -> None:
        """Count a request as answered."""
        route = self._routes.get(call.route, self._routes[NO_ROUTE])
        predictions = call.predictions
        with self._lock:
            self._in_flight[0] -= 1
            self._requests[route, status, bisect_left(SECONDS, seconds)] += 1
            self._requests[route, status, -1] += seconds
            if predictions:
                rows = len(predictions)
                self._rows[bisect_left(ROWS, rows)] += 1
                self._rows[-1] += rows
            if self._classes:
                for name in predictions:
                    # One that the card does not know is the predictor's mistake, not the request's.
                    if name in self._classes:
                        self._predictions[self._classes[name]] += 1

    def is_busy(self) -> bool:
        """Whether this worker has requests that are not answered yet."""
        return bool(self._in_flight[0])

    def expose(self) -> Response:
        """Show the metrics of all workers."""
        # Imported when it is wanted: it takes a tenth of the start.
        from inference import exposition

        counts = self._add_up()
        text = exposition.to_text(counts, list(self._routes), self._card, self._version)
        return Response(text, content_type=exposition.CONTENT_TYPE)

    def _add_up(self) -> Any:
        """The counts of all workers, by name; what one that is gone had in flight is dropped."""
        folder = os.environ.get(METRICS_FOLDER)
        if folder is None:
            return self._counts[0].copy()
        total = np.zeros(self._layout.itemsize // 8)
        for file in Path(folder).iterdir():
            counts = np.fromfile(file)
            # Empty while its worker starts.
            if len(counts):
                counts[0] *= is_alive(int(file.name.partition("-")[0]))
                total += counts
        return total.view(self._layout)[0]


def share(layout: np.dtype[Any]) -> Any:
    """A record of ``layout``, all zeros, that other workers can read where there is a folder for it."""
    folder = os.environ.get(METRICS_FOLDER)
    if folder is None:
        return np.zeros(1, layout)
    with tempfile.NamedTemporaryFile(dir=folder, prefix=f"{os.getpid()}-", delete=False) as file:
        file.truncate(layout.itemsize)
        return np.frombuffer(mmap.mmap(file.fileno(), layout.itemsize), layout)


def is_alive(pid: int) -> bool:
    """Whether there is such a process."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
