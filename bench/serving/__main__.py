"""Compare the generated service with the alternatives that a user would pick: ``make bench``.

Every server is started and must classify rows with known classes correctly before it is timed. Only one
server runs at a time, and the servers take turns: A B C, A B C, A B C.
"""

import argparse
import contextlib
import datetime
import json
import math
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import environments
import load
import machine
import numpy as np
import report
from environments import ROOT, Environment
from machine import LOAD_CPUS, SERVER_CPU, Watch, stay_on
from peer import BEFORE, PROJECT, Launch, Request, Rows, Setting
from report import ONE, QUOTA, Cell, Sample
from server import Quota, Server, ServerError, adopt_orphans, free_port
from settings import LIMITS, SETTINGS, before

# Settings are chosen by the first.
SCENARIOS = {
    "two-workers": [Cell("logistic", 1, "json", clients) for clients in (1, 16, 64)],
    "one-cpu": [Cell("logistic", 1, "json", clients, ONE) for clients in (1, 16, 64)],
    "quarter-cpu": [Cell("logistic", 1, "json", clients, QUOTA) for clients in (1, 16)],
    "rows": [Cell("logistic", 64, "json", 16)],
    "forest": [Cell("forest", 1, "json", 16)],
    "mlp": [Cell("mlp", 1, "json", clients) for clients in (1, 16, 64)],
    "mixed": [Cell("mixed", 1, "json", clients) for clients in (1, 16, 64)],
    "tensors": [Cell("mlp", 64, encoding, 16) for encoding in ("json", "binary")],
}
CELLS = tuple(cell for cells in SCENARIOS.values() for cell in cells)
OPEN_LOOP = Cell("logistic", 1, "json", load.CONNECTIONS)
# Shares of the best peer's rate, offered to every server.
COMMON_LOADS = (0.5, 0.8)
OURS = SETTINGS[0]
# A setting slower than this share of its peer's best one is left out elsewhere.
WORTH_A_LOOK = 0.7
# A server slower than this share of our rate is measured in one round: more would show nothing new.
FAR_BEHIND = 1 / 3
# The best common peer, the hand-written servers, and MLflow's own server: always measured, and alone with --only.
RIVALS = ("FastAPI, ONNX Runtime, async", "FastAPI by hand", "MLflow")


@dataclass(frozen=True)
class Plan:
    """What to measure, and for how long; without screening every setting is measured.

    ``own_loads`` are the shares of its own rate that each server is offered; if empty, no rates are offered.
    """

    cells: Sequence[Cell] = CELLS
    settings: Sequence[Setting] = SETTINGS
    limits: Sequence[Setting] = LIMITS
    screening_seconds: int = 1
    own_loads: Sequence[float] = (0.25, 0.5, 0.75, 0.9)
    open_loop_seconds: float = 2.5
    repeats: int = 3
    minutes: float = 22
    longest_seconds: int = 4


def quick_plan() -> Plan:
    """Return a plan that shows that everything works; its figures are meaningless."""
    cells = [
        Cell("logistic", 1, "json", 16),
        Cell("logistic", 64, "json", 16),
        Cell("logistic", 1, "json", 16, ONE),
        Cell("logistic", 1, "json", 16, QUOTA),
    ]
    names = {"FastAPI": "ONNX Runtime, async", "Flask tutorial": "gunicorn"}
    settings = [OURS, *(one for one in SETTINGS if names.get(one.peer) == one.name)]
    return Plan(
        cells,
        settings,
        screening_seconds=0,
        own_loads=[0.5],
        open_loop_seconds=0.5,
        repeats=1,
        minutes=0,
        longest_seconds=1,
    )


def partial_plan(scenarios: Sequence[str]) -> Plan:
    """Return a plan with the cells of some scenarios, for the subjects of their targets and the limits."""
    return Plan(
        cells=[cell for scenario in scenarios for cell in cells_of(scenario)],
        settings=[OURS, *filter(is_rival, SETTINGS)],
        screening_seconds=0,
        own_loads=[],
    )


def cells_of(scenario: str) -> list[Cell]:
    """Return the cells of ``one-cpu``, or the only cell of ``one-cpu:16``; raise KeyError if there is none."""
    name, _, clients = scenario.partition(":")
    found = [cell for cell in SCENARIOS[name] if clients in ("", str(cell.clients))]
    if not found:
        raise KeyError(scenario)
    return found


class Group(NamedTuple):
    """Cells that share one server start."""

    model: str
    cpus: float | None

    def __str__(self) -> str:
        return self.model + (f" at {self.cpus:g} CPU" if self.cpus else "")


@dataclass
class Run:
    """A run of the benchmark, and its findings so far."""

    plan: Plan
    work: Path
    began: float = field(default_factory=time.perf_counter)
    places: dict[str, Environment] = field(default_factory=dict)
    models: Path = Path()
    quota: Quota | None = None
    samples: list[Sample] = field(default_factory=list)
    starts: list[dict[str, Any]] = field(default_factory=list)
    offered: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def say(self, text: str) -> None:
        """Print progress with the time since the run began."""
        minutes, seconds = divmod(int(time.perf_counter() - self.began), 60)
        print(f"{minutes:3}:{seconds:02}  {text}", file=sys.stderr, flush=True)

    def prepare(self) -> None:
        """Generate the project, install every peer, train the models."""
        if self.plan.screening_seconds:
            self.say(f"this takes about {self.plan.minutes:.0f} minutes on a quiet machine")
        self.say("generating the default project, make setup")
        project = environments.bake(ROOT, self.work / "generated")
        self.places[PROJECT] = environments.of_project(project, self.work)
        settings = (*self.plan.settings, *self.plan.limits)
        for one in settings:
            if one.environment == BEFORE:
                self.say(f"the same for {one.name}")
                self.places[BEFORE] = environments.of_release_before(one.name, self.work)
        for name in sorted({setting.environment for setting in settings} - self.places.keys()):
            self.say(f"installing {name}")
            self.places[name] = environments.of_peer(name, self.work)
        self.say("training the models")
        self.models = self.work / "models"
        environments.write_models(project, self.models)

    def server(self, setting: Setting, group: Group) -> Server:
        """Start a server with two workers, or with one if it has a CPU or less."""
        place = self.places[setting.environment]
        workers = 1 if group.cpus else 2
        models = place.models or self.models
        launch = Launch(place.python, free_port(), workers, group.model, models)
        confine = {ONE: stay_on([SERVER_CPU]), QUOTA: self.quota and self.quota.enter}
        log = self.work / "server.log"
        return Server(setting, launch, place.folder, log, confine.get(group.cpus))

    def drive(
        self, server: Server, request: Request, clients: int, seconds: int, cpus: float | None
    ) -> load.Load:
        """Load a server; if it has a CPU to itself, the load generator uses the others."""
        confine = stay_on(LOAD_CPUS) if cpus == ONE else None
        return load.closed_loop(server.port, request, clients, seconds, self.work, confine)

    def request(self, setting: Setting, model: str, rows: int, encoding: str) -> Request:
        """Return the request for the first rows of a model."""
        return setting.encodings[encoding].request(model, self.rows(model)[:rows])

    def rows(self, model: str) -> Rows:
        """Return the rows to send: numbers as an array, rows with text as objects."""
        table = self.models / model / "rows.json"
        if table.exists():
            return list(json.loads(table.read_text()))
        return np.load(table.with_name("rows.npy"))

    def check(self, server: Server, model: str) -> None:
        """Raise ServerError unless the server gives the right classes in every encoding."""
        if server.setting in self.plan.limits:
            return
        rows = self.rows(model)
        classes = json.loads((self.models / model / "classes.json").read_text())
        for name, encoding in server.setting.encodings.items():
            if encoding.is_array and isinstance(rows, list):
                continue
            try:
                server.check(model, encoding, rows, classes)
            except ServerError as error:
                raise ServerError(f"in {name}: {error}") from error

    def started(self, server: Server, group: Group) -> None:
        """Wait for the first response, record the time it took, and check the answers."""
        setting = server.setting
        try:
            request = self.request(setting, group.model, 1, "json")
            seconds = server.wait(request)
            self.starts.append(
                {"setting": report.key(setting), **group._asdict(), "seconds": seconds}
            )
            self.check(server, group.model)
        except ServerError as error:
            raise ServerError(f"{report.key(setting)}, {group}: {error}") from error

    def warm_up(self, server: Server, group: Group) -> None:
        """Load a server for an uncounted second."""
        request = self.request(server.setting, group.model, 1, "json")
        self.drive(server, request, 16, 1, group.cpus)

    def turn(
        self, setting: Setting, group: Group, cells: Sequence[Cell], seconds: int, number: int
    ) -> None:
        """Start a server, load it for every cell, stop it."""
        with self.server(setting, group) as server:
            self.started(server, group)
            if number:
                self.warm_up(server, group)
            for cell in cells:
                self.samples.append(self.sample(server, cell, seconds, number))
        rates = ", ".join(f"{sample.rate:,.0f}" for sample in self.samples[-len(cells) :])
        start = self.starts[-1]["seconds"]
        self.say(f"  {report.key(setting)}: start {start:.2f} s; {rates} requests/s")

    def sample(self, server: Server, cell: Cell, seconds: int, number: int) -> Sample:
        """Load a server for a cell; return the measurements."""
        request = self.request(server.setting, cell.model, cell.rows, cell.encoding)
        with Watch() as watch:
            before = server.cpu_seconds()
            result = self.drive(server, request, cell.clients, seconds, cell.cpus)
            cpu = server.cpu_seconds() - before
        return Sample(
            setting=report.key(server.setting),
            cell=cell,
            number=number,
            rate=result.rate,
            p50=result.p50,
            p99=result.p99,
            errors=result.errors,
            cpu=cpu * 1e6 / max(1, result.requests),
            memory=server.memory(),
            others=watch.share_of_others(cpu, seconds),
        )

    def groups(self) -> dict[Group, list[Cell]]:
        """Return the plan's cells, grouped by server start."""
        groups: dict[Group, list[Cell]] = {}
        for cell in self.plan.cells:
            if self.quota or cell.cpus != QUOTA:
                groups.setdefault(Group(cell.model, cell.cpus), []).append(cell)
        return groups

    def screen(self) -> None:
        """Time every setting of every peer briefly on the whole machine, to find the best of each."""
        if not self.plan.screening_seconds:
            return
        for group, cells in self.groups().items():
            if group.cpus:
                continue
            self.say(f"screening {group}: " + "; ".join(cell.load for cell in cells))
            for setting in self.candidates(group):
                mine = [cell for cell in cells if self.takes(setting, cell)]
                self.turn(setting, group, mine, self.plan.screening_seconds, 0)

    def candidates(self, group: Group) -> list[Setting]:
        """Return the settings worth trying.

        Settings that are far behind with the logistic model are left out for other light models.
        """
        found = [one for one in self.plan.settings if group.model in one.models]
        if group == Group("logistic", None) or group.model == "mlp":
            return found
        rates = self.screened(Cell("logistic", 1, "json", 16))
        best: dict[str, float] = {}
        for one in found:
            for kind in self.kinds(one, group):
                best[kind] = max(best.get(kind, 0), rates.get(report.key(one), 0))
        return [
            one
            for one in found
            if any(
                rates.get(report.key(one), 0) >= best[kind] * WORTH_A_LOOK
                for kind in self.kinds(one, group)
            )
        ]

    def kinds(self, setting: Setting, group: Group) -> list[str]:
        """Return what a setting may be the best of: its peer, or all peers if single results would show nothing new.

        With the forest, the settings that use scikit-learn have their own best.
        """
        if not is_peer(setting) or (group.model != "forest" and group.cpus != ONE):
            return [setting.peer]
        if group.model == "forest" and report.uses_scikit_learn(report.key(setting)):
            return ["scikit-learn"]
        return ["peer"]

    def screened(self, cell: Cell) -> dict[str, float]:
        """Return the rate of every setting that was screened for the cell on the whole machine, without an error."""
        screened = replace(cell, cpus=None)
        return {
            sample.setting: sample.rate
            for sample in self.samples
            if sample.cell == screened and sample.number == 0 and not sample.errors
        }

    def contestants(self, cell: Cell) -> list[Setting]:
        """Return ours, its rivals, the best setting of each peer and of scikit-learn, and the limits.

        Return every setting if none was screened.
        """
        if not self.plan.screening_seconds:
            return [
                one for one in (*self.plan.settings, *self.plan.limits) if self.takes(one, cell)
            ]
        rates = self.screened(cell)
        best: dict[str, Setting] = {}
        for setting in self.plan.settings:
            if report.key(setting) not in rates:
                continue
            for kind in self.kinds(setting, Group(cell.model, cell.cpus)):
                if kind not in best or rates[report.key(setting)] > rates[report.key(best[kind])]:
                    best[kind] = setting
        chosen = [OURS, *filter(is_rival, self.plan.settings), *best.values(), *self.plan.limits]
        return list({report.key(one): one for one in chosen if self.takes(one, cell)}.values())

    def takes(self, setting: Setting, cell: Cell) -> bool:
        """Whether a setting has the cell's model and supports its encoding; a limit needs one row, and time."""
        if setting in self.plan.limits and (cell.rows > 1 or cell.cpus == QUOTA):
            return False
        return cell.model in setting.models and cell.encoding in setting.encodings

    def turns(self) -> list[tuple[Setting, Group, list[Cell]]]:
        """Return a round: which server is started for which cells."""
        turns = []
        for group, cells in self.groups().items():
            chosen = {cell: self.contestants(cell) for cell in cells}
            for setting in (OURS, *self.plan.settings[1:], *self.plan.limits):
                mine = [cell for cell in cells if setting in chosen[cell]]
                if mine:
                    turns.append((setting, group, mine))
        return turns

    def far_behind(self, turn: tuple[Setting, Group, list[Cell]]) -> bool:
        """Whether a screened server does not rival ours in any of a turn's cells."""
        setting, _, cells = turn
        if is_rival(setting):
            return False
        for cell in cells:
            rates = self.screened(cell)
            if (
                rates.get(report.key(setting), math.inf)
                >= rates.get(report.key(OURS), 0) * FAR_BEHIND
            ):
                return False
        return True

    def start_seconds(self, setting: Setting, group: Group) -> float:
        """Return the median startup time so far, or an estimate."""
        known = [
            start["seconds"]
            for start in self.starts
            if start["setting"] == report.key(setting) and start["cpus"] == group.cpus
        ]
        return statistics.median(known) if known else 4 if group.cpus else 1

    def measure(self) -> None:
        """Time the best settings in interleaved rounds, within the time limit of the run."""
        turns = self.turns()
        rivals = [turn for turn in turns if not self.far_behind(turn)]
        rounds = [turns, *[rivals] * (self.plan.repeats - 1)]
        all_turns = [turn for turns in rounds for turn in turns]
        # Besides its start, a turn includes a warm-up of a second, the checks and the shutdown.
        fixed = sum(self.start_seconds(setting, group) + 2 for setting, group, _ in all_turns)
        loads = sum(len(cells) for *_, cells in all_turns)
        servers = len(self.contestants(OPEN_LOOP)) if self.plan.own_loads else 0
        shares = len(COMMON_LOADS) + len(self.plan.own_loads)
        rest = fixed + servers * (4 + shares * self.plan.open_loop_seconds)
        left = self.plan.minutes * 60 - (time.perf_counter() - self.began) - rest
        seconds = min(self.plan.longest_seconds, max(1, int(left / loads)))
        total = rest + loads * seconds
        self.say(
            f"measuring {len(turns)} servers, {len(rivals)} of them in {self.plan.repeats} rounds,"
            f" {seconds} s a cell;"
            f" about {total / 60:.0f} minutes to go"
        )
        unfit: list[tuple[Setting, Group, list[Cell]]] = []
        for number, turns in enumerate(rounds, 1):
            group = None
            for turn in turns:
                if turn in unfit:
                    continue
                if turn[1] != group:
                    group = turn[1]
                    self.say(f"round {number} of {self.plan.repeats}, {group}")
                try:
                    self.turn(*turn, seconds, number)
                except ServerError as error:
                    # Not every peer starts or responds with a fraction of a CPU.
                    if not group.cpus or turn[0] is OURS:
                        raise
                    unfit.append(turn)
                    self.notes.append(f"Left out: {str(error).splitlines()[0]}")
                    self.say(f"  {self.notes[-1]}")

    def offer(self) -> None:
        """Offer rates that do not depend on the responses."""
        if not self.plan.own_loads:
            return
        cell = OPEN_LOOP
        if cell not in self.plan.cells:
            cell = self.plan.cells[0]
        rates = report.medians(self.samples, cell)
        common = max(rates.get(report.key(one), 0) for one in self.plan.settings if is_peer(one))
        group = Group(cell.model, None)
        self.say(f"offering rates; the best peer's is {common:,.0f} requests/s")
        for setting in self.contestants(cell):
            if setting in self.plan.limits or report.key(setting) not in rates:
                continue
            own = rates[report.key(setting)]
            loads = [(share, common * share, "best peer") for share in COMMON_LOADS]
            loads += [(share, own * share, "own") for share in self.plan.own_loads]
            loads.sort(key=lambda one: one[1])
            with self.server(setting, group) as server:
                self.started(server, group)
                self.warm_up(server, group)
                request = self.request(setting, cell.model, cell.rows, cell.encoding)
                for share, rate, of in loads:
                    if rate > own:
                        result = None
                    else:
                        seconds = self.plan.open_loop_seconds
                        result = load.open_loop(server.port, request, rate, seconds)
                    self.offered.append(
                        {
                            "setting": report.key(setting),
                            "share": share,
                            "of": of,
                            "offered": rate,
                            "achieved": result and result.rate,
                            "p50": result and result.p50,
                            "p99": result and result.p99,
                            "errors": result and result.errors,
                        }
                    )
            self.say(f"  {report.key(setting)}: {latencies(self.offered, setting)}")

    def results(self) -> dict[str, Any]:
        """Return all findings, and the circumstances."""
        prices = self.places[PROJECT].folder / "deploy" / "prices.tsv"
        settings = [(one, False) for one in self.plan.settings]
        for one in self.plan.limits:
            if any(self.takes(one, cell) for cell in self.plan.cells):
                settings.append((one, True))
        return {
            "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
            "minutes": (time.perf_counter() - self.began) / 60,
            "machine": machine.about(ROOT),
            "settings": {
                report.key(one): {
                    "peer": one.peer,
                    "name": one.name,
                    "environment": one.environment,
                    "before": one.environment == BEFORE,
                    "tuned": one.tuned,
                    "limit": limit,
                }
                for one, limit in settings
            },
            "ours": report.key(OURS),
            "environments": {
                name: {"megabytes": place.megabytes, "packages": place.packages}
                for name, place in self.places.items()
            },
            "prices": report.prices(prices.read_text()),
            "samples": [asdict(sample) for sample in self.samples],
            "starts": self.starts,
            "open_loop": self.offered,
            "notes": self.notes,
        }


def is_peer(setting: Setting) -> bool:
    """Whether a user would pick it: neither ours, nor written by hand for speed."""
    return setting.environment not in (PROJECT, BEFORE) and not setting.tuned


def is_rival(setting: Setting) -> bool:
    """Whether targets compare ours with it."""
    return report.key(setting).startswith(RIVALS)


def latencies(offered: list[dict[str, Any]], setting: Setting) -> str:
    """Return a line with the p99 at each rate that was offered to a server."""
    mine = [one for one in offered if one["setting"] == report.key(setting) and one["p99"]]
    return ", ".join(f"p99 {one['p99']:.1f} ms at {one['offered']:,.0f}/s" for one in mine)


def read_arguments() -> argparse.Namespace:
    """Parse the command line; ``plan`` is the requested plan."""
    parser = argparse.ArgumentParser(
        prog="bench/serving",
        description=__doc__.partition("\n")[0],
        epilog=f"Scenarios: {', '.join(SCENARIOS)}; one-cpu:16 is one-cpu with 16 clients.",
    )
    parser.add_argument(
        "--quick", action="store_true", help="check that everything works; time nothing"
    )
    parser.add_argument(
        "--only",
        nargs="+",
        metavar="SCENARIO",
        help="only these, compared with FastAPI alone; prints the results, writes them with --output",
    )
    parser.add_argument(
        "--before", metavar="REF", help="also measure the project of another commit"
    )
    parser.add_argument("--output", type=Path, help="folder for the results, docs/bench by default")
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "bench-serving")
    parser.add_argument("--minutes", type=float, default=Plan.minutes, help="time limit")
    parser.add_argument("--repeats", type=int, default=Plan.repeats, help="rounds of each load")
    arguments = parser.parse_args()
    plan = Plan()
    if arguments.only:
        try:
            plan = partial_plan(arguments.only)
        except KeyError as error:
            parser.error(f"there is no scenario {error}: {', '.join(SCENARIOS)}")
    plan = replace(plan, minutes=arguments.minutes, repeats=arguments.repeats)
    if arguments.quick:
        plan = quick_plan()
    if arguments.before:
        release = before(environments.describe(arguments.before))
        plan = replace(plan, settings=[OURS, release, *plan.settings[1:]])
    arguments.plan = plan
    return arguments


def main() -> None:
    """Measure, write results.json, results.md and the plots."""
    arguments = read_arguments()
    if fault := load.missing():
        sys.exit(fault)
    # Like Ctrl-C: stop the running server on the way out.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("Terminated"))
    adopt_orphans()
    plan = arguments.plan
    with contextlib.ExitStack() as stack:
        output = arguments.output or ROOT / "docs" / "bench"
        if (arguments.quick or arguments.only) and not arguments.output:
            output = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        arguments.work.mkdir(parents=True, exist_ok=True)
        run = Run(plan, arguments.work.resolve())
        try:
            run.quota = Quota(QUOTA)
            stack.callback(run.quota.remove)
        except OSError as error:
            run.notes.append(
                f"Nothing was measured at {QUOTA} CPU: no cgroup can be made ({error})"
            )
            run.say(run.notes[-1])
        try:
            run.prepare()
            run.screen()
            run.measure()
            run.offer()
        except ServerError as error:
            sys.exit(str(error))
        output.mkdir(parents=True, exist_ok=True)
        report.write(run.results(), output)
        run.say(f"wrote {output / 'results.md'}")
        if arguments.only:
            print(report.in_short(run.results()))


if __name__ == "__main__":
    main()
