"""Logs as JSON lines on standard output, one for each request, with its id."""

import logging
import re
import secrets
import time
import uuid
from datetime import UTC, datetime
from typing import Any

import msgspec
from flask import Flask, Response, g, request

logger = logging.getLogger("inference.access")

REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
# W3C Trace Context, version 00: the trace, the caller's span in it, flags.
TRACEPARENT = re.compile(r"00-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-([0-9a-f]{2})")


class JSONFormatter(logging.Formatter):
    """One JSON object a record; ``extra={"fields": {...}}`` adds to it."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line of JSON."""
        entry: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return msgspec.json.encode(entry).decode()


def config(level: str) -> dict[str, Any]:
    """Logging of the service and of its server, as ``logging.config.dictConfig`` takes it."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"json": {"()": JSONFormatter}},
        "handlers": {
            "stdout": {
                "class": "logging.StreamHandler",
                "stream": "ext://sys.stdout",
                "formatter": "json",
            }
        },
        "root": {"handlers": ["stdout"], "level": level},
        "loggers": {},
    }


def register(app: Flask) -> None:
    """Log each request of ``app`` once it is answered."""
    app.before_request(start)
    app.after_request(finish)


def start() -> None:
    """Note when the request came, under which id (the client's, or a new one) and in which trace."""
    g.started = time.perf_counter()
    given = request.headers.get("X-Request-ID", "")
    g.request_id = given if REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
    g.trace = TRACEPARENT.fullmatch(request.headers.get("traceparent", ""))


def finish(response: Response) -> Response:
    """Give the response its request id and write the log line."""
    response.headers["X-Request-ID"] = g.request_id
    fields = {
        "request_id": g.request_id,
        "method": request.method,
        "path": request.path,
        "status": response.status_code,
        "duration_ms": round((time.perf_counter() - g.started) * 1000, 3),
    }
    if "rows" in g:
        fields["rows"] = g.rows
    if g.trace:
        span = secrets.token_hex(8)
        fields |= {"trace_id": g.trace[1], "span_id": span}
        response.headers["traceparent"] = f"00-{g.trace[1]}-{span}-{g.trace[2]}"
    logger.info(
        "%s %s %s", request.method, request.path, response.status_code, extra={"fields": fields}
    )
    return response
