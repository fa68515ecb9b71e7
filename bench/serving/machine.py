"""The machine of a run: what it is, and whether other programs use it."""

import os
import platform
import subprocess
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, Self

SERVER_CPU, *REST = sorted(os.sched_getaffinity(0))
# The CPU of the load generator while a server has a CPU to itself, if there is another.
LOAD_CPUS = REST or [SERVER_CPU]
CPUS = 1 + len(REST)
TICKS = os.sysconf("SC_CLK_TCK")
# CPU time that starting and stopping the load generator may take besides its load.
SLACK_SECONDS = 0.2


def about(folder: Path) -> dict[str, Any]:
    """Return processor, kernel, Python, and the commit of the repository that contains ``folder``."""
    cpus = Path("/proc/cpuinfo").read_text().splitlines()
    models = [line.partition(":")[2].strip() for line in cpus if line.startswith("model name")]
    commit = subprocess.run(
        ["git", "rev-parse", "--short=12", "HEAD"],  # noqa: S607
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    ).stdout.strip()
    return {
        "processor": models[0] if models else platform.machine(),
        "cpus": CPUS,
        "kernel": platform.release().partition("-")[0],
        "python": platform.python_version(),
        "commit": commit,
    }


def stay_on(cpus: Collection[int]) -> Callable[[], None]:
    """Return a function that pins the calling process and its children to these CPUs."""
    return lambda: os.sched_setaffinity(0, cpus)


def busy_seconds() -> float:
    """Return the total CPU time since boot, including time stolen by a hypervisor."""
    # user, nice, system, idle, iowait, irq, softirq, steal
    fields = [int(one) for one in Path("/proc/stat").read_text().split(maxsplit=9)[1:9]]
    return (sum(fields) - fields[3] - fields[4]) / TICKS


def own_seconds() -> float:
    """Return the CPU time of this process and of its load generators."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


class Watch:
    """Context manager that measures how much of the machine others than the server and its load used."""

    def __enter__(self) -> Self:
        self.began = time.perf_counter()
        self.others = busy_seconds() - own_seconds()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds = time.perf_counter() - self.began
        self.others = busy_seconds() - own_seconds() - self.others

    def share_of_others(self, server_seconds: float, load_seconds: float) -> float:
        """Return the share of CPU time, or of wall-clock time if the machine was suspended meanwhile."""
        foreign = (self.others - server_seconds) / self.seconds / CPUS
        standstill = (self.seconds - load_seconds - SLACK_SECONDS) / self.seconds
        return max(0.0, foreign, standstill)
