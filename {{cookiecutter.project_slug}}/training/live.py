"""Read the service's sample of live requests: ``python -m training.live rows`` or ``... evaluate``.

``rows SAMPLE OUT`` writes it to a CSV file for ``load_data()``: a column for each input, followed by the prediction,
the request and the time. ``evaluate SAMPLE LABELS`` joins the sample with labels and computes the metrics of training.

SAMPLE is a file of JSON lines, a folder of such files at any depth, an ``s3://`` URL of one, or ``-`` for standard
input, to which ``make`` pipes the service's log; lines that are not part of the sample are skipped. LABELS is a CSV
file with the columns ``request_id``, ``row`` if requests have several, and one for each output, by its name.
"""

import signal

if __name__ == "__main__":
    # Exit on Ctrl-C without a traceback, even during the imports.
    signal.signal(signal.SIGINT, signal.SIG_DFL)

import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd

from inference.batch.files import is_remote, store_of
from inference.config import Settings
from inference.errors import StartupError, first_line
from inference.monitoring.request_sample import SampledRow
from inference.predictor import Predictor
from inference.runtime import artifact
from inference.runtime.signature import ModelCard
from training.dataset import UnfitError
from training.evaluation import measure

decoder = msgspec.json.Decoder(SampledRow)
ABOUT = ("time", "request_id", "row", "model_version")


def read(place: str) -> list[SampledRow]:
    """Return the rows of a sample, without duplicates, sorted by time; raises UnfitError if there are none."""
    rows = {}
    for line in lines_of(place):
        if b'"inference.sample"' not in line:
            continue
        try:
            row = decoder.decode(line)
        except msgspec.DecodeError:
            # A warning logged by the sample itself, or a truncated line.
            continue
        rows[row.request_id, row.row] = row
    if not rows:
        raise UnfitError(
            f"{place} holds no rows of a sample: set SAMPLE_SHARE to sample some of the requests"
        )
    return sorted(rows.values(), key=lambda row: (row.time, row.request_id, row.row))


def lines_of(place: str) -> Iterator[bytes]:
    """Yield the lines of all files of a sample; raises UnfitError if they cannot be read."""
    if place == "-":
        yield from sys.stdin.buffer
    elif is_remote(place):
        import obstore
        from obstore.exceptions import BaseError

        store, prefix = store_of(place)
        try:
            for found in obstore.list(store, prefix.rstrip("/")).collect():
                yield from bytes(obstore.get(store, found["path"]).bytes()).splitlines()
        except BaseError as error:
            raise UnfitError(f"Could not read {place}: {first_line(error)}") from error
    else:
        path = Path(place)
        try:
            files = sorted(path.rglob("*.jsonl")) if path.is_dir() else [path]
            for file in files:
                with file.open("rb") as opened:
                    yield from opened
        except OSError as error:
            raise UnfitError(f"Could not read {place}: {error.strerror}") from error


def to_frame(rows: Sequence[SampledRow]) -> pd.DataFrame:
    """Return a table of the rows: inputs, predictions, and the request of each."""
    instances = pd.DataFrame([row.instance for row in rows])
    predictions = pd.DataFrame(
        [
            {name and f"_{name}": value for name, value in outputs_of(row, "").items()}
            for row in rows
        ]
    )
    about = pd.DataFrame([{name: getattr(row, name) for name in ABOUT} for row in rows])
    return pd.concat([instances, predictions.add_prefix("prediction"), about], axis=1)


def outputs_of(row: SampledRow, only: str) -> dict[str, Any]:
    """Return the predictions of a row by output; a single prediction is named ``only``."""
    return row.prediction if isinstance(row.prediction, dict) else {only: row.prediction}


def evaluate(rows: Iterable[SampledRow], labels: pd.DataFrame, card: ModelCard) -> dict[str, float]:
    """Compare the predictions with the labels, and print how many rows have a label.

    Raises UnfitError if the labels lack a column, or match no request of the sample.
    """
    names = [output.name for output in card.outputs]
    for name in ("request_id", *names):
        if name not in labels:
            raise UnfitError(f"the labels have no column {name!r}: they have {', '.join(labels)}")
    keys = ["request_id", "row"] if "row" in labels else ["request_id"]
    known = pd.DataFrame(
        [outputs_of(row, names[0]) | {"request_id": row.request_id, "row": row.row} for row in rows]
    )
    if "row" not in labels and known["request_id"].duplicated().any():
        raise UnfitError(
            "requests have several rows: the labels need a column 'row', counted from 0"
        )
    labels = labels.dropna(subset=names).astype({"request_id": str})
    both = known.merge(labels, on=keys, suffixes=("", " label"), validate="one_to_one")
    if both.empty:
        raise UnfitError("no request of the labels is in the sample")
    print(f"{len(both):,} of {len(known):,} rows of the sample have a label")
    actual = [both[f"{name} label"].to_numpy() for name in names]
    return measure(card, actual, [both[name].to_numpy() for name in names])


def main(arguments: Sequence[str]) -> None:
    """Run the command in the first argument."""
    what, place, other = arguments
    try:
        if not other:
            raise UnfitError(
                {"rows": "OUT=rows.csv", "evaluate": "LABELS=labels.csv"}[what] + " is needed"
            )
        rows = read(place)
        if what == "rows":
            frame = to_frame(rows)
            frame.to_csv(other, index=False)
            print(f"{other}: {len(frame):,} rows, {', '.join(map(str, frame.columns))}")
            return
        model = artifact.read(Settings().model_path)
        card = Predictor.load(model.content).card
        others = {row.model_version for row in rows} - {model.version}
        if others:
            print(
                f"note: some rows are from other versions of the model: {', '.join(sorted(others))}"
            )
        metrics = evaluate(rows, pd.read_csv(other), card)
    except (UnfitError, StartupError, OSError, ValueError) as error:
        sys.exit(str(error))
    print(f"{'metric':20} {'training':>9} {'live':>9}")
    for name, value in metrics.items():
        print(f"{name:20} {card.metrics.get(name, np.nan):9.4g} {value:9.4g}")


if __name__ == "__main__":
    main(sys.argv[1:])
