"""The queue that batches rows of several requests, and the measurements that decide about it."""

import re
import threading
import time
from unittest.mock import Mock

import numpy as np
import pytest

from inference.app import create_app
from inference.config import Settings
from inference.errors import InvalidInstances, Overloaded, StartupError
from inference.predictor import Predictor
from inference.runtime import artifact, serving
from inference.runtime.contract import keep
from inference.runtime.engine import Batcher, Engine
from inference.runtime.signature import MATRIX, Column, Output, Prediction, count
from tests.models import make_card
from training.output import measure, publish, write_serving


class Doubler:
    """A model that returns twice each row's number, records its batches, and rejects 13."""

    def __init__(self, seconds=0.0):
        self.card = make_card(
            "doubler",
            columns=(Column(name="number", example=1.0),),
            outputs=(Output(name="double"),),
        )
        self.seconds = seconds
        self.batches = []

    def predict(self, inputs):
        rows = inputs[MATRIX]
        self.batches.append(len(rows))
        time.sleep(self.seconds)
        if 13 in rows:
            raise ValueError("13")
        return Prediction((rows[:, 0] * 2).tolist())


def numbers_of(*numbers):
    """Return inputs with one row for each number."""
    return {MATRIX: np.array(numbers, np.float32).reshape(-1, 1)}


def batcher_of(model, seconds):
    """Return a new queue."""
    run = lambda inputs: keep(model.card, model.predict(inputs), count(inputs))  # noqa: E731
    return Batcher(run, seconds)


def ask_at_once(predict, numbers):
    """Request each number in its own thread; return answers and errors in order."""
    outcomes = [None] * len(numbers)

    def ask(place):
        try:
            outcomes[place] = predict(numbers_of(numbers[place], numbers[place]))[0].values
        except Exception as error:
            outcomes[place] = error

    threads = [threading.Thread(target=ask, args=(place,)) for place in range(len(numbers))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    return outcomes


def test_waiting_requests_are_batched_and_each_gets_its_own_answer():
    model = Doubler(seconds=0.05)
    outcomes = ask_at_once(batcher_of(model, 10).predict, range(20, 40))
    assert outcomes == [[2 * number, 2 * number] for number in range(20, 40)]
    assert sum(model.batches) == 40
    assert max(model.batches) > 2


def test_bad_request_does_not_affect_its_neighbours():
    model = Doubler(seconds=0.05)
    *good, bad = ask_at_once(batcher_of(model, 10).predict, [1, 2, 3, 4, 5, 13])
    assert good == [[2 * number, 2 * number] for number in range(1, 6)]
    assert isinstance(bad, ValueError)


def test_batch_has_few_rows_unless_one_request_has_many():
    model = Doubler(seconds=0.02)
    batcher = batcher_of(model, 10)
    ask_at_once(batcher.predict, range(20, 120))
    assert max(model.batches) <= 64
    assert len(batcher.predict(numbers_of(*[1] * 100))[0].values) == 100


def test_request_times_out():
    model = Doubler(seconds=0.5)
    batcher = batcher_of(model, 0.1)
    outcomes = ask_at_once(batcher.predict, [1, 2, 3])
    assert all(isinstance(outcome, Overloaded) for outcome in outcomes)
    time.sleep(1.2)
    assert sum(model.batches) <= 6


def test_idle_queue_adds_no_wait():
    batcher = batcher_of(Doubler(), 10)
    started = time.perf_counter()
    for _ in range(100):
        batcher.predict(numbers_of(1))
    assert time.perf_counter() - started < 1


def test_rows_of_several_requests_are_predicted_together_and_each_gets_its_own_answer():
    model = Doubler()
    engine = Engine(model, False, 10)
    model.batches.clear()
    answers = engine.predict_together([numbers_of(*[rows] * rows) for rows in (1, 3, 2)])
    assert [answer.values for (answer,) in answers] == [[2], [6, 6, 6], [4, 4]]
    assert model.batches == [6]
    asked = [numbers_of(1, number) for number in (1, np.inf, 2, 13)]
    # The last one makes the batch fail, so that each request is answered alone.
    for together in (asked[:3], asked):
        (good,), infinite, (other,), *failed = engine.predict_together(together)
        assert [good.values, other.values] == [[2, 2], [2, 4]]
        assert "instances[1]" in infinite.description
    assert [type(error) for error in failed] == [ValueError]


@pytest.mark.parametrize("queue", [False, True])
def test_answer_that_is_not_a_number_is_an_error_of_its_row(queue):
    predict = Engine(Doubler(), queue, 10).predict
    with pytest.raises(InvalidInstances, match=r"instances\[1\]: the model has no finite answer"):
        predict(numbers_of(1, np.inf, 1))


def test_waiting_requests_occupy_no_thread_and_can_be_cancelled():
    model = Doubler(seconds=0.05)
    engine = Engine(model, True, 10)
    model.batches.clear()
    threads = threading.active_count()
    futures = [engine.batcher.submit(numbers_of(number, number)) for number in range(100, 200)]
    assert threading.active_count() == threads
    cancelled = [future for future in futures[50:] if future.cancel()]
    assert len(cancelled) == 50
    for number, future in enumerate(futures[:50], start=100):
        assert future.result(30)[0].values == [2 * number, 2 * number]
    assert engine.predict(numbers_of(1))[0].values == [2]
    assert sum(model.batches) == 101


def test_without_a_queue_nothing_waits():
    assert Engine(Doubler(), False, 10).batcher is None


class Answering:
    """A classifier of two classes with the given ``predict``."""

    def __init__(self, predict, features=("one", "two"), classes=("a", "b"), name="mine"):
        kind = "string" if classes else "number"
        self.card = make_card(
            name,
            columns=tuple(Column(name=name, example=1.0) for name in features),
            outputs=(Output(name="kind", type=kind, classes=tuple(classes)),),
        )
        self.predict = lambda inputs: predict(inputs[MATRIX])


@pytest.mark.parametrize("queue", [False, True])
@pytest.mark.parametrize(
    ("values", "classes", "expected"),
    [
        (lambda rows: np.array(["a"] * len(rows)), "ab", "a"),
        (lambda rows: np.array([["a"]] * len(rows)), "ab", "a"),
        (lambda rows: np.array(["a"] * len(rows), object), "ab", "a"),
        (lambda rows: ["a" for _ in rows], "ab", "a"),
        (lambda rows: tuple("a" for _ in rows), "ab", "a"),
        (lambda rows: [np.str_("a") for _ in rows], "ab", "a"),
        (lambda rows: [np.float32(0.5) for _ in rows], "", 0.5),
        (lambda rows: rows[:, 0] / 2, "", 0.5),
        (lambda rows: [np.float64(0.5) for _ in rows], "", 0.5),
        (lambda rows: np.array([7] * len(rows)), "", 7),
        (lambda rows: np.array([np.int64(7)] * len(rows), object), "", 7),
    ],
)
def test_numpy_values_become_plain_ones(queue, values, classes, expected):
    engine = Engine(Answering(lambda rows: Prediction(values(rows)), classes=classes), queue, 10)
    (answer,) = engine.predict({MATRIX: np.ones((3, 2), np.float32)})
    assert answer == Prediction([expected] * 3)
    assert {type(value) for value in answer.values} == {type(expected)}


@pytest.mark.parametrize("queue", [False, True])
def test_probabilities_in_lists_become_an_array(queue):
    model = Answering(lambda rows: (["b"] * len(rows), [[0.25, 0.75]] * len(rows)))
    engine = Engine(model, queue, 10)
    assert engine.gives_probabilities
    (answer,) = engine.predict({MATRIX: np.ones((3, 2), np.float32)})
    assert answer.probabilities.dtype == np.float64
    assert answer.probabilities.tolist() == [[0.25, 0.75]] * 3


@pytest.mark.parametrize("queue", [False, True])
def test_answer_with_too_few_values_fails_for_all_rows(queue):
    model = Answering(lambda rows: Prediction(["a"] * min(len(rows), 2)))
    with pytest.raises(ValueError, match=r"2 values of 'kind' for 3 row\(s\)"):
        Engine(model, queue, 10).predict({MATRIX: np.ones((3, 2), np.float32)})


def only_one_row(rows):
    if len(rows) > 1:
        raise ValueError("index 0 Got: 2 Expected: 1")
    return Prediction(["a"])


def answers(value, probabilities=None):
    """Return a function that gives each row this value, and optionally a row of probabilities."""
    return lambda rows: Prediction(
        [value] * len(rows),
        None if probabilities is None else np.array([probabilities] * len(rows)),
    )


@pytest.mark.parametrize(
    ("model", "fault"),
    [
        ((answers("a"), ()), "the card must name either columns or tensors"),
        ((answers("a"), ("x", "x")), "the card has a duplicate column: 'x'"),
        ((answers("a"), ("x", " ")), "the name of column 1 is ' '"),
        ((answers("a"), ("x\n",)), r"the name of column 0 is 'x\\n'"),
        ((answers("a"), ("x\u202e",)), r"the name of column 0 is 'x\\u202e'"),
        ((answers("a"), ("x",), ("a", "b", "a")), "the card has a duplicate class of 'kind': 'a'"),
        ((answers("a"), ("x",), ("a", "b\0")), "the name of class of 'kind' 1"),
        ((answers("c"),), "the model answers 'c', its card has"),
        ((answers(1),), "the model answers 1, its card says string"),
        ((answers("a"), ("x",), ()), "the model answers 'a', its card says number"),
        ((answers(True), ("x",), ()), "the model answers True, its card says number"),
        ((answers(1.0, [1.0]), ("x",), ()), "probabilities, its card has no classes"),
        (
            (answers("a", [0.5, 0.5, 0.0]),),
            r"shape \(1, 3\) for 1 row\(s\), its card has 2 classes",
        ),
        ((answers("a", [1, 0]),), "probabilities are int64, not floats"),
        ((answers(float("nan")), ("x",), ()), "the model has no finite answer"),
        ((lambda rows: ["a"] * len(rows),), "predict gives a list, not a Prediction"),
        ((lambda rows: Prediction([]),), r"0 values of 'kind' for 1 row\(s\)"),
        ((lambda rows: Prediction(["a"]),), "one row and not two.*1 values of 'kind' for 2 row"),
        ((only_one_row,), "export it with a free first dimension, the rows .*Got: 2 Expected: 1"),
    ],
)
def test_model_that_breaks_the_contract_is_refused_at_startup_in_one_line(
    model_path, monkeypatch, model, fault
):
    monkeypatch.setattr(Predictor, "load", lambda content: Answering(*model))
    with pytest.raises(StartupError, match=fault) as error:
        create_app(Settings(model_path=str(model_path)))
    assert "make train" not in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (KeyError(26), "KeyError(26)"),
        (ValueError(), "ValueError()"),
        (ValueError("two\nlines"), "two lines"),
    ],
)
def test_error_without_a_message_is_named_by_its_type(model_path, monkeypatch, error, reason):
    monkeypatch.setattr(Predictor, "load", Mock(side_effect=error))
    with pytest.raises(StartupError, match=re.escape(f"{model_path}: {reason}; train or export")):
        create_app(Settings(model_path=str(model_path)))


def test_model_with_a_name_that_no_header_can_carry_is_refused():
    with pytest.raises(ValueError, match="headers carry ASCII"):
        Engine(Answering(answers("a"), name="modèle"), False, 10)


def test_queue_is_for_slow_models_and_those_that_benefit():
    example = numbers_of(1)
    assert measure(Doubler(seconds=0.002).predict, example).queue
    assert not measure(lambda inputs: Prediction([1.0] * count(inputs)), example).queue


@pytest.mark.parametrize(
    ("seconds_a_row", "max_rows", "expected"),
    [(0, 0, 0), (0, 20, 20), (0, 1000, 1000), (200e-6, 1000, 4), (2e-3, 1000, 0), (200e-6, 3, 3)],
)
def test_event_loop_gets_the_rows_that_are_answered_within_a_millisecond(
    monkeypatch, seconds_a_row, max_rows, expected
):
    monkeypatch.setattr(
        "training.output.fastest", lambda predict, inputs, times=0: count(inputs) * seconds_a_row
    )
    assert measure(None, numbers_of(1), max_rows).inline_rows == expected


def test_code_that_may_block_stays_off_the_event_loop():
    assert Engine(Doubler(), False, 10).may_block
    model = Doubler()
    model.may_block = False
    assert not Engine(model, False, 10).may_block


def test_training_measures_only_non_blocking_models_for_the_event_loop(
    model_path, tmp_path, monkeypatch
):
    content = artifact.read(model_path).content
    monkeypatch.setattr("training.output.measure_memory", lambda path: 1)
    for may_block in (True, False):
        monkeypatch.setattr(Predictor, "may_block", may_block, raising=False)
        monkeypatch.setattr("training.output.INLINE_SECONDS", 60)
        publish(tmp_path / "model", content)
        expected = 0 if may_block else 1000
        assert serving.read(tmp_path / "model").inline_rows == expected


def test_measurement_is_stored_beside_the_model(tmp_path):
    path = tmp_path / "model"
    assert not serving.read(path).queue
    write_serving(path, serving.Serving(queue=True, inline_rows=7))
    assert serving.read(path) == serving.Serving(queue=True, inline_rows=7)
    for text, queue in (('{"queue": true}', True), ("nonsense", False)):
        (tmp_path / "serving.json").write_text(text)
        assert serving.read(path) == serving.Serving(queue=queue, inline_rows=0)
