"""The cost of statistics per request, and the speed of file scoring compared with a client of the service.

Each ratio comes from one run, in which both sides take turns: 16 clients with one row per request on one CPU,
statistics on and off; a million rows of four numbers by ``make batch`` and by a loop over HTTP with 1,000 rows per
request. The children of an array job run one after another, each alone on a CPU: running them together would take as
long as the slowest.
"""

import argparse
import csv
import http.client
import json
import os
import random
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from cookiecutter.main import cookiecutter

ROOT = Path(__file__).parent.parent
PORTS = {"on": 5061, "off": 5062}
LUA = 'wrk.method="POST"; wrk.headers["Content-Type"]="application/json"; wrk.body=%s'
AT_A_TIME = 1000


def bake(folder: Path) -> Path:
    """Return a project with its sample model."""
    project = cookiecutter(str(ROOT), no_input=True, output_dir=folder, default_config=True)
    train(Path(project))
    return Path(project)


def train(project: Path) -> None:
    """Train the model of ``training/train.py``."""
    command = ["make", "--silent", "setup", "train"]
    subprocess.run(command, cwd=project, check=True, stdout=sys.stderr)  # noqa: S603


@contextmanager
def service(project: Path, port: int, cpu: int | None, **variables: str):
    """Yield the process id of a service's only worker."""
    process = subprocess.Popen(
        [".venv/bin/python", "-m", "inference"],
        cwd=project,
        env=os.environ | {"PORT": str(port), "LOG_LEVEL": "WARNING"} | variables,
        stdout=subprocess.DEVNULL,
        preexec_fn=None if cpu is None else partial(os.sched_setaffinity, 0, {cpu}),
    )
    try:
        while True:
            try:
                ask(port, "GET", "/ping")
                break
            except OSError:
                time.sleep(0.1)
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
        yield int(children.split()[0])
    finally:
        process.terminate()
        process.wait()


def ask(port: int, method: str, path: str, body: str | None = None) -> bytes:
    """Return the response to one request."""
    connection = http.client.HTTPConnection("127.0.0.1", port)
    connection.request(method, path, body, {"Content-Type": "application/json"})
    answer = connection.getresponse().read()
    connection.close()
    return answer


def cpu_seconds(pid: int) -> float:
    """Return the CPU time of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def load(port: int, script: Path, seconds: int) -> int:
    """Return how many requests of 16 clients on another CPU were answered."""
    command = ["taskset", "-c", "1", "wrk", "-t1", "-c16", f"-d{seconds}s", "-s", str(script)]
    done = subprocess.run(  # noqa: S603
        [*command, f"http://127.0.0.1:{port}/predict"], check=True, capture_output=True, text=True
    )
    return int(re.search(r"(\d+) requests in", done.stdout)[1])


def cost_of_statistics(name: str, project: Path, rounds: int, folder: Path) -> None:
    """Print the ratio of requests, and of CPU seconds per request, with and without statistics."""
    python = project / ".venv/bin/python"
    sample = subprocess.run(  # noqa: S603
        [python, "-m", "inference.expected"],
        cwd=project,
        check=True,
        capture_output=True,
        text=True,
    )
    script = folder / "request.lua"
    script.write_text(LUA % json.dumps(sample.stdout.splitlines()[0]))
    requests: list[float] = []
    seconds: list[float] = []
    with (
        service(project, PORTS["on"], 0, WORKERS="1") as on,
        service(project, PORTS["off"], 0, WORKERS="1", STATISTICS="off") as off,
    ):
        pids = {"on": on, "off": off}
        for port in PORTS.values():
            load(port, script, 1)
        for turn in range(rounds):
            measured = {}
            for side in sorted(PORTS, reverse=bool(turn % 2)):
                before = cpu_seconds(pids[side])
                count = load(PORTS[side], script, 1)
                measured[side] = count, (cpu_seconds(pids[side]) - before) / count
            requests.append(measured["on"][0] / measured["off"][0])
            seconds.append(measured["on"][1] / measured["off"][1])
    print(
        f"{name}: statistics on/off: requests {statistics.median(requests):.3f}, CPU seconds a request "
        f"{statistics.median(seconds):.3f} (medians of {rounds} pairs)"
    )


def write_rows(path: Path, rows: int) -> None:
    """Write a file of flowers."""
    number = random.Random(0)  # noqa: S311
    with path.open("w") as file:
        for _ in range(rows):
            cells = (number.gauss(5.8, 0.8), number.gauss(3, 0.4), number.uniform(1, 7), number.uniform(0.1, 2.5))  # fmt: skip
            file.write(",".join(f"{cell:.1f}" for cell in cells) + "\n")


def by_http(port: int, source: Path, target: Path) -> float:
    """Return the seconds in which one client reads a file, requests predictions for its rows, and writes them."""
    started = time.perf_counter()
    connection = http.client.HTTPConnection("127.0.0.1", port)
    with source.open() as file, target.open("w") as output:
        reader, writer = csv.reader(file), csv.writer(output)
        while rows := [row for row, _ in zip(reader, range(AT_A_TIME), strict=False)]:
            body = json.dumps({"instances": [[*map(float, row)] for row in rows]})
            connection.request("POST", "/predict", body, {"Content-Type": "application/json"})
            answer = json.load(connection.getresponse())
            for value, probabilities in zip(
                answer["predictions"], answer["probabilities"], strict=True
            ):
                writer.writerow([value, *probabilities.values()])
    connection.close()
    return time.perf_counter() - started


def speed_of_files(project: Path, rows: int, folder: Path) -> None:
    """Print how long a file takes with ``make batch`` and over HTTP."""
    source, target = folder / "rows.csv", folder / "scores.csv"
    write_rows(source, rows)
    command = ["make", "--silent", "batch", f"IN={source}", f"OUT={target}"]
    with service(project, PORTS["on"], None):
        client = by_http(PORTS["on"], source, target)
    started = time.perf_counter()
    subprocess.run(command, cwd=project, check=True, stdout=subprocess.DEVNULL)  # noqa: S603
    batch = time.perf_counter() - started
    print(
        f"{rows:,} rows of CSV: make batch {batch:.1f} s, one client with {AT_A_TIME:,} rows a request "
        f"{client:.1f} s: {client / batch:.1f} times as fast"
    )


TO_PARQUET = """
import sys, pyarrow.csv, pyarrow.parquet
from inference.predictor import Predictor
from inference.runtime import artifact

names = [column.name for column in Predictor.load(artifact.read("model/model.onnx").content).card.columns]
table = pyarrow.csv.read_csv(sys.argv[1], pyarrow.csv.ReadOptions(column_names=names))
pyarrow.parquet.write_table(table, sys.argv[2], row_group_size=100_000)
"""


def seconds_of_children(project: Path, source: Path, jobs: int, indexes: range) -> float:
    """Return the time of concurrent children of an array job, each with its own CPU."""
    started = time.perf_counter()
    command = [".venv/bin/python", "-m", "inference", "batch", source, source.with_suffix(".scores.csv"), str(jobs)]  # fmt: skip
    children = [
        subprocess.Popen(  # noqa: S603
            command,
            cwd=project,
            env=os.environ | {"WORKERS": "1", "AWS_BATCH_JOB_ARRAY_INDEX": str(index)},
            stdout=subprocess.DEVNULL,
            preexec_fn=partial(os.sched_setaffinity, 0, {cpu}),
        )
        for cpu, index in enumerate(indexes)
    ]
    if any([child.wait() for child in children]):
        sys.exit("A child of the array job failed.")
    return time.perf_counter() - started


def growth_of_jobs(project: Path, rows: int, children: list[int], folder: Path) -> None:
    """Print how long a Parquet file takes with more and more children, of which the slowest counts."""
    table, source = folder / "rows.csv", folder / "rows.parquet"
    write_rows(table, rows)
    command = [".venv/bin/python", "-c", TO_PARQUET, table, source]
    subprocess.run(command, cwd=project, check=True)  # noqa: S603
    alone = seconds_of_children(project, source, 1, range(1))
    print(f"{rows:,} rows of Parquet: 1 child with 1 CPU {alone:.1f} s")
    together = seconds_of_children(project, source, 2, range(2))
    print(f"2 children, at once on 2 CPUs: {together:.1f} s, {alone / together:.2f} times as fast")
    for jobs in children:
        slowest = max(
            seconds_of_children(project, source, jobs, range(index, index + 1))
            for index in range(jobs)
        )
        print(f"{jobs} children, one after another: the slowest {slowest:.1f} s, {alone / slowest:.2f} times as fast")  # fmt: skip


def main() -> None:
    """Print all ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20, help="pairs of a second each")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--children", type=int, nargs="+", default=[2, 4, 8, 16])
    options = parser.parse_args()
    missing = [name for name in ("wrk", "taskset") if shutil.which(name) is None]
    if missing:
        sys.exit(f"The benchmark needs {', '.join(missing)}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        project = bake(folder)
        cost_of_statistics("a mixed table", project, options.rounds, folder)
        shutil.copy(ROOT / "tests/models/iris.py", project / "training/train.py")
        train(project)
        cost_of_statistics("four numbers", project, options.rounds, folder)
        speed_of_files(project, options.rows, folder)
        growth_of_jobs(project, 10 * options.rows, options.children, folder)


if __name__ == "__main__":
    main()
