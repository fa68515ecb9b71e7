"""``make bench``, short: every server gives the right answers, and the report is written. Timings are not checked."""

import json
import shutil
import subprocess
import sys

import pytest
from conftest import IN_CI, ROOT

pytestmark = pytest.mark.slow


def test_quick_benchmark_checks_answers_and_writes_its_report(tmp_path):
    if shutil.which("wrk") is None and not IN_CI:
        pytest.skip("wrk is not installed")
    command = [sys.executable, "bench/serving", "--quick", "--work", tmp_path, "--output", tmp_path]
    run = subprocess.run(command, cwd=ROOT, stderr=subprocess.PIPE, text=True, timeout=550)
    assert run.returncode == 0, run.stderr
    results = json.loads((tmp_path / "results.json").read_text())
    peers = {about["peer"] for about in results["settings"].values()}
    assert {"ml-ecs-template", "FastAPI", "Flask tutorial"} <= peers
    assert {sample["setting"] for sample in results["samples"]} == set(results["settings"])
    assert all(sample["errors"] == 0 for sample in results["samples"])
    report = (tmp_path / "results.md").read_text()
    assert "one worker on one CPU, 1 / 16 / 64 clients, against the best peer" in report
    assert {sample["cell"]["cpus"] for sample in results["samples"]} >= {None, 1}
    assert (tmp_path / "ratios.svg").read_text().startswith("<svg")


def test_statistics_and_files_are_timed_side_by_side():
    if shutil.which("wrk") is None and not IN_CI:
        pytest.skip("wrk is not installed")
    command = [sys.executable, "bench/watching.py", "--rounds=1", "--rows=2000", "--children=2"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=550)
    assert run.returncode == 0, run.stderr
    mixed, numbers, files, alone, *jobs = run.stdout.splitlines()[-6:]
    assert numbers.startswith("four numbers: statistics on/off: requests ")
    assert mixed.startswith("a mixed table: statistics on/off: requests ")
    assert files.startswith("2,000 rows of CSV: make batch ")
    assert alone.startswith("20,000 rows of Parquet: 1 child with 1 CPU ")
    assert [line.split()[0] for line in jobs] == ["2", "2"]


def test_benchmark_lists_its_requirements():
    command = [sys.executable, "bench/serving", "--quick"]
    run = subprocess.run(command, cwd=ROOT, env={"PATH": ""}, capture_output=True, text=True)
    assert run.returncode == 1
    assert "wrk" in run.stderr
    assert "Traceback" not in run.stderr


def test_benchmark_lists_its_scenarios():
    command = [sys.executable, "bench/serving", "--only", "one-cpu:17"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 2
    assert "there is no scenario 'one-cpu:17': two-workers, one-cpu, quarter-cpu" in run.stderr
    assert "Traceback" not in run.stderr
