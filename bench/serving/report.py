"""The results of a run as JSON, tables and plots.

``python bench/serving/report.py FOLDER`` rewrites the rest from FOLDER/results.json. Ratios that other
benchmarks measure are read from FOLDER/figures.json, if it exists: {"switched on": 0.05, "baking": 1.4}.
"""

# ruff: noqa: RUF001 -- ratios use the multiplication sign

import json
import statistics
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import plots
from peer import Setting

REGION = "us-east-1"
VCPU, GIGABYTES = 0.25, 0.5
HEAVY = ("MLServer", "BentoML", "LitServe")
# The share of the offered rate below which a server does not keep up.
KEEPS_UP = 0.95
# The share of the machine that other programs may use while a server is timed.
QUIET = 0.05
# Medians of the same server differ this much from run to run.
NOISE = 0.03
# A server with one worker: pinned to a CPU, the load generator to another; a fraction of one by a cgroup quota.
ONE, QUOTA = 1, 0.25


@dataclass(frozen=True)
class Cell:
    """A load, and a server's share of the machine: the whole with two workers, ONE or QUOTA."""

    model: str
    rows: int
    encoding: str
    clients: int
    cpus: float | None = None

    @property
    def load(self) -> str:
        """Describe the load, without the model and the CPUs."""
        rows = "1 row" if self.rows == 1 else f"{self.rows} rows"
        encoding = "JSON" if self.encoding == "json" else self.encoding
        return f"{rows}, {encoding}, {self.clients} client{'s' if self.clients > 1 else ''}"

    @property
    def group(self) -> str:
        """Describe the model and the CPUs."""
        return self.model + (f" at {self.cpus:g} CPU" if self.cpus else "")


@dataclass(frozen=True)
class Measured:
    """A server under load: latencies in milliseconds, CPU in microseconds per request, PSS in megabytes."""

    setting: str
    rate: float
    p50: float
    p99: float
    errors: int
    cpu: float
    memory: float


@dataclass(frozen=True)
class Sample(Measured):
    """One load in a cell; ``number`` is that of the round, 0 for screening.

    ``others`` is the share of the machine that neither the server nor the load generator used.
    """

    cell: Cell
    number: int
    others: float


@dataclass(frozen=True)
class Figure(Measured):
    """Medians of a setting's samples in a cell; the spread is that of the rate, as a share."""

    spread: float


class Compared(NamedTuple):
    """Our figure in a cell and the best other one; the ratio of the rates is 0 if ours made an error."""

    cell: Cell
    mine: Figure
    best: Figure

    @property
    def ratio(self) -> float:
        """Our rate divided by the other."""
        return 0 if self.mine.errors else self.mine.rate / self.best.rate


class Target(NamedTuple):
    """A row in the table of targets; ``met`` is None if nothing was measured."""

    what: str
    goal: str
    measured: str
    met: bool | None


def key(setting: Setting) -> str:
    """Return a setting's name in the results."""
    return f"{setting.peer}, {setting.name}"


def uses_scikit_learn(setting: str) -> bool:
    """Whether it predicts with scikit-learn instead of ONNX Runtime."""
    return "scikit-learn" in setting or setting.startswith("Flask tutorial")


def figures(samples: Iterable[Sample], cell: Cell) -> list[Figure]:
    """Return every setting's figure in a cell, fastest first."""
    found: dict[str, list[Sample]] = {}
    for sample in samples:
        if sample.cell == cell and sample.number:
            found.setdefault(sample.setting, []).append(sample)
    rows = [summarize(setting, group) for setting, group in found.items()]
    return sorted(rows, key=lambda row: -row.rate)


def summarize(setting: str, samples: Sequence[Sample]) -> Figure:
    """Return the medians of one setting's samples."""

    def median(name: str) -> float:
        return statistics.median(getattr(sample, name) for sample in samples)

    rates = [sample.rate for sample in samples]
    return Figure(
        setting,
        errors=sum(sample.errors for sample in samples),
        spread=(max(rates) - min(rates)) / statistics.median(rates) if max(rates) else 0,
        **{name: median(name) for name in ("rate", "p50", "p99", "cpu", "memory")},
    )


def medians(samples: Iterable[Sample], cell: Cell) -> dict[str, float]:
    """Return the rates of the settings without an error in a cell."""
    return {row.setting: row.rate for row in figures(samples, cell) if not row.errors}


def prices(table: str) -> dict[str, Any]:
    """Return US dollars per hour of the default task, from the generated project's price table."""
    for line in table.splitlines():
        if line.startswith(f"{REGION}\t"):
            _, vcpu, gigabyte, date = line.split("\t")
            hour = VCPU * float(vcpu) + GIGABYTES * float(gigabyte)
            return {"region": REGION, "dollars_an_hour": hour, "confirmed": date}
    raise ValueError(f"no price for {REGION}")


class Results:
    """Queries on the content of results.json."""

    def __init__(self, results: Mapping[str, Any], figures_elsewhere: Mapping[str, float]) -> None:
        self.raw = results
        self.elsewhere = figures_elsewhere
        self.samples = [
            Sample(**{**sample, "cell": Cell(**sample["cell"])}) for sample in results["samples"]
        ]
        self.ours = results["ours"]
        self.cells = list(dict.fromkeys(sample.cell for sample in self.samples))

    def is_peer(self, setting: str) -> bool:
        """Whether a user would pick it: not ours, no limit, not written by hand for speed."""
        about = self.raw["settings"][setting]
        return setting != self.ours and not (
            self.is_before(setting) or about["limit"] or about["tuned"]
        )

    def is_before(self, setting: str) -> bool:
        """Whether it is an earlier version of ours."""
        return self.raw["settings"][setting].get("before", False)

    def figures(self, cell: Cell) -> list[Figure]:
        """Return every figure of a cell, fastest first."""
        return figures(self.samples, cell)

    def mine(self, cell: Cell) -> Figure | None:
        """Return our figure in a cell."""
        return next((row for row in self.figures(cell) if row.setting == self.ours), None)

    def best(self, cell: Cell, accept: Callable[[str], bool]) -> Figure | None:
        """Return the fastest accepted setting without an error."""
        rows = (row for row in self.figures(cell) if not row.errors and accept(row.setting))
        return next(rows, None)

    def start(self, setting: str, cpus: float | None) -> float | None:
        """Return the median startup time in seconds with the light model."""
        seconds = [
            start["seconds"]
            for start in self.raw["starts"]
            if (start["setting"], start["model"], start["cpus"]) == (setting, "logistic", cpus)
        ]
        return statistics.median(seconds) if seconds else None

    def memory(self, setting: str) -> float | None:
        """Return megabytes with two workers and the light model, after load."""
        found = [
            sample.memory
            for sample in self.samples
            if sample.setting == setting
            and (sample.cell.model, sample.cell.cpus) == ("logistic", None)
        ]
        return statistics.median(found) if found else None

    def size(self, setting: str) -> float | None:
        """Return megabytes of its installed packages."""
        return self.raw["environments"][self.raw["settings"][setting]["environment"]]["megabytes"]


def compare(
    results: Results, cells: Iterable[Cell], accept: Callable[[str], bool]
) -> list[Compared]:
    """Compare ours with the best accepted setting, in each cell where both were measured."""
    found = []
    for cell in cells:
        mine, best = results.mine(cell), results.best(cell, accept)
        if mine and best:
            found.append(Compared(cell, mine, best))
    return found


def of_ratios(
    what: str, goal: float | Mapping[Cell, float], compared: Sequence[Compared]
) -> Target:
    """Return a target for the ratio of the rates, in each cell or overall."""
    goals = goal if isinstance(goal, Mapping) else {one.cell: goal for one in compared}
    listed = goals.values() if isinstance(goal, Mapping) else [goal]
    wanted = f"≥ {' / '.join(f'{one:g}' for one in listed)} ×"
    if not compared:
        return Target(what, wanted, "not measured", None)
    by_cell = {one.cell: one.ratio for one in compared}
    measured = " / ".join(f"{by_cell[cell]:.2f}" if cell in by_cell else "–" for cell in goals)
    best = ", ".join(dict.fromkeys(one.best.setting for one in compared))
    met = all(one.ratio >= goals[one.cell] for one in compared)
    return Target(what, wanted, f"{measured} × ({best})", met)


def of_tails(what: str, compared: Sequence[Compared]) -> Target:
    """Return a target for the p99, which must not exceed the other's in any cell."""
    if not compared:
        return Target(what, "≤ 1 ×", "not measured", None)
    ratios = [one.mine.p99 / one.best.p99 for one in compared]
    pairs = "; ".join(f"{one.mine.p99:.2f} against {one.best.p99:.2f}" for one in compared)
    measured = f"{' / '.join(f'{one:.2f}' for one in ratios)} × ({pairs} ms)"
    return Target(what, "≤ 1 ×", measured, max(ratios) <= 1)


def targets(results: Results) -> list[Target]:
    """Return the targets with the measurements."""
    peer = results.is_peer

    def cells(model: str, *clients: int, cpus: float | None = None) -> list[Cell]:
        return [Cell(model, 1, "json", number, cpus) for number in clients]

    def against(
        whom: str, accept: Callable[[str], bool], asked: list[Cell], *goals: float
    ) -> Target:
        place = {None: "two workers", ONE: "one worker on one CPU", QUOTA: "one worker, 0.25 CPU"}
        clients = " / ".join(str(cell.clients) for cell in asked)
        model = "" if asked[0].model == "logistic" else f"{asked[0].model.upper()}, "
        what = f"{model}{place[asked[0].cpus]}, {clients} clients, against {whom}"
        compared = compare(results, asked, accept)
        return of_ratios(what, dict(zip(asked, goals, strict=True)), compared)

    def by_hand(setting: str) -> bool:
        return results.raw["settings"][setting]["tuned"]

    def of(name: str) -> Callable[[str], bool]:
        return lambda setting: results.raw["settings"][setting]["peer"] == name

    one = cells("logistic", 1, 16, 64, cpus=ONE)
    two = cells("logistic", 1, 16, 64)
    heavy = [one for name in HEAVY for one in compare(results, two, of(name))]
    return [
        against("the best peer", peer, one, 2.2, 2.5, 2.5),
        against("the best peer", peer, two, 2.2, 2.5, 2.8),
        against("FastAPI by hand", by_hand, one, 1.5, 1.5, 1.5),
        against("FastAPI by hand", by_hand, two, 1.5, 1.5, 1.5),
        of_tails(
            "p99, one worker on one CPU, against the best peer's", compare(results, one, peer)
        ),
        of_tails("p99, two workers, against the best peer's", compare(results, two, peer)),
        against("the best peer", peer, cells("logistic", 1, 16, cpus=QUOTA), 1.5, 2.0),
        against("the best peer", peer, cells("mlp", 1, 16, 64), 1.1, 2.2, 3.0),
        against("FastAPI with pydantic", of("FastAPI"), cells("mixed", 1, 16, 64), 2.0, 2.0, 2.0),
        against("mlflow models serve", of("MLflow"), cells("mixed", 1, 16, 64), 10.0, 10.0, 10.0),
        no_slower(results),
        of_ratios(
            "one row, light model, two workers, against MLServer, BentoML, LitServe: the minimum",
            6.0,
            sorted(heavy, key=lambda one: one.ratio)[:1],
        ),
        of_ratios(
            "random forest, 16 clients, against scikit-learn behind any server",
            30.0,
            compare(results, cells("forest", 16), uses_scikit_learn),
        ),
        below("startup at 0.25 CPU", results.start(results.ours, QUOTA), 1.2, "s"),
        *tensors(results),
        switched_on(results),
        size(results),
        start(results),
        below("baking against a one-file template", results.elsewhere.get("baking"), 1.6, "×"),
    ]


def no_slower(results: Results) -> Target:
    """Return the cell in which ours lost most against the previous release, next to the noise."""
    what, goal = "every cell, against the previous release: the minimum", f"≥ 1 × (± {NOISE:.0%})"
    compared = compare(results, results.cells, results.is_before)
    if not compared:
        return Target(what, goal, "not measured", None)
    least = min(compared, key=lambda one: one.ratio)
    where = f"{least.cell.group}: {least.cell.load}"
    return Target(what, goal, f"{least.ratio:.2f} × ({where})", least.ratio >= 1 - NOISE)


def below(what: str, measured: float | None, goal: float, unit: str) -> Target:
    """Return a target with an upper limit."""
    if measured is None:
        return Target(what, f"≤ {goal:g} {unit}", "not measured here", None)
    return Target(what, f"≤ {goal:g} {unit}", f"{measured:.2f} {unit}", measured <= goal)


def tensors(results: Results) -> list[Target]:
    """Compare our binary encoding with our JSON and MLServer's best, for 64 rows of 512 floats."""
    what = "64 × 512 floats, 16 clients: our binary against "
    cells = [Cell("mlp", 64, encoding, 16) for encoding in ("json", "binary")]
    as_json, binary = (results.mine(cell) for cell in cells)
    theirs = [results.best(cell, lambda one: one.startswith("MLServer")) for cell in cells]
    best = max((one for one in theirs if one), key=lambda one: one.rate, default=None)
    return [
        of_ratios(
            what + name, goal, [Compared(cells[1], binary, other)] if binary and other else []
        )
        for name, goal, other in (("our JSON", 2.5, as_json), ("MLServer's best", 6.0, best))
    ]


def switched_on(results: Results) -> Target:
    """Return the cost of metrics, logs, ids and limits, as measured elsewhere."""
    what = "metrics, logs, request ids and limits switched on against off"
    cost = results.elsewhere.get("switched on")
    if cost is None:
        return Target(what, "≤ 15 %", "not measured here", None)
    return Target(what, "≤ 15 %", f"{cost:.0%}", cost <= 0.15)


def size(results: Results) -> Target:
    """Compare the serving dependencies with the smallest that can serve scikit-learn."""
    what = "serving dependencies' installed size against scikit-learn's stack"
    theirs = [results.size(one) for one in results.raw["settings"] if uses_scikit_learn(one)]
    mine = results.size(results.ours)
    if not theirs or not mine:
        return Target(what, "≤ 0.5", "not measured", None)
    share = mine / min(theirs)
    return Target(what, "≤ 0.5", f"{share:.2f} ({mine:.0f} of {min(theirs):.0f} MB)", share <= 0.5)


def start(results: Results) -> Target:
    """Check that ours starts within a second, and before the first of the peers."""
    what, goal = "startup, exec to the first response", "≤ 1 s, less than every peer"
    mine = results.start(results.ours, None)
    theirs = {
        one: seconds
        for one in results.raw["settings"]
        if results.is_peer(one) and (seconds := results.start(one, None))
    }
    if not mine or not theirs:
        return Target(what, goal, "not measured", None)
    first = min(theirs, key=lambda one: theirs[one])
    measured = f"{mine:.2f} s, {first} {theirs[first]:.2f} s"
    return Target(what, goal, measured, mine <= 1 and mine < theirs[first])


def table(head: Sequence[str], rows: Iterable[Sequence[str]], text_columns: int = 1) -> list[str]:
    """Return a Markdown table with right-aligned numbers."""
    rule = ["---"] * text_columns + ["--:"] * (len(head) - text_columns)
    return [f"| {' | '.join(row)} |" for row in (head, rule, *rows)] + [""]


def target_table(results: Results) -> list[str]:
    """Return the table of targets."""
    marks = {True: "yes", False: "**no**", None: ""}
    rows = [(one.what, one.goal, one.measured, marks[one.met]) for one in targets(results)]
    return ["## Targets", "", *table(("", "target", "measured", "met"), rows, 4)]


def before_table(results: Results) -> list[str]:
    """Compare every cell with the previous release."""
    compared = compare(results, results.cells, results.is_before)
    if not compared:
        return []
    rows = [
        (
            f"{one.cell.group}: {one.cell.load}",
            f"{one.best.rate:,.0f}",
            f"{one.mine.rate:,.0f}",
            precise(one.ratio),
            precise(one.best.p99),
            precise(one.mine.p99),
        )
        for one in compared
    ]
    head = ("load", "requests/s before", "now", "now by before", "p99 before, ms", "now")
    title = f"## Against {compared[0].best.setting}"
    return [title, "", *table(head, rows)]


def throughput_tables(results: Results) -> list[str]:
    """Return the figures of every cell for each model."""
    head = ("load", "server", "requests/s", "of ours", "p50, ms", "p99, ms")
    head += ("CPU, µs per request", "spread", "errors")
    lines = []
    for group in dict.fromkeys(cell.group for cell in results.cells):
        rows = []
        for cell in results.cells:
            if cell.group != group:
                continue
            mine = results.mine(cell)
            for number, row in enumerate(results.figures(cell)):
                share = row.rate / mine.rate if mine and mine.rate else 0
                rows.append(
                    (
                        f"**{cell.load}**" if number == 0 else "",
                        named(results, row.setting),
                        f"{row.rate:,.0f}",
                        precise(share),
                        precise(row.p50),
                        precise(row.p99),
                        f"{row.cpu:,.0f}",
                        f"{row.spread:.0%}",
                        f"{row.errors:,}" if row.errors else "",
                    )
                )
        lines += [f"## {group[0].upper()}{group[1:]}", "", *table(head, rows, 2)]
    return lines


def named(results: Results, setting: str) -> str:
    """Return a setting's name, ours in bold, those outside the comparison in italics."""
    about = results.raw["settings"][setting]
    if setting == results.ours:
        return f"**{setting}**"
    beside = about["limit"] or about["tuned"] or results.is_before(setting)
    return f"*{setting}*" if beside else setting


def precise(number: float | None) -> str:
    """Format with two or three significant digits."""
    if number is None:
        return ""
    return f"{number:,.0f}" if number >= 100 else f"{number:.{1 if number >= 10 else 2}f}"


def resources_table(results: Results) -> list[str]:
    """Return the table of startup time, memory and size."""
    head = ("server", "startup, s", "startup at 0.25 CPU, s", "memory, MB", "packages, MB")
    rows = []
    for setting, about in results.raw["settings"].items():
        if results.start(setting, None) is None:
            continue
        rows.append(
            (
                named(results, setting),
                precise(results.start(setting, None)),
                precise(results.start(setting, QUOTA)),
                precise(results.memory(setting)),
                "" if about["limit"] else precise(results.size(setting)),
            )
        )
    note = (
        "With the logistic model: the median startup, from exec to the first 200; PSS of all processes"
        " after load, with two workers; site-packages without pip, setuptools and compiled modules."
    )
    return ["## Startup, memory, size", "", note, "", *table(head, rows)]


def open_loop_table(results: Results) -> list[str]:
    """Return the table of latencies at fixed rates."""
    loads = [one for one in results.raw["open_loop"] if one["of"] == "best peer"]
    if not loads:
        return []
    head = ["server"]
    offered = sorted({(one["share"], one["offered"]) for one in loads})
    for share, rate in offered:
        head += [f"p50, ms, at {share:.0%}: {rate:,.0f}/s", "p99, ms"]
    rows = []
    for setting in dict.fromkeys(one["setting"] for one in loads):
        row = [named(results, setting)]
        for share, _ in offered:
            one = next(one for one in loads if (one["setting"], one["share"]) == (setting, share))
            row += [precise(one["p50"]), precise(one["p99"])] if kept_up(one) else ["cannot", ""]
        rows.append(row)
    note = (
        "Logistic model, one row, 64 connections. Requests arrive at random at 50 % and 80 % of the best"
        " peer's rate, and do not wait for responses; latency counts from when a request was due."
    )
    return ["## Latency at a given rate", "", note, "", *table(head, rows)]


def kept_up(offered: Mapping[str, Any]) -> bool:
    """Whether a server answered the offered requests correctly."""
    achieved = offered["achieved"] or 0
    return achieved >= KEEPS_UP * offered["offered"] and not offered["errors"]


def cost_table(results: Results) -> list[str]:
    """Return the table of requests per dollar."""
    cell = Cell("logistic", 1, "json", 16, QUOTA)
    rows = results.figures(cell)
    if not rows:
        return []
    mine, price = results.mine(cell), results.raw["prices"]
    lines = [
        (
            named(results, row.setting),
            f"{row.rate * 3600 / price['dollars_an_hour'] / 1e6:,.0f}",
            precise(row.rate / mine.rate if mine else None),
        )
        for row in rows
        if not row.errors
    ]
    note = (
        f"A task of {VCPU} vCPU and {GIGABYTES} GB costs {price['dollars_an_hour']:.5f} US dollars per hour"
        f" on Fargate in {price['region']} (Linux, x86, confirmed {price['confirmed']}); logistic model, one"
        " row, 16 clients, constantly under full load."
    )
    head = ("server", "million requests per dollar", "of ours")
    return ["## Cost", "", note, "", *table(head, lines)]


def about(results: Results) -> list[str]:
    """Describe the machine, the method and the versions."""
    raw = results.raw
    machine = raw["machine"]
    rounds = max((sample.number for sample in results.samples), default=0)
    lines = [
        f"{machine['processor']}, {machine['cpus']} CPUs, Linux {machine['kernel']}, Python"
        f" {machine['python']}; {raw['date']}, commit {machine['commit']}, {raw['minutes']:.0f} minutes."
        " Two workers for every server on the same CPUs as the load generator (wrk, one thread); at 1 CPU one"
        " worker pinned to a CPU, wrk to another; at 0.25 CPU one worker in a cgroup with that quota."
        f" Medians of {rounds} interleaved rounds, each with a restarted server; the spread is"
        " (max - min) / median of the rates. A server in *italics* is not a peer: the previous release, a"
        " server written by hand for speed, or a limit.",
        "",
    ]
    if any(sample.number == 0 for sample in results.samples):
        lines += [
            "Every peer runs in its best setting for each load, as found in a short first round with two workers;"
            " with the forest and at 1 CPU only the best of all peers runs. Except for FastAPI, peers with"
            " less than a third of our rate in that round are measured in one round.",
            "",
        ]
    others = sorted(sample.others for sample in results.samples if sample.number)
    if others and others[-1] > QUIET:
        disturbed = sum(share > QUIET for share in others)
        lines.append(
            f"**The machine was not idle**: in {disturbed} of {len(others)} loads other programs used more"
            f" than {QUIET:.0%} of its CPUs, {others[-1]:.0%} at most.\n"
        )
    return lines + [f"{note}\n" for note in raw["notes"]]


def versions(results: Results) -> list[str]:
    """Return the relevant packages by environment."""
    shown = (
        "bentoml fastapi flask granian gunicorn httptools litserve mlflow mlserver msgspec numpy onnxruntime"
        " pydantic scikit-learn uvicorn uvloop"
    ).split()
    rows = [
        (
            name,
            ", ".join(
                f"{one} {place['packages'][one]}" for one in shown if one in place["packages"]
            ),
        )
        for name, place in results.raw["environments"].items()
    ]
    return ["## Versions", "", *table(("environment", "packages"), rows, 2)]


def write(raw: Mapping[str, Any], folder: Path) -> None:
    """Write results.json, results.md, ratios.svg and latency.svg."""
    (folder / "results.json").write_text(json.dumps(raw, indent=1) + "\n")
    elsewhere = folder / "figures.json"
    results = as_read_again(raw, json.loads(elsewhere.read_text()) if elsewhere.exists() else {})
    lines = [
        "# The generated service compared with its alternatives",
        "",
        "Written by `make bench`.",
        "",
        *about(results),
        *target_table(results),
        "![Throughput of every server as a share of ours](ratios.svg)",
        "",
        "![Latency against load](latency.svg)",
        "",
        *throughput_tables(results),
        *before_table(results),
        *open_loop_table(results),
        *resources_table(results),
        *cost_table(results),
        *versions(results),
    ]
    (folder / "results.md").write_text("\n".join(lines).rstrip() + "\n")
    (folder / "ratios.svg").write_text(plots.bars(bar_panels(results)))
    (folder / "latency.svg").write_text(plots.lines(latency_series(results)))


def as_read_again(raw: Mapping[str, Any], elsewhere: Mapping[str, float]) -> Results:
    """Return results as read back from a file."""
    return Results(json.loads(json.dumps(raw)), elsewhere)


def in_short(raw: Mapping[str, Any]) -> str:
    """Return the targets with a measurement, and the figures."""
    results = as_read_again(raw, {})
    rows = [
        (one.what, one.goal, one.measured, "yes" if one.met else "no")
        for one in targets(results)
        if one.met is not None
    ]
    tables = [
        *table(("", "target", "measured", "met"), rows, 4),
        *throughput_tables(results),
        *before_table(results),
    ]
    return "\n".join([*about(results), *tables])


def bar_panels(results: Results) -> list[plots.Panel]:
    """Return each server's share of our rate, for each cell."""
    panels = []
    for cell in results.cells:
        mine = results.mine(cell)
        if not mine or not mine.rate:
            continue
        rows: dict[str, plots.Bar] = {}
        for row in results.figures(cell):
            entry = results.raw["settings"][row.setting]
            # The fastest comes first; another setting of the same peer adds nothing.
            if not entry["limit"] and not row.errors:
                rows.setdefault(
                    entry["peer"],
                    plots.Bar(
                        entry["peer"],
                        row.rate / mine.rate,
                        row.rate,
                        entry["tuned"] or results.is_before(row.setting),
                    ),
                )
        panels.append(plots.Panel(f"{cell.group}: {cell.load}", list(rows.values())))
    return panels


def latency_series(results: Results) -> list[plots.Series]:
    """Return the p50 and p99 of each server at the rates with which it kept up."""
    series: dict[str, list[tuple[float, float, float]]] = {}
    for one in results.raw["open_loop"]:
        if kept_up(one):
            points = series.setdefault(results.raw["settings"][one["setting"]]["peer"], [])
            points.append((one["offered"], one["p50"], one["p99"]))
    return [plots.Series(name, sorted(points)) for name, points in series.items()]


if __name__ == "__main__":
    place = Path(sys.argv[1])
    write(json.loads((place / "results.json").read_text()), place)
