"""Common handling of all requests, with or without Flask: keys, limits, metrics, headers, access log."""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from inference.config import Settings
from inference.http.api_keys import Keys
from inference.http.context import Call
from inference.http.cors import Origins
from inference.monitoring.metrics import Metrics
from inference.monitoring.request_sample import Sample
from inference.monitoring.statistics import Statistics
from inference.runtime.signature import Inputs, Predictions

if TYPE_CHECKING:
    # It imports the predictor, which the parent of the workers must not: its libraries may start threads.
    from inference.runtime.engine import Engine

logger = logging.getLogger(__name__)

Headers = list[tuple[str, str]]


class Asked(NamedTuple):
    """A request to a door, with its Content-Encoding decoded.

    ``header`` returns the value of a header, or its second argument or the empty text if there is none.
    """

    body: bytes
    header: Callable[..., str]


class Reply(NamedTuple):
    """The body of a successful response and the headers that describe it."""

    body: bytes
    content_type: str
    headers: Sequence[tuple[str, str]] = ()


# A door decodes a request into the model's inputs, and returns them with a function that encodes the predictions.
Encode = Callable[[Predictions], Reply]
Door = Callable[[Asked], tuple[Inputs, Encode]]


@dataclass
class Service:
    """The model and everything needed to serve it.

    ``doors`` are the entry points for predictions, by path, each with its route in Flask.
    """

    settings: Settings
    engine: "Engine"
    doors: Mapping[str, tuple[Door, str]]
    metrics: Metrics
    statistics: Statistics
    sample: Sample
    keys: Keys
    origins: Origins
    # Sent with every response.
    headers: Sequence[tuple[str, str]]
    # The largest number of rows that may be predicted on the event loop.
    inline_rows: int
    # The Flask views of the doors, by endpoint.
    views: Mapping[str, Callable[..., object]]
    places: list[None]

    def end(self, call: Call, status: int) -> None:
        """Count a request as finished, and log it; an error is only logged, as the client may have its response."""
        seconds = time.perf_counter() - call.started
        try:
            self.metrics.leave(call.route, status, seconds, call.predictions)
            if call.predictions:
                self.statistics.add(call.inputs, call.predictions)
                self.sample.add(call.request_id, call.inputs, call.predictions)
        except Exception:
            logger.exception("Could not count a request")
        call.log(status, seconds)

    def predict(self, call: Call, door: Door, asked: Asked) -> Reply:
        """Answer a prediction request in this thread."""
        inputs, encode = door(asked)
        return self.finish(call, inputs, self.engine.predict(inputs), encode)

    def finish(self, call: Call, inputs: Inputs, predictions: Predictions, encode: Encode) -> Reply:
        """Return the reply to a request whose rows were predicted."""
        call.inputs, call.predictions = inputs, predictions
        return encode(predictions)
