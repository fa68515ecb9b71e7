"""The schemas of a request and its response."""

from pydantic import BaseModel


class Request(BaseModel):
    """Rows of numbers."""

    instances: list[list[float]]


class Answer(BaseModel):
    """The class of each row, and its probabilities in the order of the classes."""

    predictions: list[str]
    probabilities: list[list[float]]
