"""What can go wrong: at the start, and in a request."""

from werkzeug.exceptions import ServiceUnavailable, UnprocessableEntity


class StartupError(Exception):
    """The service cannot start; the message says what is wrong and what to do."""


class InvalidInstances(UnprocessableEntity):
    """A request's instances do not fit the model's signature.

    ``pointer`` is the JSON pointer (RFC 6901) of the value at fault.
    """

    def __init__(self, description: str, pointer: str) -> None:
        super().__init__(description)
        self.pointer = pointer


class InvalidValue(InvalidInstances):
    """A value of a request that the model cannot take, for a predictor to raise: 422, as other faults of clients.

    ``row`` counts the instances from 0, ``column`` is the name of a column or tensor.
    """

    def __init__(self, fault: str, row: int, column: str) -> None:
        pointer = f"/instances/{row}/{escape(column)}"
        super().__init__(f"instances[{row}].{column}: {fault}", pointer)


def first_line(error: Exception) -> str:
    """What an error says, without the details below."""
    return str(error).strip().partition("\n")[0]


def escape(name: str) -> str:
    """A name as a JSON pointer has it."""
    return name.replace("~", "~0").replace("/", "~1")


class Overloaded(ServiceUnavailable):
    """More requests came than the service will answer in time."""

    def __init__(self) -> None:
        super().__init__("The service is overloaded: try again in a second.", retry_after=1)
