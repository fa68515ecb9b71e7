"""Logs as JSON lines on standard output, with one line for each request and its ID."""

import atexit
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import msgspec

from inference.monitoring.background import Background

STANDARD_OUTPUT = 1
# Limit for lines that wait for a reader; more are dropped.
LINES = 10_000
# Lines logged within this many seconds are written together.
INTERVAL = 0.02

encode = msgspec.json.Encoder(enc_hook=str).encode


class Writer:
    """Writes lines in its own thread, so that logging never blocks on a slow reader.

    If nothing reads the log, the newest lines are dropped and counted by ``count_dropped``, and the log
    says how many once it is read again.
    """

    def __init__(self, descriptor: int) -> None:
        self.count_dropped: Callable[[], None] = lambda: None
        self._descriptor = descriptor
        self._lines: deque[bytes] = deque()
        self._dropped = 0
        self._busy = False
        self._awake = threading.Event()
        self._thread = Background("log", self._work)

    def write(self, line: bytes) -> None:
        """Queue a line, without its line end."""
        if len(self._lines) >= LINES:
            self._dropped += 1
            self.count_dropped()
            return
        self._lines.append(line)
        if not self._awake.is_set():
            self._awake.set()
            if self._thread.start():
                atexit.register(self.flush, 1)

    def flush(self, seconds: float) -> None:
        """Wait until all lines are written, for at most ``seconds``."""
        deadline = time.monotonic() + seconds
        while (self._lines or self._busy) and time.monotonic() < deadline:
            time.sleep(0.002)

    def _work(self) -> None:
        while True:
            self._awake.wait()
            time.sleep(INTERVAL)
            self._busy = True
            self._awake.clear()
            lines = [self._lines.popleft() for _ in range(len(self._lines))]
            self._put(lines)
            if self._dropped:
                dropped, self._dropped = self._dropped, 0
                fields = {"message": "lines were dropped: the log was not read", "dropped": dropped}
                self._put([to_line("WARNING", __name__, fields)])
            self._busy = False

    def _put(self, lines: list[bytes]) -> None:
        rest = memoryview(b"".join(line + b"\n" for line in lines))
        # A log without a reader must not stop the service.
        with suppress(OSError):
            while rest:
                try:
                    rest = rest[os.write(self._descriptor, rest) :]
                except BlockingIOError:
                    time.sleep(INTERVAL)


writer = Writer(STANDARD_OUTPUT)


def to_line(level: str, logger: str, fields: dict[str, Any]) -> bytes:
    """Return a line of the log, without its line end."""
    return encode({"time": datetime.now(UTC), "level": level, "logger": logger, **fields})


class Handler(logging.Handler):
    """Writes each record as a JSON object; ``extra={"fields": {...}}`` adds fields to it."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write the record; a wrong call of the logger raises no error in its caller."""
        try:
            writer.write(self.format(record).encode())
        except Exception:
            self.handleError(record)

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line of JSON."""
        fields = {"message": record.getMessage(), **getattr(record, "fields", {})}
        if record.exc_info:
            fields["exception"] = logging.Formatter().formatException(record.exc_info)
        return to_line(record.levelname, record.name, fields).decode()


access = logging.getLogger("inference.access")


class AccessLine(msgspec.Struct, omit_defaults=True):
    """The log line of an answered request; ``duration_ms`` is in milliseconds."""

    time: datetime
    level: str
    logger: str
    message: str
    request_id: str
    method: str
    path: str
    status: int
    duration_ms: float
    rows: int = 0
    trace_id: str = ""
    span_id: str = ""
