"""Compare a new model with the running one: ``compare.py RUNNING [NEW] <SAMPLE``.

RUNNING is the service's URL, SAMPLE the output of ``python -m inference.expected`` for the image or the local model.
With NEW, the URL of the tasks of a new release, compare their answers. Exit with 1 if a metric that both models have is
worse by more than TOLERANCE, a share, or if more than MAX_DIFFERENT percent of the answers to the sample differ; with 2
if the models could not be compared.

``compare.py --same ANSWER EXPECTED`` exits with 0 if two JSON texts are equal, and else with 1.
"""

import json
import math
import os
import re
import sys
import traceback
from collections.abc import Sequence
from typing import Any

from ask import NoAnswerError, ask

# Among the metrics of training; for all others, more is better.
LESS_IS_BETTER = ("mean_absolute_error",)
# The name may have blanks: with several outputs, it starts with the name of one.
PAIR = re.compile(r"(.+?)=(-?(?:inf|nan|[\d.]+(?:e[+-]\d+)?))(?:\s|$)")
METRIC = re.compile(r'^inference_model_metric\{.*?metric="([^"]+)".*?\} (\S+)$', re.MULTILINE)
# Numbers count as different beyond this share of the range of the running model's answers.
SPAN_SHARE = 0.1

Scalar = str | bool | int | float


def metrics_in(text: str) -> dict[str, float]:
    """Parse the metrics in a sample, such as ``accuracy=0.98 f1_macro=0.97``."""
    return {name: float(value) for name, value in PAIR.findall(text)}


def running_metrics(text: str) -> dict[str, float]:
    """Parse the model's metrics in the text of ``/metrics``, with as many digits as a sample has."""
    return {name: float(f"{float(value):.4g}") for name, value in METRIC.findall(text)}


def is_worse(name: str, new: float, running: float, tolerance: float) -> bool:
    """Whether ``new`` is worse than ``running`` by more than ``tolerance`` of it."""
    # With several outputs, the name of one precedes the metric's.
    less_is_better = f"_{name}".endswith(tuple(f"_{metric}" for metric in LESS_IS_BETTER))
    loss = new - running if less_is_better else running - new
    # NaN counts as worse.
    return not loss <= tolerance * abs(running)


def worse_metrics(new: dict[str, float], running: dict[str, float], tolerance: float) -> list[str]:
    """Print a table of the metrics that both models have; return the worse ones."""
    common = [name for name in new if name in running]
    if not common:
        print(
            f"no metric in common: the new model has {list(new)}, the running one {list(running)}"
        )
        return []
    worse = [name for name in common if is_worse(name, new[name], running[name], tolerance)]
    print(f"{'metric':20} {'running':>9} {'new':>9}")
    for name in common:
        note = "  worse" if name in worse else ""
        print(f"{name:20} {running[name]:9.4g} {new[name]:9.4g}{note}")
    return worse


def columns_of(answer: dict[str, Any]) -> dict[str, list[Scalar]]:
    """Return the predictions in a response of ``/predict`` by output; an unnamed one is ``""``."""
    predictions = answer["predictions"]
    if predictions and isinstance(predictions[0], dict):
        return {name: [one[name] for one in predictions] for name in predictions[0]}
    return {"": predictions}


def differ(new: Sequence[Scalar], running: Sequence[Scalar]) -> list[bool]:
    """Return for each instance whether two predictions differ: in the class, or much as numbers, which are floats.

    Raise ValueError if the numbers of instances differ.
    """
    if not all(isinstance(value, float) for value in running):
        return [one != other for one, other in zip(new, running, strict=True)]
    numbers = [float(value) for value in running]
    most = max(SPAN_SHARE * (max(numbers) - min(numbers)), 1e-4 * max(map(abs, numbers)))
    return [
        not isinstance(one, float) or not abs(one - other) <= most
        for one, other in zip(new, numbers, strict=True)
    ]


def different_share(new: dict[str, Any], running: dict[str, Any]) -> tuple[int, int]:
    """Return the number of instances with any different prediction, and the number of all.

    Raise ValueError if the answers have different outputs or numbers of instances.
    """
    ours, theirs = columns_of(new), columns_of(running)
    if ours.keys() != theirs.keys():
        raise ValueError(f"the outputs are {list(ours)}, those of the running model {list(theirs)}")
    columns = [differ(ours[name], theirs[name]) for name in ours]
    rows = [any(row) for row in zip(*columns, strict=True)]
    return sum(rows), len(rows)


def same(one: object, other: object) -> bool:
    """Whether two JSON values are equal; the last digits of numbers may differ between processors."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=1e-4, abs_tol=1e-6)
    return one == other


def same_text(answer: str, expected: str) -> bool:
    """Whether two JSON texts have the same value."""
    try:
        return same(json.loads(answer), json.loads(expected))
    except ValueError:
        return False


def setting(name: str, default: str) -> float:
    """Return a number from the environment; exit with 2 if it is invalid."""
    text = os.environ.get(name, default)
    try:
        number = float(text)
    except ValueError:
        number = -1
    if not 0 <= number < float("inf"):
        print(f"{name} must be a number from 0 on, not {text!r}", file=sys.stderr)
        sys.exit(2)
    return number


def main(running_url: str, new_url: str = "") -> int:
    """Compare; return the exit code."""
    tolerance = setting("TOLERANCE", "0.01")
    most = setting("MAX_DIFFERENT", "20")
    lines = sys.stdin.read().splitlines()
    if len(lines) < 6:
        print(
            "the sample comes from an image of an earlier version: it has no instances to compare"
        )
        return 0
    metrics, request, expected = lines[3:6]
    complaints = []
    try:
        worse = worse_metrics(
            metrics_in(metrics), running_metrics(ask(f"{running_url}/metrics").decode()), tolerance
        )
        if worse:
            complaints.append(f"it is worse by more than {tolerance:.1%} in {', '.join(worse)}")
        new = json.loads(ask(f"{new_url}/predict", request) if new_url else expected)
        try:
            running = json.loads(ask(f"{running_url}/predict", request))
            count, rows = different_share(new, running)
        except (NoAnswerError, ValueError, KeyError) as error:
            # A release may have other inputs or outputs.
            if isinstance(error, NoAnswerError) and error.status not in (400, 422):
                raise
            print(f"the answers cannot be compared: {error}")
        else:
            share = 100 * count / rows
            print(f"{count} of {rows} answers differ, {share:.3g} %; {most:g} % are allowed")
            if share > most:
                complaints.append(f"more than {most:g} % of its answers differ (MAX_DIFFERENT)")
    except NoAnswerError as error:
        sys.stdout.flush()
        print(error, file=sys.stderr)
        return 2
    sys.stdout.flush()
    if complaints:
        print(
            f"The new model must not replace the running one: {'; '.join(complaints)}.",
            file=sys.stderr,
        )
        return 1
    print("The new model may replace the running one.")
    return 0


if __name__ == "__main__":
    if sys.argv[1] == "--same":
        sys.exit(not same_text(*sys.argv[2:]))
    try:
        code = main(*sys.argv[1:])
    except Exception:
        # Python's own exit code would be 1, the verdict.
        traceback.print_exc()
        code = 2
    sys.exit(code)
