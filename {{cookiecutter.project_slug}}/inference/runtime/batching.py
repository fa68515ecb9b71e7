"""Adaptive batching: requests wait in a queue for one thread, which predicts their rows together."""

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from queue import SimpleQueue

import numpy as np
from werkzeug.exceptions import HTTPException

from inference.errors import InvalidInstances, Overloaded
from inference.runtime.contract import check_finite
from inference.runtime.signature import Inputs, Predictions, count, take

# A batch with this many rows takes no further requests.
BATCH_ROWS = 64
# Time limit for finding the instance that causes an error.
SEARCH_SECONDS = 0.5

# The inputs of a request and the future of its predictions.
Job = tuple[Inputs, Future[Predictions]]
Run = Callable[[Inputs], Predictions]


class Batcher:
    """Runs the model in one thread on all queued rows, without waiting for more.

    Admission control bounds the queue; ``predict`` waits no longer than ``seconds_to_wait``.
    """

    def __init__(self, run: Run, seconds_to_wait: float) -> None:
        self._run = run
        self._seconds_to_wait = seconds_to_wait
        self._jobs: SimpleQueue[Job] = SimpleQueue()
        threading.Thread(target=self._work, name="batcher", daemon=True).start()

    def predict(self, inputs: Inputs) -> Predictions:
        """Predict ``inputs``; raises Overloaded, and whatever a future of ``submit`` raises."""
        outcome = self.submit(inputs)
        try:
            return outcome.result(self._seconds_to_wait)
        except TimeoutError:
            outcome.cancel()
            raise Overloaded from None

    def submit(self, inputs: Inputs) -> Future[Predictions]:
        """Queue ``inputs``; the future gets the model's answer, the error it raises, or InvalidInstances.

        It never times out by itself; if the caller cancels it while it waits, the model does not run for it.
        """
        outcome: Future[Predictions] = Future()
        self._jobs.put((inputs, outcome))
        return outcome

    def _work(self) -> None:
        while True:
            jobs = [self._jobs.get()]
            rows = count(jobs[0][0])
            while rows < BATCH_ROWS and not self._jobs.empty():
                jobs.append(self._jobs.get())
                rows += count(jobs[-1][0])
            # Skip requests that were cancelled while they waited.
            self._answer([job for job in jobs if job[1].set_running_or_notify_cancel()])

    def _answer(self, jobs: list[Job]) -> None:
        answers = predict_together(self._run, [inputs for inputs, _ in jobs])
        for (_, outcome), answer in zip(jobs, answers, strict=True):
            if isinstance(answer, Exception):
                outcome.set_exception(answer)
            else:
                outcome.set_result(answer)


def predict_together(run: Run, requests: Sequence[Inputs]) -> list[Predictions | Exception]:
    """Return, for each request, the model's answer, InvalidInstances, or the error that the model raises."""
    if len(requests) == 1:
        return [predict_alone(run, requests[0])]
    if not requests:
        return []
    try:
        together = run(concatenate(requests))
    except Exception:
        # One request fails the whole batch: run each alone, so that the others are answered.
        return [predict_alone(run, inputs) for inputs in requests]
    answers: list[Predictions | Exception] = []
    start = 0
    for inputs in requests:
        end = start + count(inputs)
        try:
            answers.append(check_finite(take(together, start, end)))
        except InvalidInstances as error:
            answers.append(error)
        start = end
    return answers


def predict_alone(run: Run, inputs: Inputs) -> Predictions | Exception:
    """Return the model's answer to one request, or the error.

    An error that the predictor raises gets a note, for the log, that names the first failing instance.
    """
    try:
        return check_finite(run(inputs))
    except HTTPException as error:
        return error
    except Exception as error:
        deadline = time.monotonic() + SEARCH_SECONDS
        for row in range(count(inputs)):
            try:
                run({name: array[row : row + 1] for name, array in inputs.items()})
            except Exception:
                error.add_note(f"The predictor raises an error for instances[{row}].")
                break
            if time.monotonic() > deadline:
                break
        return error


def concatenate(requests: Sequence[Inputs]) -> Inputs:
    """Concatenate the instances of all requests; raises ValueError if free dimensions differ in size."""
    return {name: np.concatenate([inputs[name] for inputs in requests]) for name in requests[0]}
