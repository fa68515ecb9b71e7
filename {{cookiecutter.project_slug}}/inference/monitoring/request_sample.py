"""A sample of requests and their answers, stored for retraining and for comparison with the ground truth.

Each row is a line of JSON, in the log or in S3. Clients never wait for it: rows that the target does not accept in
time are dropped and counted.
"""

import logging
import random
import threading
import time
import uuid
from collections import deque
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from inference.config import Settings
from inference.errors import StartupError, first_line
from inference.formats.answers import answer
from inference.monitoring import logs
from inference.monitoring.background import Background
from inference.monitoring.metrics import Metrics
from inference.runtime.signature import MATRIX, Inputs, ModelCard, Predictions, class_names, take

logger = logging.getLogger("inference.sample")

LOG = "log"
S3 = "s3://"
# Limits for requests that wait to be written, and for sampled rows of one request.
MOST_REQUESTS = 1000
MOST_ROWS = 1000
INTERVAL = 0.25
# An object in S3 is written after this many seconds or bytes of lines.
OBJECT_SECONDS = 60.0
OBJECT_BYTES = 4_000_000
# Limit for bytes that wait while S3 does not respond.
MOST_BYTES = 16_000_000

encode = msgspec.json.Encoder().encode


class SampledRow(msgspec.Struct, omit_defaults=True):
    """A row of the sample; ``row`` is its index in the request."""

    time: datetime
    logger: str
    request_id: str
    row: int
    model_version: str
    instance: dict[str, Any]
    prediction: Any
    probabilities: Any = None


class Sample:
    """Stores ``sample_share`` of the requests, without the columns or tensors in ``sample_without``.

    Raises StartupError if the settings do not match the model.
    """

    def __init__(self, settings: Settings, card: ModelCard, version: str, metrics: Metrics) -> None:
        names = [column.name for column in card.columns]
        names += [tensor.name for tensor in card.tensors]
        for name in settings.left_out:
            if name not in names:
                raise StartupError(
                    f"SAMPLE_WITHOUT names {name!r}, which the model does not take: {', '.join(names)}"
                )
        self._share = settings.sample_share
        self._left_out = set(settings.left_out)
        self._names = names
        self._card, self._version = card, version
        self._classes = [class_names(output) for output in card.outputs]
        self._metrics = metrics
        self._target = Bucket(settings.sample_to) if settings.sample_to != LOG else None
        self._waiting: deque[tuple[datetime, str, Inputs, Predictions]] = deque()
        self._lines: list[bytes] = []
        self._size = 0
        self._due = 0.0
        self._failing = False
        self._writing = threading.Lock()
        self._thread = Background("sample", self._work)

    def add(self, request_id: str, inputs: Inputs, predictions: Predictions) -> None:
        """Add an answered request if it is chosen for the sample; its arrays must not change afterwards."""
        if not self._share or random.random() >= self._share:  # noqa: S311
            return
        if len(self._waiting) >= MOST_REQUESTS:
            self._metrics.count("unsampled_rows", len(predictions[0].values))
            return
        self._waiting.append((datetime.now(UTC), request_id, inputs, predictions))
        self._thread.start()

    def flush(self) -> None:
        """Write all waiting rows, or drop them if the target does not accept them."""
        with self._writing:
            self._take()
            self._put(is_last=True)

    def _work(self) -> None:
        while True:
            time.sleep(INTERVAL)
            with self._writing:
                self._take()
                if self._lines and (self._size >= OBJECT_BYTES or time.monotonic() >= self._due):
                    self._put()

    def _take(self) -> None:
        """Encode the waiting requests as lines."""
        while self._waiting:
            sampled = self._waiting.popleft()
            rows = len(sampled[3][0].values)
            try:
                lines = self._to_lines(*sampled)
            except Exception:
                # A custom predictor may return anything; its requests have been answered.
                logger.exception("Could not store a request in the sample")
                lines = []
            self._metrics.count("unsampled_rows", rows - len(lines))
            if self._target is None:
                for line in lines:
                    logs.writer.write(line)
                self._metrics.count("sampled_rows", len(lines))
                continue
            if not self._lines:
                self._due = time.monotonic() + OBJECT_SECONDS
            for line in lines:
                if self._size + len(line) > MOST_BYTES:
                    self._metrics.count("unsampled_rows", 1)
                else:
                    self._lines.append(line)
                    self._size += len(line)

    def _put(self, is_last: bool = False) -> None:
        """Write the lines to the bucket; if that fails, they are retried with the next ones."""
        if self._target is None or not self._lines:
            return
        try:
            self._target.put(b"".join(line + b"\n" for line in self._lines))
        except Exception as error:
            self._due = time.monotonic() + OBJECT_SECONDS
            if not self._failing or is_last:
                logger.warning("Could not store the sample: %s", first_line(error))
            self._failing = True
            if is_last:
                self._metrics.count("unsampled_rows", len(self._lines))
                self._lines, self._size = [], 0
            return
        self._failing = False
        self._metrics.count("sampled_rows", len(self._lines))
        self._lines, self._size = [], 0

    def _to_lines(
        self, at: datetime, request_id: str, inputs: Inputs, predictions: Predictions
    ) -> list[bytes]:
        rows = min(len(predictions[0].values), MOST_ROWS)
        given = answer(self._card, self._classes, take(predictions, 0, rows))
        instances = self._instances(inputs, rows)
        probabilities: Sequence[Any] = given.probabilities or [None] * rows
        return [
            encode(SampledRow(at, logger.name, request_id, row, self._version, *answered))
            for row, answered in enumerate(
                zip(instances, given.predictions, probabilities, strict=True)
            )
        ]

    def _instances(self, inputs: Inputs, rows: int) -> list[dict[str, Any]]:
        """Return rows by the names of their columns or tensors, without those to leave out."""
        if self._card.is_matrix:
            columns = dict(zip(self._names, inputs[MATRIX].T, strict=True))
        else:
            columns = dict(inputs)
        values = {
            name: to_values(array[:rows])
            for name, array in columns.items()
            if name not in self._left_out
        }
        if not values:
            return [{} for _ in range(rows)]
        return [dict(zip(values, row, strict=True)) for row in zip(*values.values(), strict=True)]


def to_values(array: NDArray[Any]) -> list[Any]:
    """Return the values of an array as a client sends them: None if missing, a float32 in its shortest notation."""
    if array.dtype == np.float32 and array.ndim == 1:
        return [None if value != value else float(str(value)) for value in array]
    values: list[Any] = array.tolist()
    if array.dtype == object and array.ndim == 1:
        return [value or None for value in values]
    return values


class Bucket:
    """A prefix in S3; each put creates an object, named by date."""

    def __init__(self, place: str) -> None:
        from obstore.store import S3Store

        bucket, _, prefix = place.removeprefix(S3).partition("/")
        # Short timeouts, since stopping the service waits for the last put.
        patience = {"timeout": "5s", "connect_timeout": "3s"}
        retries: Any = {"max_retries": 1}
        options: Any = patience
        self._store = S3Store(bucket, client_options=options, retry_config=retries)
        self._prefix = prefix.strip("/")

    def put(self, content: bytes) -> None:
        """Put an object."""
        import obstore

        now = datetime.now(UTC)
        name = f"date={now:%Y-%m-%d}/{now:%H%M%S}-{uuid.uuid4().hex}.jsonl"
        obstore.put(self._store, f"{self._prefix}/{name}".lstrip("/"), content)
