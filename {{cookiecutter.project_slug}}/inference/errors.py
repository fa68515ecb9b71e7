"""Errors at startup and in requests."""

from werkzeug.exceptions import RequestEntityTooLarge, ServiceUnavailable, UnprocessableEntity


class StartupError(Exception):
    """The service cannot start; the message says what is wrong and how to fix it."""


class InvalidInstances(UnprocessableEntity):
    """The instances of a request do not match the model's signature.

    ``pointer`` is the JSON pointer (RFC 6901) to the invalid value.
    """

    def __init__(self, description: str, pointer: str) -> None:
        super().__init__(description)
        self.pointer = pointer


class InvalidValue(InvalidInstances):
    """A value that the model cannot handle. A predictor may raise this; the client gets a 422.

    ``row`` is the index of the instance, from 0; ``column`` is the name of a column or tensor.
    """

    def __init__(self, fault: str, row: int, column: str) -> None:
        pointer = f"/instances/{row}/{escape(column)}"
        super().__init__(f"instances[{row}].{column}: {fault}", pointer)


def first_line(error: Exception) -> str:
    """Return the first line of an error's message, without the details below it."""
    return str(error).strip().partition("\n")[0]


def message_of(error: Exception) -> str:
    """Return an error's message, or its repr if the message alone says nothing: a KeyError's is only the key."""
    # str() of an HTTP error includes its status.
    text = str(getattr(error, "description", None) or error)
    return repr(error) if type(error) is KeyError or not text.strip() else text


def escape(name: str) -> str:
    """Escape a name for a JSON pointer."""
    return name.replace("~", "~0").replace("/", "~1")


class BodyTooLarge(RequestEntityTooLarge):
    """The body of a request has more bytes than the limit."""

    def __init__(self, max_bytes: int) -> None:
        super().__init__(
            f"The body has more than {max_bytes} bytes: send less at once, or raise MAX_BODY_BYTES"
        )


class Overloaded(ServiceUnavailable):
    """More requests arrived than the service can answer in time."""

    def __init__(self) -> None:
        super().__init__("The service is overloaded: try again in a second.", retry_after=1)
