"""What runs the model: at once, or for the requests of several clients together."""

import threading
from collections import deque

import numpy as np
from numpy.typing import NDArray

from inference.card import ModelCard, Predict, Prediction
from inference.errors import InvalidInstances, Overloaded
from inference.predictor import Predictor

BATCH_ROWS = 64


class Engine:
    """A model that answered its own example, and what runs it: a queue, or each request by itself."""

    def __init__(self, predictor: Predictor, queue: bool, seconds_to_wait: float) -> None:
        self.card: ModelCard = predictor.card
        example = np.array([[feature.example for feature in self.card.features]], np.float32)
        self.gives_probabilities = predictor.predict(example).probabilities is not None
        run: Predict = predictor.predict
        if queue:
            run = Batcher(predictor.predict, seconds_to_wait).predict
        self.predict = checked(run)


def checked(predict: Predict) -> Predict:
    """``predict``, but an answer that is no number is an error of the row that it was given for."""

    def finite(rows: NDArray[np.float32]) -> Prediction:
        prediction = predict(rows)
        values, probabilities = prediction
        if probabilities is not None:
            is_finite = np.isfinite(probabilities).all(axis=1)
        elif isinstance(values[0], str):
            return prediction
        else:
            is_finite = np.isfinite(values)
        if not is_finite.all():
            row = int(np.argmin(is_finite))
            raise InvalidInstances(
                f"instances[{row}]: the model has no finite answer for it", f"/instances/{row}"
            )
        return prediction

    return finite


class Job:
    """The rows of one request, and what became of them: overload, until something else did."""

    def __init__(self, rows: NDArray[np.float32]) -> None:
        self.rows = rows
        self.outcome: Prediction | Exception = Overloaded()
        self.done = threading.Event()
        self.is_given_up = False

    def finish(self, outcome: Prediction | Exception) -> None:
        """Let the request go on with this outcome."""
        self.outcome = outcome
        self.done.set()


class Batcher:
    """Lets one thread run the model on all rows that wait, without waiting for more.

    As many wait as requests are admitted, and none for longer than ``seconds_to_wait``.
    """

    def __init__(self, predict: Predict, seconds_to_wait: float) -> None:
        self._predict = predict
        self._seconds_to_wait = seconds_to_wait
        self._jobs: deque[Job] = deque()
        self._arrival = threading.Condition()
        threading.Thread(target=self._work, name="batcher", daemon=True).start()

    def predict(self, rows: NDArray[np.float32]) -> Prediction:
        """Answer ``rows`` as the model does; raises Overloaded, and what the model raises."""
        job = Job(rows)
        with self._arrival:
            self._jobs.append(job)
            self._arrival.notify()
        job.is_given_up = not job.done.wait(self._seconds_to_wait)
        if isinstance(job.outcome, Exception):
            raise job.outcome
        return job.outcome

    def _work(self) -> None:
        while True:
            with self._arrival:
                while not self._jobs:
                    self._arrival.wait()
                jobs = self._take()
            if jobs:
                self._answer(jobs)

    def _take(self) -> list[Job]:
        """The jobs that wait, up to the rows of a batch; one job at least."""
        jobs: list[Job] = []
        rows = 0
        while self._jobs and (not jobs or rows + len(self._jobs[0].rows) <= BATCH_ROWS):
            job = self._jobs.popleft()
            if not job.is_given_up:
                jobs.append(job)
                rows += len(job.rows)
        return jobs

    def _answer(self, jobs: list[Job]) -> None:
        try:
            rows = jobs[0].rows if len(jobs) == 1 else np.concatenate([job.rows for job in jobs])
            values, probabilities = self._predict(rows)
        except Exception as error:
            if len(jobs) == 1:
                jobs[0].finish(error)
            else:
                # One of them spoils the batch: each alone, so that the others are answered.
                for job in jobs:
                    self._answer([job])
            return
        start = 0
        for job in jobs:
            end = start + len(job.rows)
            part = None if probabilities is None else probabilities[start:end]
            job.finish(Prediction(values[start:end], part))
            start = end
