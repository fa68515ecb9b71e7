"""Errors as problem documents (RFC 9457)."""

import logging
from http import HTTPStatus

import msgspec
from flask import Flask, Response, g
from werkzeug.exceptions import HTTPException, InternalServerError

from inference.errors import InvalidInstances

logger = logging.getLogger(__name__)


def register(app: Flask) -> None:
    """Answer every error of ``app``, its own and Flask's, with a problem document."""
    app.register_error_handler(HTTPException, describe)
    app.register_error_handler(Exception, describe_unexpected)


def describe(error: HTTPException) -> Response:
    """The problem document of an HTTP error, with the error's own headers."""
    response = error.get_response()
    status = HTTPStatus(response.status_code)
    problem = {
        "type": "about:blank",
        "title": status.phrase,
        "status": status.value,
        "detail": error.description,
        "request_id": g.get("request_id"),
    }
    if isinstance(error, InvalidInstances):
        problem["errors"] = [{"pointer": error.pointer, "detail": error.description}]
    return Response(
        msgspec.json.encode(problem),
        status.value,
        {**response.headers, "Content-Type": "application/problem+json"},
    )


def describe_unexpected(error: Exception) -> Response:
    """Log what went wrong; tell the client no more than that something did."""
    fields = {"request_id": g.get("request_id")}
    logger.error("Unexpected error", exc_info=error, extra={"fields": fields})
    return describe(InternalServerError())
