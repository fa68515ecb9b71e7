"""Errors as problem documents (RFC 9457), or below /v2 in the format of the Open Inference Protocol."""

import logging
from http import HTTPStatus

import msgspec
from flask import Flask, Response
from werkzeug.exceptions import HTTPException, InternalServerError

from inference.errors import InvalidInstances
from inference.http.context import current

logger = logging.getLogger(__name__)


def register(app: Flask) -> None:
    """Answer every error of ``app``, its own and Flask's, with a problem document."""
    app.register_error_handler(HTTPException, describe)
    app.register_error_handler(Exception, describe_unexpected)


class Fault(msgspec.Struct):
    """An error in the request: a JSON pointer (RFC 6901) to the value, and what is wrong with it."""

    pointer: str
    detail: str


class Problem(msgspec.Struct, omit_defaults=True):
    """A problem document; ``errors`` lists the invalid values."""

    title: str
    status: int
    detail: str
    request_id: str
    errors: list[Fault] = []


class ProtocolError(msgspec.Struct):
    """An error in the format of the Open Inference Protocol."""

    error: str


def describe(error: HTTPException) -> Response:
    """Return the document for an HTTP error, with the headers of the error."""
    response = error.get_response()
    status = HTTPStatus(response.status_code)
    detail = error.description or status.description
    document: Problem | ProtocolError
    if current.call.path.startswith("/v2"):
        content_type, document = "application/json", ProtocolError(detail)
    else:
        content_type = "application/problem+json"
        document = Problem(status.phrase, status.value, detail, current.call.request_id)
        if isinstance(error, InvalidInstances):
            document.errors = [Fault(error.pointer, detail)]
    headers = {**response.headers, "Content-Type": content_type}
    return Response(msgspec.json.encode(document), status.value, headers)


def describe_unexpected(error: Exception) -> Response:
    """Log the exception; tell the client only that an error occurred."""
    fields = {"request_id": current.call.request_id}
    logger.error("Unexpected error", exc_info=error, extra={"fields": fields})
    return describe(InternalServerError())
