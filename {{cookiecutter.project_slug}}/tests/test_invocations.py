"""POST /invocations, SageMaker's contract, in JSON and CSV, for a table of numbers."""

import csv
import io

import pytest

from inference.formats.csv import to_lines
from tests.models import NUMBERS

CARD = NUMBERS
CSV = {"Content-Type": "text/csv"}


@pytest.fixture
def names(card):
    return [column.name for column in card.columns]


def line(cells):
    return ",".join(map(str, cells))


def test_json_is_answered_like_predict(client, row):
    body = {"instances": [row, row]}
    assert client.post("/invocations", json=body).json == client.post("/predict", json=body).json


def test_named_columns_may_come_in_any_order_with_extra_ones(client, names, row):
    expected = client.post("/predict", json={"instances": [row]}).json
    heading = ["id", *reversed(names)]
    body = f"\ufeff{line(heading)}\n7,{line(reversed(row))}\n\n"
    assert client.post("/invocations", data=body.encode(), headers=CSV).json == expected


def test_answer_may_be_csv(client, card, row):
    expected = client.post("/predict", json={"instances": [row]}).json
    response = client.post("/invocations", data=line(row), headers={**CSV, "Accept": "text/csv"})
    assert response.mimetype == "text/csv"
    (answer,) = csv.DictReader(io.StringIO(response.text))
    assert answer[card.outputs[0].name] == str(expected["predictions"][0])
    assert len(answer) == 1 + len(expected.get("probabilities", [{}])[0])


@pytest.mark.parametrize(
    ("change", "detail"),
    [
        (lambda row: "", "0 rows: send between 1 and 8"),
        (
            lambda row: "\n".join([line(row)] * 9),
            "more than 8 rows: split them into several requests, or raise MAX_ROWS",
        ),
        (lambda row: line(row[1:]), "line 1: "),
        (lambda row: line(row) + "\n\n" + line(row[1:]), "line 3: "),
        (lambda row: line(row) + "\n" + line([*row[1:], "x"]), "'x' is not a finite number"),
        (lambda row: line([*row[1:], "nan"]), "'nan' is not a finite number"),
        (lambda row: line([*row[1:], "1e39"]), "'1e39' is not a finite number"),
        (lambda row: line([*row[1:], "1_0"]), "'1_0' is not a finite number"),
        (lambda row: line([*row[1:], '"1']), "The body is not CSV in UTF-8"),
        (lambda row: b"\xff", "The body is not CSV in UTF-8"),
    ],
)
def test_csv_that_does_not_fit_is_refused(client, row, change, detail):
    response = client.post("/invocations", data=change(row), headers=CSV)
    assert response.status_code == 422
    assert response.mimetype == "application/problem+json"
    assert detail in response.json["detail"]


def test_other_content_type_is_refused(client, row):
    response = client.post("/invocations", data=line(row), content_type="application/x-npy")
    assert response.status_code == 415
    assert "application/json or text/csv" in response.json["detail"]


@pytest.mark.parametrize(
    "texts",
    [
        ["plain", "größe", "two words", " blank "],
        ["a,b", 'say "x"', "two\nlines", "a\r\nb"],
        ["back\\slash", "tab\there", "bell\a", "\u2028"],
        ["", "x"],
        ["],[", "[[1]]"],
    ],
)
def test_csv_lines_round_trip(texts):
    numbers = [0.1, 1e-7, -3, 2**53][: len(texts)]
    flags = [True, False, True, False][: len(texts)]
    lines = to_lines([range(len(texts)), texts, numbers, flags]).decode()
    rows = [*csv.reader(io.StringIO(lines, newline=""))]
    assert [row[1] for row in rows] == texts
    assert [int(row[0]) for row in rows] == [*range(len(texts))]
    assert [float(row[2]) for row in rows] == numbers
    assert [row[3] == "true" for row in rows] == flags
    assert lines.count("\r\n") >= len(texts)
    plain = [texts[place].isalpha() for place in range(len(texts))]
    assert all(
        f",{text}," in lines for text, is_plain in zip(texts, plain, strict=True) if is_plain
    )
    assert to_lines([[], []]) == b""
