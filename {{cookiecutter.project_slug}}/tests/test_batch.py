"""File scoring: every row gets the same answer as from the service, whatever happens."""

import csv
import io
import itertools
import json
import math
import os
import random
import re
import select
import signal
import sys
from multiprocessing import get_context
from unittest.mock import Mock

import msgspec
import obstore
import pyarrow
import pyarrow.parquet
import pytest

from inference.batch import source
from inference.batch.__main__ import NOT_DONE, main
from inference.batch.files import AsFile
from inference.batch.job import Job, processes
from inference.batch.parts import Part, plan
from inference.batch.target import ERRORS, Files
from inference.config import Settings
from inference.errors import InvalidInstances, StartupError
from inference.formats.csv import Cells, holds
from tests.models import CARDS, IMAGE, MIXED, NUMBERS, TENSORS, Stub, make_app

ROWS = 53
# Threads of earlier tests do not matter to a process that loads its own model.
pytestmark = pytest.mark.filterwarnings(
    "ignore:This process .* is multi-threaded:DeprecationWarning"
)


@pytest.fixture(params=CARDS, ids=lambda card: card.name)
def model(request, tmp_path, monkeypatch):
    """A model with each kind of signature, and its service."""
    app = make_app(request.param, tmp_path, monkeypatch, max_rows=1000)
    return request.param, app.test_client(), app.extensions["service"].settings


def run(settings, path, target, workers=2):
    """Run a job; return its result."""
    job = Job(Part(str(path), str(target)), workers)
    with processes(settings, workers) as pool:
        progress = job.run(pool, lambda *_: None)
    job.forget()
    return progress


def read_csv(path):
    """Return the rows of a CSV file as text, with its heading."""
    return [*csv.reader(io.StringIO(path.read_text(), newline=""))]


@pytest.mark.parametrize("block_bytes", [40, 2**20])
def test_lines_get_the_same_answers_as_from_the_service(model, tmp_path, monkeypatch, block_bytes):
    card, client, settings = model
    monkeypatch.setattr(source, "BLOCK_BYTES", block_bytes)
    path, target = tmp_path / "rows.jsonl", tmp_path / "scores.jsonl"
    path.write_text("\n\n".join([json.dumps(card.example)] * ROWS))
    progress = run(settings, path, target)
    assert (progress.rows, progress.failed) == (ROWS, 0)
    answer = client.post("/predict", json={"instances": [card.example] * ROWS}).json
    lines = [json.loads(line) for line in target.read_text().splitlines()]
    assert [line["row"] for line in lines] == [*range(ROWS)]
    assert [line["prediction"] for line in lines] == answer["predictions"]
    given = [line["probabilities"] for line in lines if "probabilities" in line]
    assert given == answer.get("probabilities", [])
    assert {file.name for file in tmp_path.iterdir() if "scores" in file.name} == {"scores.jsonl"}


@pytest.mark.parametrize("block_bytes", [40, 2**20])
def test_csv_gets_the_same_answers_as_from_the_service(model, tmp_path, monkeypatch, block_bytes):
    card, client, settings = model
    path, target = tmp_path / "rows.csv", tmp_path / "scores.csv"
    if not holds(card):
        path.write_text("x\n1\n")
        with pytest.raises(StartupError, match="JSON lines"):
            run(settings, path, target)
        return
    monkeypatch.setattr(source, "BLOCK_BYTES", block_bytes)
    heading, row = Cells(card).example().splitlines(keepends=True)
    text = heading + row * ROWS
    path.write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert run(settings, path, target).failed == 0
    headers = {"Content-Type": "text/csv", "Accept": "text/csv"}
    answer = client.post("/invocations", data=text.encode(), headers=headers).text
    expected = [*csv.reader(io.StringIO(answer, newline=""))]
    assert [line[1:] for line in read_csv(target)] == expected
    assert [line[0] for line in read_csv(target)] == ["row", *map(str, range(ROWS))]


def settings_of(card, tmp_path, monkeypatch):
    """Return the settings of a service with such a model; ``main`` also reads them."""
    settings = make_app(card, tmp_path, monkeypatch).extensions["service"].settings
    monkeypatch.setenv("MODEL_PATH", settings.model_path)
    return settings


@pytest.fixture
def numbers(tmp_path, monkeypatch):
    """Settings for a model of four numbers."""
    return settings_of(NUMBERS, tmp_path, monkeypatch)


@pytest.fixture
def mixed(tmp_path, monkeypatch):
    """Settings for a model of text and numbers."""
    return settings_of(MIXED, tmp_path, monkeypatch)


def test_invalid_rows_are_named_and_the_others_answered(numbers, tmp_path, monkeypatch):
    monkeypatch.setattr(source, "BLOCK_BYTES", 500)
    good = [f"{place},2,3,4" for place in range(1000)]
    wrong = {
        7: ("1,x,3,4", "width: 'x' is not a finite number"),
        8: ("1,2,3", "3 cells instead of 4"),
        99: ('1,2,"3"4,5', "not CSV"),
        512: ("1,,3,4", "width: a value is missing"),
        513: ("1,2,\xff,4", "not UTF-8"),
        998: ("1,2,3,nan", "a/b~c: 'nan' is not a finite number"),
    }
    lines = [wrong[place][0] if place in wrong else line for place, line in enumerate(good)]
    path, target = tmp_path / "rows.csv", tmp_path / "scores.csv"
    path.write_bytes("\n".join(lines).encode("latin-1"))
    progress = run(numbers, path, target)
    assert (progress.rows, progress.failed) == (1000, len(wrong))
    found = read_csv(target.with_name(target.name + ERRORS))[1:]
    assert [int(row) for row, _ in found] == [*wrong]
    for row, reason in found:
        assert wrong[int(row)][1] in reason
    clean = tmp_path / "clean.csv"
    path.write_text("\n".join(good))
    assert run(numbers, path, clean).failed == 0
    expected = [line for line in read_csv(clean) if line[0] == "row" or int(line[0]) not in wrong]
    assert read_csv(target) == expected


def test_invalid_lines_are_named(mixed, tmp_path):
    good = json.dumps(MIXED.example)
    named = json.dumps({"island": "Dream"})
    path, target = tmp_path / "rows.jsonl", tmp_path / "scores.jsonl"
    path.write_text("\n".join([good, "nonsense", good, named, f"{good},{good}", good]))
    assert run(mixed, path, target).failed == 3
    found = read_csv(target.with_name(target.name + ERRORS))[1:]
    assert [row for row, _ in found] == ["1", "3", "4"]
    assert "port" in found[1][1]
    assert [json.loads(line)["row"] for line in target.read_text().splitlines()] == [0, 2, 5]
    # A clean run removes the errors of the previous one.
    path.write_text(good)
    assert run(mixed, path, target).failed == 0
    assert not target.with_name(target.name + ERRORS).exists()


def test_tensors_of_different_sizes_are_all_answered(tmp_path, monkeypatch):
    app = make_app(TENSORS, tmp_path, monkeypatch)
    instances = [TENSORS.example | {"tokens": [*range(1 + place % 5)]} for place in range(ROWS)]
    path, target = tmp_path / "rows.jsonl", tmp_path / "scores.jsonl"
    path.write_text("\n".join([*map(json.dumps, instances), "nonsense"]))
    assert run(app.extensions["service"].settings, path, target).failed == 1
    lines = [json.loads(line) for line in target.read_text().splitlines()]
    assert [line["row"] for line in lines] == [*range(ROWS)]
    client = app.test_client()
    for line, instance in zip(lines, instances, strict=True):
        answer = client.post("/predict", json={"instances": [instance]}).json
        assert [line["prediction"]] == answer["predictions"]


@pytest.mark.parametrize(
    ("error", "reason"), [(ValueError("thirteen"), "thirteen"), (KeyError(13), "KeyError(13)")]
)
def test_rows_that_the_model_cannot_answer_are_named(numbers, tmp_path, monkeypatch, error, reason):
    answer = Stub.predict

    def refuse(self, inputs):
        if (inputs["instances"][:, 0] == 13).any():
            raise error
        return answer(self, inputs)

    monkeypatch.setattr(Stub, "predict", refuse)
    path, target = tmp_path / "rows.csv", tmp_path / "scores.csv"
    path.write_text("\n".join(f"{place % 100},2,3,4" for place in range(300)))
    assert run(numbers, path, target).failed == 3
    found = read_csv(target.with_name(target.name + ERRORS))[1:]
    assert found == [["13", reason], ["113", reason], ["213", reason]]
    assert len(read_csv(target)) == 298


@pytest.mark.parametrize(
    ("text", "is_quick"),
    [
        ("1,2,3,4\n5,6,7,8\n", True),
        ("1,2,3,4\r\n5,6,7,8", True),
        (" 1.5 ,-2e-3,+3,.25", True),
        ("0.1,0.2,0.3,16777217", True),
        ("1,2,3\n4,5,6,7,8\n", False),
        ("1,2,3,4\n\n5,6,7,8\n", False),
        ("1,2,,4", False),
        ("1,2,nan,4", False),
        ("1,2,inf,4", False),
        ("1,2,1e39,4", False),
        ("1,2,1_000,4", False),
        ("1,2,0x10,4", False),
        ("1,2,\u0663,4", False),
        ("1,2 3,4,5", False),
        ('1,"2",3,4', False),
        ("1,2,3,4\r5,6,7,8", False),
        ("", False),
    ],
)
@pytest.mark.parametrize("heading", ["", "a/b~c,width,height: cm,length\n"])
def test_numbers_parsed_in_bulk_are_the_same(text, is_quick, heading):
    cells = Cells(NUMBERS)
    places, _ = cells.find_columns(heading.strip().split(","))
    quick = cells.read_numbers(text.encode(), places, 4)
    assert (quick is not None) is is_quick
    if is_quick:
        (slow,) = cells.decode((heading + text).encode(), 100).values()
        assert quick.dtype == slow.dtype
        assert (quick == slow).all()


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ('a,b\r\n1,"x\r\n\r\ny"\r\n2,z\r\n', 3),
        ("a\n\n\nb", 2),
        ("\n\r\na\r\n", 1),
        ("a\rb\rc", 3),
        ('"a""b"\n"c\nd"\n', 2),
        ("a", 1),
        ("a\n", 1),
    ],
)
@pytest.mark.parametrize("size", [1, 2, 3, 5, 8, 100])
def test_csv_is_cut_between_records(text, rows, size, monkeypatch):
    monkeypatch.setattr(source, "BLOCK_BYTES", size)
    file = io.BytesIO(text.encode())
    blocks = [*source.Csv(file).blocks(0)]
    assert b"".join(block.content for block in blocks) == text.encode()
    assert sum(block.rows for block in blocks) == rows
    for block in blocks:
        # Resume from any position.
        rest = [*source.Csv(file).blocks(block.end)]
        assert b"".join(each.content for each in rest) == text.encode()[block.end :]


@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
def test_parquet(mixed, tmp_path, monkeypatch, suffix):
    names = [column.name for column in MIXED.columns]
    columns = {name: [value] * ROWS for name, value in zip(names, MIXED.example, strict=True)}
    columns["age"][3] = None
    columns["member"][5] = None
    path, target = tmp_path / "rows.parquet", tmp_path / f"scores{suffix}"
    table = pyarrow.table(columns | {"other": ["x"] * ROWS})
    pyarrow.parquet.write_table(table, path, row_group_size=10)
    with monkeypatch.context() as patch:
        patch.setattr(
            "inference.batch.target.publish", Mock(side_effect=StartupError("S3 is down"))
        )
        with pytest.raises(StartupError, match="S3 is down"):
            run(mixed, path, target)
    # The next run only publishes.
    monkeypatch.setattr("inference.batch.job.in_order", lambda *_: [])
    assert run(mixed, path, target).failed == 1
    found = read_csv(target.with_name(target.name + ERRORS))[1:]
    assert found[0][0] == "5"
    assert "member" in found[0][1]
    if suffix == ".parquet":
        rows = pyarrow.parquet.read_table(target).to_pydict()["row"]
    else:
        rows = [int(line[0]) for line in read_csv(target)[1:]]
    assert rows == [row for row in range(ROWS) if row != 5]
    assert not [*tmp_path.glob("*.part*")]


@pytest.mark.parametrize("wrong", [None, math.nan, 1e39, "3", True])
def test_numbers_of_parquet_are_read_in_bulk(numbers, tmp_path, wrong):
    """Read them one by one if any of them is something else."""
    names = [column.name for column in NUMBERS.columns]
    columns = {name: [place + row / 7 for row in range(ROWS)] for place, name in enumerate(names)}
    columns[names[1]] = [*range(ROWS)]
    good, bad = tmp_path / "good.parquet", tmp_path / "bad.parquet"
    # In another order, with extra columns.
    given = {"other": ["x"] * ROWS, **dict(reversed(columns.items()))}
    pyarrow.parquet.write_table(pyarrow.table(given), good)
    lines = tmp_path / "good.jsonl"
    rows = [json.dumps(row) for row in zip(*columns.values(), strict=True)]
    lines.write_text("\n".join(rows))
    slow, quick = tmp_path / "slow.csv", tmp_path / "quick.csv"
    for path, target in ((lines, slow), (good, quick)):
        assert run(numbers, path, target).failed == 0
    assert quick.read_text() == slow.read_text()
    kind = type(wrong) if wrong is not None else float
    columns[names[2]] = [kind(value) for value in columns[names[2]]]
    columns[names[2]][5] = wrong
    pyarrow.parquet.write_table(pyarrow.table(columns), bad)
    all_are = kind in (str, bool)
    assert run(numbers, bad, tmp_path / "bad.csv").failed == (ROWS if all_are else 1)
    found = read_csv(tmp_path / f"bad.csv{ERRORS}")[1:]
    assert "5" in [line[0] for line in found]
    assert names[2] in found[0][1]


def test_parquet_resumes_from_any_row():
    file = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table({"x": [*range(100)]}), file, row_group_size=30)
    for start in (0, 1, 29, 30, 59, 99, 100):
        blocks = [*source.Parquet(file).blocks(start)]
        rows = [
            value
            for block in blocks
            for value in pyarrow.ipc.open_stream(block.content).read_all()["x"].to_pylist()
        ]
        assert rows == [*range(start, 100)]
        assert not blocks or blocks[-1].end == 100


def score_and_stop(*arguments):
    """Run ``score_until`` in a forked process; return its exit code."""
    reader, writer = os.pipe()
    process = get_context("fork").Process(target=score_until, args=arguments)
    process.start()
    os.close(writer)
    process.join()
    # The pipe closes with the last process of the job.
    assert select.select([reader], [], [], 60)[0]
    os.close(reader)
    return process.exitcode


def score_until(arguments, number, saves, is_last_kept):
    """Score files; a signal stops this process at so many saves of its progress, the last of which is kept or not."""
    save, left = Files._save, itertools.count(saves - 1, -1)

    def save_and_stop(files, progress):
        is_last = next(left) == 0
        if is_last_kept or not is_last:
            save(files, progress)
        if is_last:
            os.kill(os.getpid(), number)

    Files._save = save_and_stop
    sys.exit(main(arguments))


@pytest.mark.usefixtures("numbers")
def test_job_that_is_killed_and_restarted_gives_the_same_answers(tmp_path, monkeypatch):
    monkeypatch.setattr(source, "BLOCK_BYTES", 1000)
    monkeypatch.setattr("inference.batch.target.SAVE_SECONDS", -1)
    monkeypatch.setattr("inference.batch.job.PARENT_SECONDS", 0.05)
    path, clean, target = (tmp_path / name for name in ("rows.csv", "clean.csv", "scores.csv"))
    path.write_text("".join(f"{row % 100},2,3,{row}\n" for row in range(4000)))
    arguments = [str(path), str(target)]
    assert main([str(path), str(clean)]) == 0
    rows = 0
    codes = {signal.SIGINT: 130, signal.SIGKILL: -signal.SIGKILL}
    for number, is_last_kept in itertools.product(codes, (True, False)):
        saves = random.randint(2, 9)  # noqa: S311
        assert score_and_stop(arguments, number, saves, is_last_kept) == codes[number]
        saved = msgspec.json.decode((tmp_path / "scores.csv.progress").read_bytes())
        # Each run resumes where the one before it was stopped.
        assert saved["rows"] > rows
        rows = saved["rows"]
    assert main(arguments) == 0
    assert target.read_bytes() == clean.read_bytes()
    left = sorted(file.name for file in tmp_path.glob("*.csv*"))
    assert left == ["clean.csv", "rows.csv", "scores.csv"]


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (["", "scores.csv"], "both are needed"),
        (["rows.txt", "scores.csv"], "IN=rows.txt must end with .csv"),
        (["rows.csv", "scores.txt"], "OUT=scores.txt must end with .csv"),
        (["nowhere.csv", "scores.csv"], "Could not read nowhere.csv: No such file"),
        (["nowhere.csv", "some/rows.csv"], "Could not read nowhere.csv: No such file"),
        (["rows.csv", "some/../rows.csv"], "is the same file as IN"),
        (["rows.csv", "nowhere/scores.csv"], "the folder does not exist"),
        (["rows.csv", "rows.csv"], "is the same file as IN"),
        (["s3://bucket", "scores.csv"], "must end with"),
        (["some/", "scores.csv"], "OUT=scores.csv must be a folder, like IN: end it with /"),
        (["some", "some/scores/"], "OUT=some/scores/ and IN=some/ must not overlap"),
        (["some/", "."], "must not overlap"),
        (["empty/", "scores/"], "IN=empty/: no files found"),
        (["mixed/", "scores/"], "IN=mixed/rows.csv.gz must end with .csv"),
        (["rows.csv", "scores.csv", "4"], "only a folder or a Parquet file can be divided"),
        (
            ["some/", "scores/", "3"],
            "AWS_BATCH_JOB_ARRAY_INDEX=3 must be a number from 0, less than",
        ),
        (["some/", "scores/", "x"], "AWS_BATCH_JOB_ARRAY_INDEX=3 must be"),
    ],
)
def test_impossible_job_says_why(numbers, given, reason, tmp_path, monkeypatch, capsys):
    (tmp_path / "here").mkdir()
    tmp_path = tmp_path / "here"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AWS_BATCH_JOB_ARRAY_INDEX", "3")
    for name in ("rows.csv", "some/rows.csv", "mixed/rows.csv", "mixed/rows.csv.gz"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("1\n")
    (tmp_path / "empty").mkdir()
    before = [*tmp_path.rglob("*")]
    assert main(given) == 2
    assert reason in capsys.readouterr().err
    assert [*tmp_path.rglob("*")] == before


@pytest.mark.parametrize(
    ("heading", "fault"),
    [
        ("port,island,age,note,member,clas", "no column 'class'; unknown: 'clas'; name them"),
        ("port,island,age,note,member", "There is no column 'class'"),
        (
            "a,b,c,d,e,f",
            "no column 'island', 'port', 'age', 'note', 'member', 'class'; unknown",
        ),
        ("island;port;member;class;x", "';' seems to separate the cells"),
        ("Biscoe;C;1,5;;true;3", "';' seems to separate the cells"),
        ("island\tport\tmember", "'\\t' seems to separate the cells"),
        (
            "id,island,port,member,class,ages",
            "no column 'age'; unknown: 'id', 'ages'; name them as the model does, or leave out the unknown ones",
        ),
        ("island,port,member,class,AGE,a_g_e", "The column age is there twice"),
    ],
)
def test_heading_that_does_not_match_is_refused(mixed, tmp_path, capsys, heading, fault):
    path, target = tmp_path / "rows.csv", tmp_path / "scores.csv"
    path.write_text(f"{heading}\nBiscoe,C,1,x,true,3\n")
    assert main([str(path), str(target)]) == NOT_DONE
    said = capsys.readouterr().err
    assert said.startswith(f"{path}: ")
    assert fault in said
    assert not [*tmp_path.glob("scores*")]
    with pytest.raises(InvalidInstances, match=re.escape(fault)):
        Cells(MIXED).decode(path.read_bytes(), 8)


def test_columns_of_parquet_are_found_like_those_of_csv(mixed, tmp_path, capsys):
    path, target = tmp_path / "rows.parquet", tmp_path / "scores.csv"
    table = pyarrow.table(
        {"Class ": [3], "IS-LAND": ["Dream"], "member": [True], "port": ["C"], "id": [7]}
    )
    pyarrow.parquet.write_table(table, path)
    assert main([str(path), str(target)]) == 0
    assert "counted as missing: 'age', 'note'; not used: 'id'\n" in capsys.readouterr().err
    pyarrow.parquet.write_table(table.append_column("ages", pyarrow.array([1.0])), path)
    assert main([str(path), str(tmp_path / "others.csv")]) == NOT_DONE
    assert "There is no column 'age'; unknown: 'id', 'ages'" in capsys.readouterr().err


def test_tensor_is_a_column_of_parquet(tmp_path, monkeypatch):
    # In CSV, it has a column for each of its values.
    settings = make_app(IMAGE, tmp_path, monkeypatch).extensions["service"].settings
    table = pyarrow.table({"pixels": [IMAGE.example] * 2})
    pyarrow.parquet.write_table(table, tmp_path / "rows.parquet")
    progress = run(settings, tmp_path / "rows.parquet", tmp_path / "scores.csv")
    assert (progress.rows, progress.failed) == (2, 0)


@pytest.mark.parametrize(
    ("text", "note"),
    [
        ("id,survived,island,port,age,note,member,class\n7,1,Dream,C,1,x,true,3\n", ""),
        ("Class ,IS-LAND,member,_port,id\n3,Dream,true,C,7\n", "'age', 'note'; not used: 'id'\n"),
        (
            "island,port,member,class,age\nDream,C,true,3,1\n",
            "rows.csv: counted as missing: 'note'\n",
        ),
        # A row is not a heading, even if it is invalid, or a text in it is the name of a column.
        ("Dream,C,1,island,true,3\nDream,C,x,x,true,3", ""),
    ],
)
def test_columns_without_which_the_model_can_do_are_named(mixed, tmp_path, capsys, text, note):
    path, target = tmp_path / "rows.csv", tmp_path / "scores.csv"
    path.write_text(text)
    assert main([str(path), str(target)]) == int("x,x" in text)
    assert len(read_csv(target)) == 2
    said = capsys.readouterr().err
    assert note in said
    assert bool(note) == ("counted" in said)


def test_model_that_cannot_be_served_says_why(tmp_path):
    (tmp_path / "rows.csv").write_text("1\n")
    with pytest.raises(StartupError, match="Could not read the model"):
        run(Settings(model_path=str(tmp_path / "none")), tmp_path / "rows.csv", tmp_path / "o.csv")


def test_empty_file_has_no_answers(numbers, tmp_path):
    path, target = tmp_path / "rows.csv", tmp_path / "scores.csv"
    path.write_text(Cells(NUMBERS).example().splitlines()[0])
    assert run(numbers, path, target).rows == 0
    assert read_csv(target) == [["row", "species", *NUMBERS.outputs[0].classes]]


@pytest.fixture
def folder(numbers, tmp_path):
    """Nested files of rows, among files of other programs."""
    here = tmp_path / "rows"
    for place in range(5):
        path = here / f"day={place % 2}" / f"{place}.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"{row % 100},2,3,4\n" for row in range(10 * (place + 1))))
        os.utime(path, (place, place))
    for name in ("_SUCCESS", ".0.csv.crc", "0.csv.errors.csv", "_old/1.csv"):
        (here / name).parent.mkdir(exist_ok=True)
        (here / name).write_text("x")
    return here


@pytest.mark.parametrize("jobs", [1, 2, 5, 7])
def test_jobs_share_the_files_of_a_folder(folder, tmp_path, jobs):
    plans = [plan(f"{folder}/", f"{tmp_path}/scores/", index, jobs) for index in range(jobs)]
    sources = [part.source for parts in plans for part in parts]
    assert sorted(sources) == sorted(map(str, folder.glob("day=*/*.csv")))
    assert max(map(len, plans)) - min(map(len, plans)) <= 1


def test_late_file_does_not_move_the_others(folder, tmp_path):
    place = f"{folder}/", f"{tmp_path}/scores/"
    before = [plan(*place, index, 2) for index in range(2)]
    (folder / "day=0" / "00.csv").write_text("1,2,3,4\n")
    after = [plan(*place, index, 2) for index in range(2)]
    for parts, more in zip(before, after, strict=True):
        assert more[: len(parts)] == parts


@pytest.mark.usefixtures("numbers")
def test_folder_is_scored_file_by_file(folder, tmp_path, monkeypatch, capsys):
    scores = tmp_path / "scores"
    (folder / "day=0" / "0.csv").write_text("1,2,3,4\n1,2,x,4\n")
    (folder / "day=1" / "9.parquet").write_text("no Parquet")
    assert main([str(folder), f"{scores}/"]) == 2
    said = capsys.readouterr()
    assert "9.parquet: The file is not Parquet" in said.err
    assert "0.csv.errors.csv: 1 rows without an answer" in said.err
    rows = {path.name: len(read_csv(path)) - 1 for path in scores.glob("*/?.csv")}
    assert rows == {f"{place}.csv": 10 * (place + 1) for place in range(1, 5)} | {"0.csv": 1}
    # Finished files are not scored again while other files are outstanding.
    (folder / "day=1" / "9.parquet").unlink()
    times = {path: path.stat().st_mtime_ns for path in scores.rglob("*.csv")}
    assert main([str(folder), f"{scores}/"]) == 1
    assert {path: path.stat().st_mtime_ns for path in scores.rglob("*.csv")} == times
    assert not [*scores.rglob("*.progress"), *scores.rglob("*.part")]
    # All files are scored again in a new run, or if an answer is missing.
    assert main([str(folder), f"{scores}/"]) == 1
    assert {path: path.stat().st_mtime_ns for path in scores.rglob("*.csv")} != times
    monkeypatch.setenv("AWS_BATCH_JOB_ARRAY_INDEX", "6")
    assert main([str(folder), f"{scores}/", "7"]) == 0
    assert "nothing to do" in capsys.readouterr().out


# More jobs than row groups, and than rows.
@pytest.mark.parametrize("jobs", [1, 2, 3, 6, 12])
@pytest.mark.usefixtures("mixed")
def test_jobs_share_the_rows_of_a_parquet_file(tmp_path, monkeypatch, jobs):
    monkeypatch.setenv("WORKERS", "1")
    rows = 11
    names = [column.name for column in MIXED.columns]
    columns = {name: [value] * rows for name, value in zip(names, MIXED.example, strict=True)}
    columns["member"][5] = None
    columns["age"] = [float(row) for row in range(rows)]
    path = tmp_path / "rows.parquet"
    pyarrow.parquet.write_table(pyarrow.table(columns), path, row_group_size=2)
    found, failed = [], []
    for index in range(jobs):
        monkeypatch.setenv("AWS_BATCH_JOB_ARRAY_INDEX", str(index))
        code = main([str(path), str(tmp_path / "scores.csv"), str(jobs)])
        ending = f"-{index:05}-of-{jobs:05}" if jobs > 1 else ""
        target = tmp_path / f"scores{ending}.csv"
        heading, *answers = read_csv(target)
        assert heading[0] == "row"
        found += answers
        if code:
            failed += read_csv(target.with_name(target.name + ERRORS))[1:]
    assert [int(line[0]) for line in found] == [row for row in range(rows) if row != 5]
    assert [line[0] for line in failed] == ["5"]
    monkeypatch.delenv("AWS_BATCH_JOB_ARRAY_INDEX")
    assert main([str(path), str(tmp_path / "whole.csv")]) == 1
    assert found == read_csv(tmp_path / "whole.csv")[1:]


@pytest.fixture(params=[".csv", ".jsonl", ".parquet"])
def in_store(request, tmp_path):
    """A reader of an object with a row in each format, and what reads rows from it."""
    content = {".csv": b"a,b\n1,2\n", ".jsonl": b"[1, 2]\n"}.get(request.param)
    if content is None:
        pyarrow.parquet.write_table(pyarrow.table({"a": [1.0], "b": [2.0]}), tmp_path / "x")
        content = (tmp_path / "x").read_bytes()
    store = obstore.store.MemoryStore()
    obstore.put(store, "x", content)
    reader = Mock(wraps=obstore.open_reader(store, "x"))
    return reader, source.SOURCES[request.param](AsFile(reader, "s3://bucket/x"))


def test_each_format_is_read_from_an_object_store(in_store):
    _, rows = in_store
    assert sum(block.rows for block in rows.blocks(rows.begin)) >= 1


def test_object_whose_transfer_breaks_off_is_named(in_store):
    reader, rows = in_store
    reader.read.side_effect = OSError("response body error")
    with pytest.raises(StartupError, match="Could not read s3://bucket/x: response body error"):
        list(rows.blocks(rows.begin))


def test_error_of_its_own_is_no_failed_row(model_path, monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("MODEL_PATH", str(model_path))
    monkeypatch.setattr(Job, "run", Mock(side_effect=AttributeError("nothing of that name")))
    (tmp_path / "rows.csv").write_text("1,2\n")
    assert main([str(tmp_path / "rows.csv"), str(tmp_path / "scores.csv")]) == NOT_DONE
    assert "nothing of that name" in capsys.readouterr().err
