"""Monitoring: drift as users and alarms see it, and the service's sample and files in S3."""

import contextlib
import csv
import json
import math
import os
import re
import shutil
import subprocess
import time
import urllib.parse
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from conftest import environment_with, load_yaml
from selenium.webdriver.common.by import By
from selenium.webdriver.support.wait import WebDriverWait
from served import element, serving, shown
from test_import import embedded_s3, wait_for
from test_page import check_with_axe, emulating
from test_project import ask as ask_for
from test_project import free_port

pytestmark = pytest.mark.slow

WINDOW = 24
SHIFTED = "bill_length_mm"
# Two standard deviations of this column in the training data.
SHIFT = 11
NUMBERS = ("bill_length_mm", "bill_depth_mm", "flipper_length_mm", "body_mass_g")


@pytest.fixture(scope="module")
def penguins(installed):
    """Rows of the training data in the service's format, in random order."""
    code = (
        "import json; from training.train import load_data; data = load_data();"
        "print(json.dumps(data.split(0.5, 3)[0].inputs() + data.split(0.5, 3)[1].inputs()))"
    )
    columns = installed.read("training/train.py")
    assert SHIFTED in columns or "palmerpenguins" in columns
    return json.loads(installed.check(".venv/bin/python", "-c", code))


def ask(url, body=None):
    """Return the service's response as text."""
    status, answer = ask_for(url, body)
    assert status == 200, answer
    return answer.decode()


def send(url, rows, place, shift=0.0):
    """Request predictions of rows with one measure shifted."""
    changed = [[*row] for row in rows]
    for row in changed:
        if row[place] is not None:
            row[place] += shift
    return json.loads(ask(f"{url}/predict", {"instances": changed}))


def verdicts(url):
    """Return the verdicts on the inputs and the output."""
    return {one["verdict"] for one in json.loads(ask(f"{url}/monitor.json"))["found"]}


def place_of(installed):
    """Return the position of the shifted column in a row."""
    code = (
        "from inference.config import Settings; from inference.app import create_app;"
        "card = create_app(Settings()).extensions['service'].engine.card;"
        "print([column.name for column in card.columns].index('bill_length_mm'))"
    )
    return int(installed.check(".venv/bin/python", "-c", code))


def contributors(expression, lines):
    """Evaluate an alarm's Metrics Insights query for lines of the embedded metric format: the maximum by group.

    Only supports the form ``SELECT MAX(...) FROM SCHEMA(...) GROUP BY ...``.
    """
    metric, namespace, dimensions, group = re.fullmatch(
        r'SELECT MAX\((\w+)\) FROM SCHEMA\("([^"]+)", ([\w, ]+)\) GROUP BY (\w+) ORDER BY MAX\(\) DESC',
        expression,
    ).groups()
    found = defaultdict(list)
    for line in lines:
        for about in line.get("_aws", {}).get("CloudWatchMetrics", []):
            names = {each["Name"] for each in about["Metrics"]}
            if (
                about["Namespace"] == namespace
                and sorted(dimensions.split(", ")) in map(sorted, about["Dimensions"])
                and metric in names
            ):
                found[line[group]].append(line[metric])
    return {name: max(values) for name, values in found.items()}


def test_shifted_input_is_named_on_the_page_in_the_log_and_by_the_alarm(
    browser, installed, bake_once, penguins, tmp_path
):
    template = load_yaml(bake_once(deploy_tool="cloudformation").read("deploy/service.yml"))
    alarm = template["Resources"]["DriftAlarm"]["Properties"]
    expression = alarm["Metrics"][0]["Expression"]["Fn::Sub"].replace("${AWS::StackName}", "Test")
    threshold = template["Parameters"][alarm["Threshold"]["Ref"]]["Default"]
    place = place_of(installed)
    log = tmp_path / "log"
    variables = {
        "METRICS_NAMESPACE": "Test",
        "DRIFT_WINDOW_SECONDS": str(WINDOW),
        "API_KEY": "",
        "WORKERS": "2",
        "MAX_ROWS": "5000",
    }
    with serving_with_log(installed, log, **variables) as url:
        send(url, penguins * 3, place)
        # Another worker may have answered; its rows count soon after.
        wait_for(lambda: verdicts(url) != {"few rows"})
        assert verdicts(url) == {"steady"}
        browser.get_log("browser")
        browser.get(f"{url}/monitor")
        WebDriverWait(browser, 10).until(lambda _: element(browser, "#found section"))
        assert "Nothing has drifted" in shown(browser, "#state").text
        check_with_axe(browser)
        for _ in range(4):
            send(url, penguins * 2, place, SHIFT)
        wait_for(lambda: "drifted" in verdicts(url))
        browser.get(f"{url}/monitor")
        WebDriverWait(browser, 10).until(lambda _: "drifted:" in element(browser, "#state").text)
        first = element(browser, "#found section")
        assert first.get_attribute("data-name") == SHIFTED
        assert first.get_attribute("data-verdict") == "drifted"
        assert "outside of training" in first.text
        inputs = [
            section.get_attribute("data-name")
            for section in browser.find_elements(By.CSS_SELECTOR, '[data-verdict="drifted"]')
            if "predicted" not in section.text
        ]
        assert inputs == [SHIFTED]
        check_with_axe(browser)
        assert browser.get_log("browser") == []
        metrics = ask(f"{url}/metrics")
        (index,) = re.findall(rf'^inference_input_psi{{input="{SHIFTED}"}} (.*)$', metrics, re.M)
        assert float(index) > threshold
        # Send at a steady rate until the minute is over, so that the window holds the rows.
        deadline = time.monotonic() + 100
        while not (lines := [line for line in entries(log) if line.get("Input")]):
            assert time.monotonic() < deadline
            send(url, penguins, place, SHIFT)
        (warning,) = [
            line
            for line in entries(log)
            if line["logger"] == "inference.drift" and line["name"] in NUMBERS
        ]
        assert warning["message"] == f"{SHIFTED} has drifted from training"
    found = contributors(expression, lines)
    assert {name for name, value in found.items() if value > threshold} == {SHIFTED}
    assert len(found) > 1


def entries(log):
    """Return the lines of a log."""
    return [json.loads(line) for line in log.read_text().splitlines() if line.endswith("}")]


@contextlib.contextmanager
def serving_with_log(project, log, **variables):
    """Yield the address of a service while it runs, and write its log to a file."""
    port = free_port()
    with log.open("wb") as output:
        process = subprocess.Popen(
            [".venv/bin/python", "-m", "inference"],
            cwd=project.path,
            env={**environment_with(), "PORT": str(port), **variables},
            stdout=output,
        )
        try:
            ask(f"http://127.0.0.1:{port}/ping")
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            assert process.wait(timeout=30) == 0


def test_monitor_requires_the_key(browser, installed):
    with serving(installed, API_KEY="secret") as url:
        browser.get(f"{url}/monitor")
        WebDriverWait(browser, 10).until(lambda _: "API key" in element(browser, "#state").text)
        element(browser, "#key").send_keys("secret\t")
        WebDriverWait(browser, 10).until(lambda _: element(browser, "#found section"))
    browser.get_log("browser")


@pytest.fixture(scope="module")
def s3(installed):
    """The variables that point to a bucket on this machine."""
    with embedded_s3(installed) as variables:
        variables = variables | {"AWS_DEFAULT_REGION": "us-east-1"}
        installed.check("aws", "s3", "mb", "s3://data", **variables)
        yield variables


def test_sample_in_s3_survives_sigterm_and_is_scored_against_the_true_labels(
    installed, penguins, s3, tmp_path
):
    place = place_of(installed)
    variables = s3 | {
        "SSL_CERT_FILE": s3["AWS_CA_BUNDLE"],
        "SAMPLE_SHARE": "1",
        "SAMPLE_TO": "s3://data/sample",
        "SAMPLE_WITHOUT": "sex",
        "WORKERS": "2",
    }
    with serving_with_log(installed, tmp_path / "log", **variables) as url:
        with ThreadPoolExecutor(8) as clients:
            answers = [
                *clients.map(lambda row: send(url, [row], place)["predictions"], penguins[:200])
            ]
        text = ask(f"{url}/metrics")
    # Nothing was due yet: the shutdown wrote it.
    assert 'inference_sample_rows_total{result="kept"} 0.0' in text
    rows = tmp_path / "rows.csv"
    output = installed.check(
        "make", "sample-to-dataset", "IN=s3://data/sample", f"OUT={rows}", **s3
    )
    assert "200 rows" in output
    with rows.open() as file:
        kept = [*csv.DictReader(file)]
    assert "sex" not in kept[0]
    assert sorted(row["prediction"] for row in kept) == sorted(
        prediction for (prediction,) in answers
    )
    labels = tmp_path / "labels.csv"
    with labels.open("w") as file:
        writer = csv.writer(file)
        writer.writerow(["request_id", "species"])
        for number, row in enumerate(kept):
            wrong = number % 10 == 0
            writer.writerow([row["request_id"], "Adelie" if wrong else row["prediction"]])
    output = installed.check("make", "evaluate", "IN=s3://data/sample", f"LABELS={labels}", **s3)
    assert "200 of 200 rows" in output
    (accuracy,) = re.findall(r"^accuracy +[\d.]+ +([\d.]+)$", output, re.M)
    assert 0.9 <= float(accuracy) < 1


def test_sample_is_read_from_the_log(installed, penguins, s3, tmp_path):
    place, log = place_of(installed), tmp_path / "log"
    with serving_with_log(installed, log, SAMPLE_SHARE="1") as url:
        for row in penguins[:10]:
            send(url, [row], place)
    group = ("--log-group-name", "/ecs/ml-inference-service")
    stream = (*group, "--log-stream-name", "task/x/1")
    now = int(time.time() * 1000)
    events = [{"timestamp": now, "message": line} for line in log.read_text().splitlines()]
    (tmp_path / "events.json").write_text(json.dumps(events))
    # Use make's region instead of the one in the variables.
    region = s3 | {"AWS_REGION": "eu-west-1", "AWS_DEFAULT_REGION": "eu-west-1"}
    installed.check("aws", "logs", "create-log-group", *group, **region)
    installed.check("aws", "logs", "create-log-stream", *stream, **region)
    events = ("--log-events", f"file://{tmp_path}/events.json")
    installed.check("aws", "logs", "put-log-events", *stream, *events, **region)
    output = installed.check("make", "sample-to-dataset", f"OUT={tmp_path}/rows.csv", **s3)
    assert "10 rows" in output
    result = installed.run("make", "sample-to-dataset", "OUT=rows.csv", "DAYS=some", **s3)
    assert "DAYS must be a number of days, not 'some'" in result.stderr
    result = installed.run("make", "evaluate", **s3)
    assert "LABELS=labels.csv is needed" in result.stderr
    result = installed.run("make", "evaluate", "LABELS=none.csv", "IN=none.jsonl", **s3)
    assert "Could not read none.jsonl: No such file or directory" in result.stderr
    assert "Traceback" not in result.stderr


# As in a task with a read-only disk.
WITHOUT_FOLDER = """
import sys, tempfile

def refuse():
    raise FileNotFoundError("no usable temporary directory")

tempfile.gettempdir = refuse
from inference.batch.__main__ import main

sys.exit(main(sys.argv[1:]))
"""


def test_answers_reach_s3_once_they_are_complete(installed, penguins, s3, tmp_path):
    rows = tmp_path / "rows.jsonl"
    variables = s3 | {"SSL_CERT_FILE": s3["AWS_CA_BUNDLE"]}

    def score(lines, target):
        rows.write_text("\n".join(lines))
        command = (".venv/bin/python", "-c", WITHOUT_FOLDER, str(rows), target)
        return installed.run(*command, **variables)

    def there(name):
        return installed.run("aws", "s3", "cp", f"s3://data/whole/{name}", "-", **s3)

    good = [json.dumps(row) for row in penguins]
    assert score([*good, "nonsense"], "s3://data/whole/scores.csv").returncode == 1
    assert len(there("scores.csv").stdout.splitlines()) == 1 + len(good)
    assert there("scores.csv.errors.csv").stdout.splitlines()[1].startswith(f"{len(good)},")
    assert score(good, "s3://data/whole/scores.csv").returncode == 0
    # The errors of the previous run are gone.
    assert there("scores.csv.errors.csv").stdout.split() == ["row,error"]
    assert score(good * 200, "s3://data/whole/scores.parquet").returncode == 0
    here = tmp_path / "scores.parquet"
    installed.check("aws", "s3", "cp", "s3://data/whole/scores.parquet", str(here), **s3)
    program = (
        "import pyarrow.parquet as p, sys; print(*p.read_table(sys.argv[1])['row'].to_pylist())"
    )
    numbers = installed.check(".venv/bin/python", "-c", program, str(here))
    assert numbers.split() == [str(row) for row in range(200 * len(good))]
    result = score(good, "s3://nowhere-to-be-found/scores.csv")
    assert result.returncode == 2
    assert "Could not write s3://nowhere-to-be-found" in result.stderr
    assert "Traceback" not in result.stderr


def test_file_in_s3_is_scored_into_s3(installed, penguins, s3, tmp_path):
    rows, here, there = (tmp_path / name for name in ("rows.jsonl", "here.csv", "there.csv"))
    wrong = {3, 77}
    rows.write_text(
        "".join(
            "nonsense\n" if place in wrong else json.dumps(row) + "\n"
            for place, row in enumerate(penguins * 20)
        )
    )
    installed.check("aws", "s3", "cp", str(rows), "s3://data/in/rows.jsonl", **s3)
    result = installed.run("make", "batch", f"IN={rows}", f"OUT={here}", **s3)
    assert result.returncode == 2  # make's exit code, for the job's 1
    assert "2 rows without an answer" in result.stderr
    result = installed.run(
        "make", "batch", "IN=s3://data/in/rows.jsonl", "OUT=s3://data/out/scores.csv", **s3
    )
    assert "2 rows without an answer" in result.stderr, result.stderr
    installed.check("aws", "s3", "cp", "s3://data/out/scores.csv", str(there), **s3)
    assert there.read_bytes() == here.read_bytes()
    errors = installed.check("aws", "s3", "cp", "s3://data/out/scores.csv.errors.csv", "-", **s3)
    assert [line.split(",")[0] for line in errors.splitlines()[1:]] == ["3", "77"]
    result = installed.run("make", "batch", "IN=s3://data/none.csv", "OUT=s3://data/x.csv", **s3)
    assert "Could not read s3://data/none.csv" in result.stderr
    assert "Traceback" not in result.stderr


def test_jobs_share_files_and_rows_in_s3(installed, penguins, s3, tmp_path):
    """Like the children of an array job, whatever else is under the prefix."""
    lines = [json.dumps(row) + "\n" for row in penguins]
    folder, columns = (
        tmp_path / "rows",
        "island bill_length_mm bill_depth_mm flipper_length_mm body_mass_g sex",
    )
    for place in range(5):
        path = folder / f"day={place % 2}" / f"{place} of 5.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(lines[place:]))
    (folder / "_SUCCESS").write_text("")
    program = (
        "import json, pyarrow, pyarrow.parquet, sys; rows = map(json.loads, sys.stdin); "
        "table = pyarrow.Table.from_pylist([dict(zip(sys.argv[2:], row)) for row in rows]); "
        "pyarrow.parquet.write_table(table, sys.argv[1], row_group_size=7)"
    )
    command = (".venv/bin/python", "-c", program, str(tmp_path / "rows.parquet"), *columns.split())
    assert installed.run(*command, input="".join(lines)).returncode == 0
    installed.check("aws", "s3", "cp", "--recursive", str(folder), "s3://data/rows/", **s3)
    installed.check(
        "aws", "s3", "cp", str(tmp_path / "rows.parquet"), "s3://data/rows.parquet", **s3
    )
    for marker in ("rows/", "rows/day=0/"):
        # The S3 console creates folders this way.
        installed.check("aws", "s3api", "put-object", "--bucket=data", f"--key={marker}", **s3)
    variables = s3 | {"SSL_CERT_FILE": s3["AWS_CA_BUNDLE"]}
    score = (".venv/bin/python", "-m", "inference", "batch")
    for index in range(3):
        for names in (("rows/", "scores/"), ("rows.parquet", "scores.csv")):
            places = [f"s3://data/{name}" for name in names]
            given = variables | {"AWS_BATCH_JOB_ARRAY_INDEX": str(index)}
            installed.check(*score, *places, "3", **given)
    got = tmp_path / "got"
    installed.check("aws", "s3", "cp", "--recursive", "s3://data/", str(got), **s3)
    installed.check("make", "batch", f"IN={folder}", f"OUT={tmp_path}/here/")
    for path in (tmp_path / "here").rglob("*.jsonl"):
        name = path.relative_to(tmp_path / "here")
        assert (got / "scores" / name).read_bytes() == path.read_bytes()
    installed.check("make", "batch", f"IN={tmp_path}/rows.parquet", f"OUT={tmp_path}/whole.csv")
    heading, *rows = (tmp_path / "whole.csv").read_text().splitlines()
    shares = [got / f"scores-{index:05}-of-00003.csv" for index in range(3)]
    found = [line for share in shares for line in share.read_text().splitlines() if line != heading]
    assert found == rows
    result = installed.run(*score, "s3://data/none/", "s3://data/x/", **variables)
    assert "IN=s3://data/none/: no files found" in result.stderr
    result = installed.run(*score, "s3://nowhere-at-all/x/", "s3://data/x/", **variables)
    assert "Could not list s3://nowhere-at-all/x/" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.fixture
def prometheus(tmp_path):
    """A function that starts a Prometheus that scrapes an address, and returns a function to query it."""
    program = shutil.which("prometheus")
    if program is None:
        pytest.skip("needs Prometheus, Debian's package prometheus")
    started = []

    def start(target):
        port = free_port()
        settings = {
            "global": {"scrape_interval": "1s"},
            "scrape_configs": [{"job_name": "model", "static_configs": [{"targets": [target]}]}],
        }
        (tmp_path / "prometheus.json").write_text(json.dumps(settings))
        command = (program, f"--config.file={tmp_path}/prometheus.json")
        command += (
            f"--storage.tsdb.path={tmp_path}/data",
            f"--web.listen-address=127.0.0.1:{port}",
        )
        with (tmp_path / "prometheus.log").open("wb") as log:
            started.append(subprocess.Popen(command, stdout=log, stderr=log))
        wait_for(lambda: ask_for(f"http://127.0.0.1:{port}/-/ready")[0] == 200)

        def query(expression):
            address = f"http://127.0.0.1:{port}/api/v1/query?"
            answer = json.loads(ask(address + urllib.parse.urlencode({"query": expression})))
            return answer["data"]["result"]

        return query

    yield start
    for process in started:
        process.terminate()
        process.wait(timeout=30)


def test_each_panel_of_grafana_shows_data(installed, penguins, prometheus):
    dashboard = json.loads(installed.read("deploy/grafana.json"))
    variables = {"$job": "model", "$__rate_interval": "10s"}

    def fill(expression):
        for name, value in variables.items():
            expression = expression.replace(name, value)
        assert "$" not in expression
        return expression

    expressions = {
        (panel["title"], target["refId"]): fill(target["expr"])
        for panel in dashboard["panels"]
        for target in panel["targets"]
    }
    place = place_of(installed)
    with serving(installed, SAMPLE_SHARE="1", MAX_ROWS="5000") as url:
        query = prometheus(url.removeprefix("http://"))
        ask_for(f"{url}/predict", {"instances": []})
        unanswered = dict(expressions)
        deadline = time.monotonic() + 60
        while unanswered:
            send(url, penguins, place)
            for key, expression in [*unanswered.items()]:
                values = [float(one["value"][1]) for one in query(expression)]
                if values and not any(map(math.isnan, values)):
                    del unanswered[key]
            # A regression's values are a different kind of prediction than these classes.
            unanswered.pop(("Predictions", "B"), None)
            assert time.monotonic() < deadline, unanswered
        (release,) = dashboard["annotations"]["list"]
        (mark,) = query(fill(release["expr"]))
        assert mark["metric"]["version"] in ask(f"{url}/metrics")
        (index,) = query(f'inference_input_psi{{input="{SHIFTED}"}}')
        assert 0 < float(index["value"][1]) < 0.2


@pytest.mark.skipif("SCREENSHOTS" not in os.environ, reason="make screenshots takes them")
@pytest.mark.parametrize(("name", "width", "scheme"), [("monitor", 1280, "light"), ("monitor-dark", 768, "dark")])  # fmt: skip
def test_pictures_of_the_monitor(browser, installed, penguins, name, width, scheme):
    place = place_of(installed)
    with (
        serving(installed, MAX_ROWS="5000") as url,
        emulating(browser, scheme, width, 900),
    ):
        send(url, penguins * 3, place, SHIFT)
        browser.get(f"{url}/monitor")
        WebDriverWait(browser, 10).until(lambda _: "drifted:" in element(browser, "#state").text)
        browser.save_screenshot(str(Path(os.environ["SCREENSHOTS"]) / f"{name}.png"))
