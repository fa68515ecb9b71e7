"""What can go wrong: before the service starts, and in a request."""

from werkzeug.exceptions import UnprocessableEntity


class StartupError(Exception):
    """The service cannot start; the message says what is wrong and what to do."""


class InvalidInstances(UnprocessableEntity):
    """A request's instances do not fit the model's signature.

    ``pointer`` is the JSON pointer (RFC 6901) of the value at fault.
    """

    def __init__(self, description: str, pointer: str) -> None:
        super().__init__(description)
        self.pointer = pointer
