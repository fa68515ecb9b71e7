"""The queue that predicts the rows of several requests together, and what is measured for it."""

import threading
import time

import numpy as np
import pytest

from inference.errors import InvalidInstances, Overloaded
from inference.runtime import serving
from inference.runtime.engine import Batcher, Engine
from inference.runtime.signature import Feature, ModelCard, Prediction
from training.output import measure, write_serving


class Doubler:
    """A model that answers twice each row's number, remembers its batches, and dislikes 13."""

    def __init__(self, seconds=0.0):
        self.card = ModelCard(
            name="doubler",
            dataset="none",
            trained_on="2026-01-01",
            metrics={},
            features=(Feature("number", 0, 9, 1),),
            target="double",
        )
        self.seconds = seconds
        self.batches = []

    def predict(self, rows):
        self.batches.append(len(rows))
        time.sleep(self.seconds)
        if 13 in rows:
            raise ValueError("13")
        return Prediction((rows[:, 0] * 2).tolist())


def ask_at_once(predict, numbers):
    """Ask for each number in a thread of its own; return answers and errors in their order."""
    outcomes = [None] * len(numbers)

    def ask(place):
        rows = np.full((2, 1), numbers[place], np.float32)
        try:
            outcomes[place] = predict(rows).values
        except Exception as error:
            outcomes[place] = error

    threads = [threading.Thread(target=ask, args=(place,)) for place in range(len(numbers))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    return outcomes


def test_requests_that_wait_are_predicted_together_each_with_its_own_answer():
    model = Doubler(seconds=0.05)
    outcomes = ask_at_once(Batcher(model.predict, 10).predict, range(20, 40))
    assert outcomes == [[2 * number, 2 * number] for number in range(20, 40)]
    assert sum(model.batches) == 40
    assert max(model.batches) > 2


def test_bad_request_spoils_none_of_its_neighbours():
    model = Doubler(seconds=0.05)
    *good, bad = ask_at_once(Batcher(model.predict, 10).predict, [1, 2, 3, 4, 5, 13])
    assert good == [[2 * number, 2 * number] for number in range(1, 6)]
    assert isinstance(bad, ValueError)


def test_batch_has_few_rows_unless_one_request_has_many():
    model = Doubler(seconds=0.02)
    batcher = Batcher(model.predict, 10)
    ask_at_once(batcher.predict, range(20, 120))
    assert max(model.batches) <= 64
    assert len(batcher.predict(np.ones((100, 1), np.float32)).values) == 100


def test_request_is_given_up_after_its_time():
    model = Doubler(seconds=0.5)
    batcher = Batcher(model.predict, 0.1)
    outcomes = ask_at_once(batcher.predict, [1, 2, 3])
    assert all(isinstance(outcome, Overloaded) for outcome in outcomes)
    time.sleep(1.2)
    assert sum(model.batches) <= 6


def test_idle_queue_adds_no_wait():
    batcher = Batcher(Doubler().predict, 10)
    started = time.perf_counter()
    for _ in range(100):
        batcher.predict(np.ones((1, 1), np.float32))
    assert time.perf_counter() - started < 1


@pytest.mark.parametrize("queue", [False, True])
def test_answer_that_is_no_number_is_an_error_of_its_row(queue):
    predict = Engine(Doubler(), queue, 10).predict
    with pytest.raises(InvalidInstances, match=r"instances\[1\]: the model has no finite answer"):
        predict(np.array([[1], [np.inf], [1]], np.float32))


def test_queue_is_for_models_that_gain_by_it_or_are_slow():
    row = np.ones(1, np.float32)
    assert measure(Doubler(seconds=0.002).predict, row).queue
    assert not measure(lambda rows: Prediction([1.0] * len(rows)), row).queue


def test_measurement_is_kept_beside_the_model(tmp_path):
    path = tmp_path / "model"
    assert not serving.read(path).queue
    write_serving(path, serving.Serving(queue=True))
    assert serving.read(path).queue
    (tmp_path / "serving.json").write_text("nonsense")
    assert not serving.read(path).queue
