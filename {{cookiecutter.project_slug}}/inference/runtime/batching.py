"""Adaptive batching: requests wait in a queue, for one thread that predicts their rows together."""

import threading
from collections.abc import Sequence
from concurrent.futures import Future
from queue import SimpleQueue

import numpy as np
from numpy.typing import NDArray

from inference.errors import InvalidInstances, Overloaded
from inference.runtime.contract import check_finite
from inference.runtime.signature import Predict, Prediction

# A batch that has so many rows takes no further request.
BATCH_ROWS = 64

# The rows of a request, and what becomes of them.
Job = tuple[NDArray[np.float32], Future[Prediction]]


class Batcher:
    """Lets one thread run the model on all rows that wait, without waiting for more.

    As many wait as requests are admitted, and none for longer than ``seconds_to_wait``.
    """

    def __init__(self, predict: Predict, seconds_to_wait: float) -> None:
        self._predict = predict
        self._seconds_to_wait = seconds_to_wait
        self._jobs: SimpleQueue[Job] = SimpleQueue()
        threading.Thread(target=self._work, name="batcher", daemon=True).start()

    def predict(self, rows: NDArray[np.float32]) -> Prediction:
        """Answer ``rows`` as the model does; raises Overloaded, and what a future of ``submit`` does."""
        outcome = self.submit(rows)
        try:
            return outcome.result(self._seconds_to_wait)
        except TimeoutError:
            outcome.cancel()
            raise Overloaded from None

    def submit(self, rows: NDArray[np.float32]) -> Future[Prediction]:
        """Let ``rows`` wait; the future gets the model's answer, what it raises, or InvalidInstances.

        A future that is cancelled while it waits costs the model nothing.
        """
        outcome: Future[Prediction] = Future()
        self._jobs.put((rows, outcome))
        return outcome

    def _work(self) -> None:
        while True:
            jobs = [self._jobs.get()]
            rows = len(jobs[0][0])
            while rows < BATCH_ROWS and not self._jobs.empty():
                jobs.append(self._jobs.get())
                rows += len(jobs[-1][0])
            # Not for those who have given up meanwhile.
            self._answer([job for job in jobs if job[1].set_running_or_notify_cancel()])

    def _answer(self, jobs: list[Job]) -> None:
        answers = predict_together(self._predict, [rows for rows, _ in jobs])
        for (_, outcome), answer in zip(jobs, answers, strict=True):
            if isinstance(answer, Exception):
                outcome.set_exception(answer)
            else:
                outcome.set_result(answer)


def predict_together(
    predict: Predict, requests: Sequence[NDArray[np.float32]]
) -> list[Prediction | Exception]:
    """The model's answer to the rows of each request, InvalidInstances, or what it raises of them."""
    if not requests:
        return []
    try:
        values, probabilities = predict(np.concatenate(requests))
    except Exception as error:
        if len(requests) == 1:
            return [error]
        # One of them spoils the batch: each alone, so that the others are answered.
        return [answer for rows in requests for answer in predict_together(predict, [rows])]
    answers: list[Prediction | Exception] = []
    start = 0
    for rows in requests:
        end = start + len(rows)
        part = None if probabilities is None else probabilities[start:end]
        try:
            answers.append(check_finite(Prediction(values[start:end], part)))
        except InvalidInstances as error:
            answers.append(error)
        start = end
    return answers
