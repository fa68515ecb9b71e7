"""Logs as JSON lines on standard output, one for each request, with its id."""

import logging
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import msgspec

logger = logging.getLogger("inference.access")
STANDARD_OUTPUT = 1
# So many lines never wait.
LINES = 32

encode = msgspec.json.Encoder().encode


class JSONFormatter(logging.Formatter):
    """One JSON object a record; ``extra={"fields": {...}}`` adds to it."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line of JSON."""
        entry: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return encode(entry).decode()


def config(level: str) -> dict[str, Any]:
    """Logging of the service and of its server, as ``logging.config.dictConfig`` takes it."""
    stdout = {"class": "logging.StreamHandler", "stream": "ext://sys.stdout", "formatter": "json"}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"json": {"()": JSONFormatter}},
        "handlers": {"stdout": stdout},
        "root": {"handlers": ["stdout"], "level": level},
        "loggers": {},
    }


class AccessLog:
    """Writes a line for each request, straight to standard output.

    A handler of ``logging`` would cost six times as much. While other requests are being answered, lines
    wait for one another: each write would let go of the interpreter, and queue for it again.
    """

    def __init__(self, is_busy: Callable[[], bool]) -> None:
        self._is_busy = is_busy
        self._lines: list[bytes] = []
        self._lock = threading.Lock()

    def write(self, request: dict[str, Any]) -> None:
        """Log a request that is no longer counted as in flight: those that are will write its line too."""
        if not logger.isEnabledFor(logging.INFO):
            return
        line = {"time": datetime.now(UTC), "level": "INFO", "logger": logger.name, **request}
        with self._lock:
            self._lines.append(encode(line))
            if self._is_busy() and len(self._lines) < LINES:
                return
            lines, self._lines = self._lines, []
        # A log that nobody takes is no reason to refuse an answer.
        with suppress(OSError):
            os.write(STANDARD_OUTPUT, b"\n".join(lines) + b"\n")
