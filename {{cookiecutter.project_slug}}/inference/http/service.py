"""What every request passes, whoever answers it: keys, limits, counts, headers, a line of log."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from inference.config import Settings
from inference.http.api_keys import Keys
from inference.http.context import Call
from inference.http.cors import Origins
from inference.runtime.signature import Inputs, Predictions
from inference.watch.metrics import Metrics
from inference.watch.sample import Sample
from inference.watch.statistics import Statistics

if TYPE_CHECKING:
    from inference.runtime.engine import Engine

Headers = list[tuple[str, str]]


class Asked(NamedTuple):
    """What a client sent to a door, its body without a Content-Encoding.

    ``header`` gives the value of a header, its second argument or the empty text where there is none.
    """

    body: bytes
    header: Callable[..., str]


class Reply(NamedTuple):
    """The body of a good answer and what its headers say of it."""

    body: bytes
    content_type: str
    headers: Sequence[tuple[str, str]] = ()


# Makes inputs of the model of what was sent, and gives what makes a reply of its predictions.
Encode = Callable[[Predictions], Reply]
Door = Callable[[Asked], tuple[Inputs, Encode]]


@dataclass
class Service:
    """The model with all that stands around it.

    ``doors`` are the ways to ask it, by path, each with the route that Flask has for it.
    """

    settings: Settings
    engine: "Engine"
    doors: Mapping[str, tuple[Door, str]]
    metrics: Metrics
    statistics: Statistics
    sample: Sample
    keys: Keys
    origins: Origins
    # Of every answer.
    headers: Sequence[tuple[str, str]]
    # The largest number of rows that may be predicted on the event loop.
    inline_rows: int
    # Flask's views of the doors, by endpoint.
    views: Mapping[str, Callable[..., object]] = field(default_factory=dict)
    places: list[None] = field(default_factory=list)

    def begin(self) -> None:
        """Count a request as being answered."""
        self.metrics.enter()

    def end(self, call: Call, status: int) -> None:
        """Count a request as answered, and log it."""
        seconds = time.perf_counter() - call.started
        self.metrics.leave(call.route, status, seconds, call.predictions)
        if call.predictions:
            self.statistics.add(call.inputs, call.predictions)
            self.sample.add(call.request_id, call.inputs, call.predictions)
        call.log(status, seconds)

    def predict(self, call: Call, door: Door, asked: Asked) -> Reply:
        """Answer a request for predictions, in this thread."""
        inputs, encode = door(asked)
        return self.finish(call, inputs, self.engine.predict(inputs), encode)

    def finish(self, call: Call, inputs: Inputs, predictions: Predictions, encode: Encode) -> Reply:
        """The reply to a request whose rows were predicted."""
        call.inputs, call.predictions = inputs, predictions
        return encode(predictions)
