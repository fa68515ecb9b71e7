"""The sample of requests: what is stored, what never is, and what happens if its target fails."""

import json

import pandas as pd
import pytest

from inference.config import Settings
from inference.errors import StartupError
from inference.monitoring import logs, request_sample
from tests.models import CARDS, MIXED, NUMBERS, SEVERAL, examples_of, make_app, metric
from tests.server import serving
from training.live import evaluate, read, to_frame


@pytest.fixture
def lines(monkeypatch):
    """The lines of the log."""
    written = []
    monkeypatch.setattr(logs.writer, "write", written.append)
    return written


def sampled(app, lines):
    """Return the sample's rows in the log so far."""
    app.extensions["service"].sample.flush()
    rows = [json.loads(line) for line in lines]
    return [row for row in rows if row["logger"] == "inference.sample"]


def ask_at_every_door(card, client):
    """Send the example to each route, and twice to one of them; return how many rows were answered."""
    version = client.get("/ping").headers["X-Model-Version"]
    examples = [*examples_of(client)]
    examples += [
        (path.replace("/infer", f"/versions/{version}/infer"), kind, body)
        for path, kind, body in examples
        if path.endswith("/infer")
    ]
    for path, kind, body in examples:
        answer = client.post(path, data=body, content_type=kind)
        assert answer.status_code == 200, answer.text
    client.post("/invocations", json={"instances": [card.example, card.example]})
    return len(examples) + 2


@pytest.mark.parametrize("card", CARDS, ids=lambda card: card.name)
def test_every_route_is_sampled_without_the_excluded_column(card, tmp_path, monkeypatch, lines):
    names = [part.name for part in (*card.columns, *card.tensors)]
    client = make_app(
        card, tmp_path, monkeypatch, sample_share=1.0, sample_without=json.dumps(names[:1])
    ).test_client()
    rows = ask_at_every_door(card, client)
    kept = sampled(client.application, lines)
    assert len(kept) == rows
    for row in kept:
        assert list(row["instance"]) == names[1:]
        assert row["model_version"]
        assert row["request_id"]
    answer = client.post("/predict", json={"instances": [card.example]})
    (row,) = [
        row
        for row in sampled(client.application, lines)
        if row["request_id"] == answer.headers["X-Request-ID"]
    ]
    assert [row["prediction"]] == answer.json["predictions"]
    assert row.get("probabilities") in (None, *answer.json.get("probabilities", []))
    example = card.example
    if card.columns:
        assert list(row["instance"].values()) == example[1:]
    elif len(names) > 1:
        assert row["instance"] == {name: example[name] for name in names[1:]}


def test_nothing_is_sampled_by_default(tmp_path, monkeypatch, lines):
    client = make_app(NUMBERS, tmp_path, monkeypatch).test_client()
    ask_at_every_door(NUMBERS, client)
    assert not sampled(client.application, lines)


def test_a_share_is_sampled(tmp_path, monkeypatch, lines):
    client = make_app(NUMBERS, tmp_path, monkeypatch, sample_share=0.25).test_client()
    for _ in range(400):
        client.post("/predict", json={"instances": [NUMBERS.example]})
    # Nine standard deviations around the mean.
    assert 22 < len(sampled(client.application, lines)) < 178


def count(client, result):
    """Return how many rows the sample has kept or dropped."""
    return metric(client, "inference_sample_rows_total", result=result)


class Broken:
    """A bucket that rejects all writes until it is repaired."""

    def __init__(self, *_):
        self.objects = []
        self.is_broken = True

    def put(self, content):
        if self.is_broken:
            raise OSError("no such bucket\nmore")
        self.objects.append(content)


@pytest.fixture
def to_bucket(tmp_path, monkeypatch):
    """A service whose sample goes to a failing bucket, and that bucket."""
    monkeypatch.setattr(request_sample, "Bucket", Broken)
    settings = {"sample_share": 1.0, "sample_to": "s3://bucket/prefix"}
    app = make_app(NUMBERS, tmp_path, monkeypatch, **settings)
    kept = app.extensions["service"].sample
    # The test triggers the writes.
    monkeypatch.setattr(kept._thread, "start", lambda: None)
    return app.test_client(), kept


def test_failed_write_is_retried(to_bucket, caplog):
    client, kept = to_bucket
    for _ in range(3):
        answer = client.post("/predict", json={"instances": [NUMBERS.example]})
        assert answer.status_code == 200
        kept._take()
        kept._put()
    assert [record.getMessage() for record in caplog.records] == [
        "Could not store the sample: no such bucket"
    ]
    assert (count(client, "kept"), count(client, "dropped")) == (0, 0)
    kept._target.is_broken = False
    kept._put()
    (content,) = kept._target.objects
    assert len(content.splitlines()) == 3
    assert (count(client, "kept"), count(client, "dropped")) == (3, 0)


def test_excess_and_final_rows_are_dropped_and_counted(to_bucket, monkeypatch):
    client, kept = to_bucket
    monkeypatch.setattr(request_sample, "MOST_BYTES", 1000)
    for _ in range(20):
        client.post("/predict", json={"instances": [NUMBERS.example]})
    kept._take()
    dropped = count(client, "dropped")
    assert 0 < dropped < 20
    kept.flush()
    assert count(client, "dropped") == 20
    monkeypatch.setattr(request_sample, "MOST_REQUESTS", 2)
    for _ in range(5):
        client.post("/predict", json={"instances": [NUMBERS.example]})
    assert count(client, "dropped") == 23


def test_only_columns_can_be_excluded(tmp_path, monkeypatch):
    with pytest.raises(StartupError, match="SAMPLE_WITHOUT names 'nmae'"):
        make_app(MIXED, tmp_path, monkeypatch, sample_without="age, nmae")
    with pytest.raises(StartupError, match="SAMPLE_WITHOUT"):
        Settings.from_environment({"SAMPLE_WITHOUT": '["a"'})
    with pytest.raises(StartupError, match="SAMPLE_TO"):
        Settings.from_environment({"SAMPLE_TO": "/tmp/x"})  # noqa: S108
    assert Settings(sample_without='["a, b", "c"]').left_out == ["a, b", "c"]


def test_sigterm_writes_pending_rows(tmp_path, model_path, card, row):
    variables = {"SAMPLE_SHARE": "1", "MODEL_PATH": model_path, "WORKERS": "2"}
    body = json.dumps({"instances": [row]}).encode()
    request = (
        b"POST /predict HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\n"
        b"Content-Length: %d\r\n\r\n%b"
    ) % (len(body), body)
    with serving(tmp_path / "log", **variables) as server:
        for _ in range(20):
            assert b" 200 OK" in server.exchange(request)
        server.stop()
        kept = [entry for entry in server.entries() if entry["logger"] == "inference.sample"]
    assert len(kept) == 20
    assert len({entry["request_id"] for entry in kept}) == 20


def test_sample_can_be_read_back(tmp_path, monkeypatch, lines):
    app = make_app(SEVERAL, tmp_path, monkeypatch, sample_share=1.0, sample_without="width")
    client = app.test_client()
    for _ in range(3):
        client.post("/predict", json={"instances": [SEVERAL.example] * 2})
    app.extensions["service"].sample.flush()
    folder = tmp_path / "sample" / "date=2026-01-01"
    folder.mkdir(parents=True)
    (folder / "a.jsonl").write_bytes(b"\n".join([b'{"logger":"other"}', *lines, lines[-1]]))
    rows = read(str(tmp_path / "sample"))
    assert len(rows) == 6
    frame = to_frame(rows)
    inputs = [column.name for column in SEVERAL.columns if column.name != "width"]
    assert [*frame.columns[: len(inputs)]] == inputs
    assert {f"prediction_{output.name}" for output in SEVERAL.outputs} < set(frame.columns)
    names = [output.name for output in SEVERAL.outputs]
    labels = frame[["request_id", "row"]].copy()
    labels[names] = frame[[f"prediction_{name}" for name in names]]
    assert evaluate(rows, labels, SEVERAL)["species_accuracy"] == 1
    labels["species"] = "other"
    assert evaluate(rows, labels.head(3), SEVERAL)["species_accuracy"] == 0


@pytest.mark.parametrize(
    ("labels", "reason"),
    [
        ({"species": ["setosa"]}, "no column 'request_id'"),
        ({"request_id": ["x"]}, "no column 'species'"),
        ({"request_id": ["x"], "species": ["setosa"]}, "no request of the labels"),
    ],
)
def test_labels_that_do_not_fit_say_why(labels, reason):
    rows = [
        request_sample.SampledRow(
            time="2026-01-01T00:00:00Z",
            logger="inference.sample",
            request_id="1",
            row=0,
            model_version="v",
            instance={},
            prediction="setosa",
        )
    ]
    with pytest.raises(Exception, match=reason):
        evaluate(rows, pd.DataFrame(labels), NUMBERS)
