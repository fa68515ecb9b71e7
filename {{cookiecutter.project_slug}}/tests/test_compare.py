"""The comparison of a new model with the running one."""

import io
import json
import os
import subprocess
import sys

import compare
import pytest
from ask import NoAnswerError

from inference.app import create_app
from inference.config import ROOT, Settings

RUNNING, NEW = "http://running", "http://new"


def a_sample(metrics, answer, request='{"instances": [[1], [2], [3], [4]]}'):
    """Return the output of ``python -m inference.expected``."""
    return "\n".join(["{}", "{}", "version", metrics, request, json.dumps(answer)])


@pytest.fixture
def answers(monkeypatch):
    """The response of each URL; an error is raised."""
    known = {}

    def ask(url, body=None):
        if isinstance(known[url], Exception):
            raise known[url]
        return known[url].encode()

    monkeypatch.setattr(compare, "ask", ask)
    monkeypatch.delenv("TOLERANCE", raising=False)
    monkeypatch.delenv("MAX_DIFFERENT", raising=False)
    return known


@pytest.fixture
def run(answers, monkeypatch, capsys):
    """Compare, and return the exit code and the output."""

    def run(sample, *urls, metrics="", predictions=()):
        answers.setdefault(f"{RUNNING}/metrics", metrics)
        answers.setdefault(f"{RUNNING}/predict", json.dumps({"predictions": predictions}))
        monkeypatch.setattr(sys, "stdin", io.StringIO(sample))
        code = compare.main(RUNNING, *urls)
        said = capsys.readouterr()
        return code, said.out + said.err

    return run


def test_service_reports_the_metrics_of_training(client, card):
    told = compare.running_metrics(client.get("/metrics").text)
    assert told == {name: float(f"{value:.4g}") for name, value in card.metrics.items()}


def test_trained_model_may_replace_itself(card, model_path, monkeypatch, capsys):
    command = [sys.executable, "-m", "inference.expected"]
    environment = {**os.environ, "MODEL_PATH": str(model_path)}
    sample = subprocess.run(
        command, cwd=ROOT, env=environment, text=True, stdout=subprocess.PIPE, check=True
    ).stdout
    client = create_app(Settings(model_path=str(model_path))).test_client()

    def ask(url, body=None):
        path = url.removeprefix(RUNNING)
        if body is None:
            return client.get(path).data
        return client.post(path, data=body, content_type="application/json").data

    monkeypatch.setattr(compare, "ask", ask)
    monkeypatch.setattr(sys, "stdin", io.StringIO(sample))
    assert compare.main(RUNNING) == 0
    rows = len(card.sample or card.examples) or 1
    assert f"0 of {rows} answers differ" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "running", "new", "got_worse"),
    [
        ("accuracy", 0.95, 0.90, True),
        ("accuracy", 0.95, 0.945, False),
        ("accuracy", 0.95, 0.97, False),
        ("accuracy", 0.95, float("nan"), True),
        ("r2", -0.5, -0.6, True),
        ("mean_absolute_error", 40.0, 44.0, True),
        ("mean_absolute_error", 40.0, 36.0, False),
        # Of one of several outputs, whose name has a blank.
        ("price of it_mean_absolute_error", 40.0, 44.0, True),
        ("price of it_mean_absolute_error", 40.0, 36.0, False),
        ("price of it_r2", 0.95, 0.90, True),
    ],
)
def test_model_that_got_worse_must_not_be_released(run, name, running, new, got_worse):
    answer = {"predictions": list("abcd")}
    metrics = f'inference_model_metric{{metric="{name}"}} {running}'
    code, said = run(
        a_sample(f"{name}={new:.4g} b=1e-05", answer),
        metrics=metrics,
        predictions=answer["predictions"],
    )
    assert f"{name:20} {running:9.4g} {new:9.4g}" in said
    assert code == got_worse
    assert ("worse by more than 1.0% in" in said) == got_worse


@pytest.mark.parametrize(
    ("running", "new", "differ"),
    [
        (["a", "b", "a", "b"], ["a", "b", "a", "b"], 0),
        (["a", "b", "a", "b"], ["a", "b", "b", "a"], 2),
        ([1, 2, 3, 4], [1, 2, 3, 5], 1),
        ([True, False, True, True], [False, False, True, True], 1),
        # A tenth of a span of 100.
        ([0.0, 50.0, 99.0, 100.0], [9.0, 41.0, 99.0, 120.0], 1),
        ([5.0, 5.0, 5.0, 5.0], [5.0, 5.0, 5.0, 5.00001], 0),
        ([5.0, 5.0, 5.0, 5.0], [5.0, 5.0, 5.0, 6.0], 1),
        # Numbers instead of classes.
        ([1.0, 2.0, 3.0, 4.0], [1, 2, 3, 4], 4),
        (
            [
                {"x": "a", "y": 1.0},
                {"x": "b", "y": 3.0},
                {"x": "a", "y": 2.0},
                {"x": "a", "y": 2.0},
            ],
            [
                {"x": "b", "y": 1.0},
                {"x": "b", "y": 3.0},
                {"x": "a", "y": 2.5},
                {"x": "a", "y": 2.0},
            ],
            2,
        ),
    ],
)
@pytest.mark.parametrize("urls", [(), (NEW,)])
def test_different_answers_are_counted(run, answers, running, new, differ, urls):
    answers[f"{NEW}/predict"] = json.dumps({"predictions": new})
    image = [] if urls else new
    code, said = run(a_sample("", {"predictions": image}), *urls, predictions=running)
    assert f"{differ} of 4 answers differ, {25 * differ} %" in said
    assert code == (differ > 0)
    assert ("more than 20 % of its answers differ" in said) == (differ > 0)


def test_owner_can_allow_more_differences(run, monkeypatch):
    monkeypatch.setenv("MAX_DIFFERENT", "50")
    code, said = run(a_sample("", {"predictions": list("aabb")}), predictions=list("aaaa"))
    assert (code, "2 of 4 answers differ, 50 %; 50 % are allowed" in said) == (0, True)


@pytest.mark.parametrize("name", ["TOLERANCE", "MAX_DIFFERENT"])
@pytest.mark.parametrize("value", ["", "20%", "nan", "-1", "inf"])
def test_setting_that_is_not_a_number_is_named(run, monkeypatch, capsys, name, value):
    monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit) as ended:
        run(a_sample("", {"predictions": []}))
    assert ended.value.code == 2
    assert capsys.readouterr().err == f"{name} must be a number from 0 on, not {value!r}\n"


def test_model_with_other_inputs_may_be_released(run, answers):
    answers[f"{RUNNING}/predict"] = NoAnswerError("HTTP 400 BAD REQUEST", 400)
    code, said = run(a_sample("accuracy=0.9", {"predictions": list("aaaa")}))
    assert code == 0
    assert "the answers cannot be compared: HTTP 400" in said
    assert "no metric in common" in said


@pytest.mark.parametrize(
    "error", [NoAnswerError("HTTP 503", 503), NoAnswerError("connection refused")]
)
@pytest.mark.parametrize("path", ["predict", "metrics"])
def test_failed_request_is_no_comparison(run, answers, error, path):
    answers[f"{RUNNING}/{path}"] = error
    code, said = run(a_sample("", {"predictions": list("aaaa")}))
    assert code == 2
    assert str(error) in said


def test_unexpected_error_is_not_the_verdict():
    command = [sys.executable, ROOT / "deploy" / "compare.py", RUNNING, NEW, "too many"]
    done = subprocess.run(command, capture_output=True)
    assert done.returncode == 2


def test_image_of_an_earlier_version_has_no_instances(run):
    code, said = run("{}\n{}\nversion\naccuracy=0.9")
    assert (code, "of an earlier version" in said) == (0, True)


@pytest.mark.parametrize(
    ("answer", "expected", "is_same"),
    [
        ('{"a": ["x", 1.0]}', '{"a": ["x", 1.00001]}', True),
        ('{"a": ["x", 1.0]}', '{"a": ["x", 1.001]}', False),
        ('{"a": 0.0}', '{"a": 1e-7}', True),
        ('{"a": 1}', '{"a": 2}', False),
        ('{"a": 1}', '{"a": 1, "b": 1}', False),
        ("[1]", "[1, 2]", False),
        ("not JSON", "not JSON", False),
    ],
)
def test_smoke_allows_other_last_digits_only(answer, expected, is_same):
    command = [sys.executable, ROOT / "deploy" / "compare.py", "--same", answer, expected]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout + done.stderr) == (not is_same, "")
