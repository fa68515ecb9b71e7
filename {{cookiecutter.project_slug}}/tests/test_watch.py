"""Statistics of inputs and predictions, and their distance from training."""

import json

import numpy as np
import pytest

from inference.monitoring import statistics as watch
from inference.monitoring.distributions import (
    HALF,
    chance_level,
    measure_text,
    of_column,
    of_output,
    of_tensor,
    stability_index,
)
from inference.monitoring.exposition import MOST_NAMED, OTHERS, CloudWatch, percentile, to_dimension
from inference.monitoring.metrics import SECONDS
from inference.runtime.signature import MATRIX, Column, Output, Prediction, Tensor
from tests.models import CARDS, MIXED, NUMBERS, Stub, make_app, make_card, metric
from training.dataset import Dataset

random = np.random.default_rng(7)
TRAINED = random.normal(20, 5, 2000)
LABELS = np.where(TRAINED > 20, "old", "young")
TRAINING = Dataset(
    name="people",
    rows=np.column_stack([TRAINED, random.exponential(30, 2000)]),
    features=["age", "fare"],
    target="group",
    labels=LABELS,
)
KNOWN = make_card(
    "known",
    columns=TRAINING.describe_columns(),
    outputs=TRAINING.describe_outputs(
        [Output(name="group", type="string", classes=("old", "young"))]
    ),
)


def reference(training, recent):
    """Return the index of two distributions, from the shares of their values in the same bins."""
    edges = np.quantile(training, np.linspace(0, 1, 11)).astype(np.float32).astype(float)

    def shares(values):
        inner = [(low < values) & (values <= high) for low, high in zip(edges, edges[1:])]  # noqa: B905, RUF007
        inner[0] |= values == edges[0]
        bins = [values < edges[0], *inner, values > edges[-1], np.isnan(values)]
        return np.array([np.count_nonzero(each) for each in bins], float)

    then, now = shares(training), shares(recent)
    some = (then + now) > 0
    then, now = then[some] + HALF, now[some] + HALF
    then, now = then / then.sum(), now / now.sum()
    return sum((now - then) * np.log(now / then))


@pytest.mark.parametrize(("shift", "missing"), [(0, 0), (2, 0), (-40, 0), (1, 0.2)])
def test_index_equals_that_of_the_raw_rows(shift, missing):
    training = TRAINED.astype(np.float32).astype(float)
    recent = random.normal(20 + shift, 5, 3000).astype(np.float32).astype(float)
    recent[random.random(3000) < missing] = np.nan
    distribution = of_column(KNOWN.columns[0])
    counts = distribution.count(recent.astype(np.float32))
    assert counts.sum() == 3000
    index = stability_index(distribution.expected, counts)
    assert index == pytest.approx(reference(training, recent), abs=1e-9)


@pytest.mark.parametrize("rows", [100, 300, 3000])
def test_random_variation_is_not_drift(rows):
    distribution = of_column(KNOWN.columns[0])
    for _ in range(300):
        counts = distribution.count(random.choice(TRAINED.astype(np.float32), rows))
        level = chance_level(distribution.expected, counts)
        assert stability_index(distribution.expected, counts) < max(level, 0.2)


def test_every_training_value_is_in_a_training_bin():
    for column, values in zip(KNOWN.columns, TRAINING.rows.T, strict=True):
        counts = of_column(column).count(values.astype(np.float32))
        assert tuple(counts[1:-2]) == column.counts
        assert counts.sum() == sum(column.counts) == 2000


@pytest.mark.parametrize(
    ("column", "values", "expected"),
    [
        (Column(name="x", edges=(1, 2, 4), counts=(5, 6)), [0, 1, 2, 3, 4, 5, np.nan], [1, 2, 2, 1, 1]),
        # As float32, 0.1 is larger.
        (Column(name="x", edges=(0.1, 0.7), counts=(9,)), np.float32([0.1, 0.7]), [0, 2, 0, 0]),
        (Column(name="x", edges=(3,), counts=(9,)), [2, 3, 4], [1, 1, 1, 0]),
        (Column(name="x", minimum=0, maximum=1), [-1, 0.5, 2], [1, 1, 1, 0]),
        (Column(name="x", type="integer", edges=(2**53, 2**53 + 2), counts=(2,)), [2**53], [0, 1, 0, 0]),
        (Column(name="x"), [1, np.nan], [0, 1, 0, 1]),
        (Column(name="x", type="boolean", counts=(1, 2)), [True, False, True], [1, 2, 0, 0]),
        (Column(name="x", type="string", categories=("a", "b")), ["b", "c", ""], [0, 1, 1, 1]),
    ],
)  # fmt: skip
def test_values_are_counted_by_bin(column, values, expected):
    distribution = of_column(column)
    assert distribution.count(np.array(values)).tolist() == expected
    assert len(distribution.labels) == distribution.size == len(expected)


def test_text_and_tensors_are_counted_by_their_measures():
    text = of_column(Column(name="x", type="string", edges=(1, 5), counts=(9,)))
    assert text.count(measure_text(np.array(["hello", "", "longer"]))).tolist() == [0, 1, 1, 1]
    tensor = of_tensor(Tensor(name="x", shape=(2,), edges=(0, 1), counts=(9,)))
    assert tensor.measured == "mean"
    number = of_output(Output(name="y", edges=(0, 1, 2), counts=(1, 1)))
    assert number.count([0.5, 1.5, 3]).tolist() == [0, 1, 1, 1, 0]


@pytest.fixture
def known(tmp_path, monkeypatch):
    """A service whose statistics know the training data, with a window that the test controls."""
    app = make_app(KNOWN, tmp_path, monkeypatch, batching="off", max_rows=10_000)
    app.extensions["service"].statistics.start = lambda: None
    return app


def ask(app, shift, rows=400):
    """Request predictions for people this many years older than in training."""
    chosen = random.choice(TRAINING.rows, rows)
    chosen[:, 0] += shift
    answer = app.test_client().post("/predict", json={"instances": chosen.tolist()})
    assert answer.status_code == 200
    app.extensions["service"].statistics.flush()


def verdicts(app):
    """Return the verdict on each input and output."""
    found = app.test_client().get("/monitor.json").json["found"]
    return {each["name"]: each["verdict"] for each in found}


def test_shifted_input_is_named_everywhere(known, caplog, monkeypatch):
    caplog.set_level("INFO", "inference.drift")
    monkeypatch.setattr(Stub, "predict", lambda self, inputs: answer_as_trained(inputs))
    statistics = known.extensions["service"].statistics
    clock = statistics._window._step
    for step in range(20 * watch.STEPS):
        ask(known, shift=0, rows=100)
        tick(statistics, clock + step + 1)
    assert verdicts(known) == {"age": "steady", "fare": "steady", "group": "steady"}
    assert not caplog.records
    clock += 20 * watch.STEPS
    for step in range(watch.STEPS):
        ask(known, shift=10, rows=100)
        tick(statistics, clock + step + 1)
    assert verdicts(known)["age"] == "drifted"
    assert verdicts(known)["fare"] == "steady"
    (record, *_) = caplog.records
    assert record.levelname == "WARNING"
    assert record.getMessage() == "age has drifted from training"
    assert record.fields["psi"] > 0.2
    assert known.test_client().get("/monitor.json").json["found"][0]["name"] == "age"
    age, fare = (
        metric(known.test_client(), "inference_input_psi", input=name) for name in ("age", "fare")
    )
    assert age > 0.2 > fare
    for step in range(2 * watch.STEPS):
        ask(known, shift=0, rows=100)
        tick(statistics, clock + watch.STEPS + step + 1)
    assert verdicts(known)["age"] == "steady"
    assert caplog.records[-1].getMessage() == "age no longer drifts from training"


def answer_as_trained(inputs):
    """Return the people's groups as they are in training."""
    return Prediction(random.choice(LABELS, len(inputs[MATRIX])).tolist())


def tick(statistics, step):
    """Advance the clock of a window to a step."""
    now = (step + 0.5) * statistics.settings.drift_window_seconds / watch.STEPS
    if statistics._window.advance(now, statistics._metrics.values()):
        statistics._tell()


def test_few_rows_get_no_verdict(known):
    ask(known, shift=100, rows=watch.LEAST_ROWS - 1)
    assert set(verdicts(known).values()) == {"few rows"}


def test_window_drops_old_counts():
    window = watch.Window(12, now=100.0, counts=np.array([5.0]))
    assert window.recent(np.array([7.0])) == [2]
    assert not window.advance(100.5, np.array([7.0]))
    assert window.advance(101, np.array([8.0]))
    assert window.recent(np.array([9.0])) == [4]
    assert window.advance(200, np.array([9.0]))
    assert window.recent(np.array([10.0])) == [1]


@pytest.mark.parametrize("card", CARDS, ids=lambda card: card.name)
def test_statistics_support_every_kind_of_model(card, tmp_path, monkeypatch):
    app = make_app(card, tmp_path, monkeypatch)
    client = app.test_client()
    for _ in range(3):
        client.post("/predict", json={"instances": [card.example, card.example]})
    found = client.get("/monitor.json").json["found"]
    names = [each.name for each in (*card.columns, *card.tensors, *card.outputs)]
    assert sorted(each["name"] for each in found) == sorted(names)
    assert {each["rows"] for each in found} == {6}
    assert metric(client, "inference_input_window_rows") == 6
    assert client.get("/monitor").status_code == 200


def test_missing_and_unknown_values_are_counted(tmp_path, monkeypatch):
    client = make_app(MIXED, tmp_path, monkeypatch).test_client()
    row = dict(zip([column.name for column in MIXED.columns], MIXED.example, strict=True))
    for island, age, note in (("Dream", 28, "x"), ("Atlantis", 200, ""), ("Dream", None, "x")):
        instance = row | {"island": island, "age": age, "note": note}
        assert client.post("/predict", json={"instances": [instance]}).status_code == 200
    assert metric(client, "inference_input_outside_total", input="island") == 1
    assert metric(client, "inference_input_outside_total", input="age") == 1
    assert metric(client, "inference_input_missing_total", input="age") == 1
    assert metric(client, "inference_input_missing_total", input="note") == 1
    assert metric(client, "inference_input_categories_total", input="island", value="Dream") == 2


def test_wide_tables_have_few_series(tmp_path, monkeypatch):
    columns = tuple(
        Column(name=f"c{place}", required=False, edges=(0, 1), counts=(9,), example=0.5)
        for place in range(1000)
    )
    card = make_card("wide", columns=columns, outputs=NUMBERS.outputs)
    client = make_app(card, tmp_path, monkeypatch).test_client()
    row = [0.5] * 1000
    row[700], row[3] = 9.0, None
    client.post("/predict", json={"instances": [row] * 4})
    text = client.get("/metrics").text
    assert text.count("\ninference_input_outside_total") == MOST_NAMED + 1
    assert metric(client, "inference_input_outside_total", input="c700") == 4
    assert metric(client, "inference_input_missing_total", input="c3") == 4
    assert metric(client, "inference_input_missing_total", input=OTHERS) == 0


def test_excess_is_dropped_and_counted(known, monkeypatch):
    statistics = known.extensions["service"].statistics
    monkeypatch.setattr(statistics, "_most_rows", 1000)
    monkeypatch.setattr(statistics, "_quick_rows", 10)
    client = known.test_client()
    for _ in range(3):
        client.post("/predict", json={"instances": TRAINING.rows[:400].tolist()})
    assert metric(client, "inference_skipped_rows_total") == 400
    assert metric(client, "inference_input_window_rows") == 800


def test_statistics_can_be_disabled(tmp_path, monkeypatch):
    app = make_app(NUMBERS, tmp_path, monkeypatch, statistics="off")
    client = app.test_client()
    client.post("/predict", json={"instances": [NUMBERS.example]})
    monitored = client.get("/monitor.json").json
    assert not monitored["is_on"]
    assert {each["rows"] for each in monitored["found"]} == {0}


def test_counting_error_is_only_logged(known, caplog):
    statistics = known.extensions["service"].statistics
    statistics.add({"other": np.zeros((1, 2))}, (Prediction(["old"]),))
    statistics.flush()
    assert "Could not count" in caplog.text
    ask(known, shift=0, rows=8)
    assert {each["rows"] for each in known.test_client().get("/monitor.json").json["found"]} == {8}


def test_cloudwatch_reads_the_log(known):
    service = known.extensions["service"]
    cloudwatch = CloudWatch("Test", "abc-123", service.metrics, service.statistics, ["/predict"])
    ask(known, shift=10)
    known.test_client().post("/predict", json={"instances": [["x"]]})
    known.test_client().get("/ping")
    of_service, *of_inputs = map(json.loads, cloudwatch.lines(now=1000.5))
    check_embedded(of_service)
    assert of_service["_aws"]["Timestamp"] == 1_000_500
    assert (of_service["Service"], of_service["Release"]) == ("Test", "abc-123")
    counted = [of_service[name] for name in ("Requests", "ClientErrors", "ServerErrors")]
    assert counted == [2, 1, 0]
    assert 0 < of_service["LatencyP50"] <= of_service["LatencyP99"] <= 10_000
    assert of_service["DriftedInputs"] == 1
    by_input = {line.get("Input"): line for line in of_inputs}
    for line in of_inputs:
        check_embedded(line)
    assert by_input["age"]["Drift"] > 0.2
    assert by_input["age"]["verdict"] == "drifted"
    assert by_input["fare"]["Drift"] < 0.2
    again = json.loads(cloudwatch.lines(now=1060.5)[0])
    assert again["Requests"] == 0
    assert "LatencyP50" not in again


def check_embedded(line):
    """Check a line against the specification of the embedded metric format."""
    for about in line["_aws"]["CloudWatchMetrics"]:
        assert about["Namespace"] == "Test"
        for dimensions in about["Dimensions"]:
            assert len(dimensions) <= 30
            assert all(isinstance(line[name], str) and line[name] for name in dimensions)
        for each in about["Metrics"]:
            assert isinstance(line[each["Name"]], float)
            assert each["Unit"] in ("Count", "Milliseconds", "None")


@pytest.mark.parametrize(
    ("name", "expected"),
    [("age", "age"), ("Länge", "L\\xe4nge"), (":id", "id"), (":", "-"), ("x" * 2000, "x" * 1024)],
)
def test_dimensions_are_valid_for_cloudwatch(name, expected):
    assert to_dimension(name) == expected


def test_percentiles_are_within_their_buckets():
    counts = np.zeros(len(SECONDS) + 1)
    counts[3] = 100
    assert percentile(counts, 50) == pytest.approx((SECONDS[2] + SECONDS[3]) / 2)
    counts[-1] = 1000
    assert percentile(counts, 99) == SECONDS[-1]


def test_inputs_of_the_projects_model_are_watched(client, row):
    client.post("/predict", json={"instances": [row]})
    found = client.get("/monitor.json").json["found"]
    assert {each["rows"] for each in found} == {1}
