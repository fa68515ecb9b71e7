"""Fit the model, evaluate what will be served, and write it: ``python -m training``."""

import signal

if __name__ == "__main__":
    # Ctrl-C ends it without a traceback, from the imports on.
    signal.signal(signal.SIGINT, signal.SIG_DFL)

import os
import sys
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from msgspec.structs import replace
from sklearn.metrics import accuracy_score, f1_score, mean_absolute_error, r2_score

from inference.config import Settings
from inference.predictor import Predictor
from inference.runtime.contract import keep
from inference.runtime.signature import ModelCard, to_inputs
from training.dataset import Dataset, UnfitError
from training.export import export, infer_signature
from training.output import measure, measure_memory, write_model, write_serving
from training.train import SEED, fit, load_data

HELD_OUT = 0.2
# The JSON of more rows keeps the event loop for longer than the model does.
MAX_INLINE_ROWS = 1000


def train() -> bytes:
    """Return the content of the model file, its metrics taken on held-out rows."""
    data = load_data()
    fitted, held_out = data.split(HELD_OUT, SEED)
    model = fit(fitted)
    card = ModelCard(
        name="{{ cookiecutter.project_slug }}",
        dataset=data.name,
        trained_on=today(),
        metrics={},
        # Of all rows: a value may be missing in one part alone.
        **infer_signature(model, data),
    )
    predictor = Predictor.load(export(model, card, held_out))
    return export(model, replace(card, metrics=evaluate(predictor, held_out)), held_out)


def today() -> str:
    """The date of SOURCE_DATE_EPOCH, so that a build can be repeated, or else the current one."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    now = datetime.fromtimestamp(int(epoch), UTC) if epoch else datetime.now(UTC)
    return now.date().isoformat()


def evaluate(predictor: Predictor, data: Dataset) -> dict[str, float]:
    """Measure the model as it will be served, on instances that it was not fitted on.

    A model that learned without labels is told by how it parts them: the share of its least class.
    """
    card, instances = predictor.card, data.inputs()
    predictions = keep(card, predictor.predict(to_inputs(card, instances)), len(instances))
    metrics: dict[str, float] = {}
    for place, (output, prediction) in enumerate(zip(card.outputs, predictions, strict=True)):
        predicted = np.array(prediction.values)
        several = f"{output.name}_" if len(card.outputs) > 1 else ""
        if data.labels is None:
            _, counts = np.unique(predicted, return_counts=True)
            scores = {"smallest_share": counts.min() / len(predicted)}
        elif output.classes:
            actual = data.labels.reshape(len(instances), -1)[:, place].astype(predicted.dtype)
            scores = {
                "accuracy": accuracy_score(actual, predicted),
                "f1_macro": f1_score(actual, predicted, average="macro"),
            }
        else:
            actual = data.labels.reshape(len(instances), -1)[:, place]
            scores = {
                "r2": r2_score(actual, predicted),
                "mean_absolute_error": mean_absolute_error(actual, predicted),
            }
        metrics |= {f"{several}{name}": round(float(score), 4) for name, score in scores.items()}
    return metrics


def main() -> None:
    """Train and write the model file, to the first argument or to where the service reads it."""
    path = Path(sys.argv[1] if len(sys.argv) > 1 else Settings().model_path)
    try:
        content = train()
    except UnfitError as error:
        sys.exit(str(error))
    model = write_model(path, content)
    predictor = Predictor.load(model.content)
    card = predictor.card
    example = to_inputs(card, [card.example])
    # The service's default, not what happens to be set here.
    # A predictor that does not say is one that may.
    max_inline = 0 if getattr(predictor, "may_block", True) else MAX_INLINE_ROWS
    serving = measure(predictor.predict, example, max_inline)
    serving = replace(serving, worker_mib=measure_memory(path))
    write_serving(path, serving)
    metrics = ", ".join(f"{name} {value:.4g}" for name, value in card.metrics.items())
    print(metrics, "on held-out rows")
    print(f"{path}: {len(model.content):,} bytes, version {model.version}", end="")
    print("; requests will be predicted together" if serving.queue else "")


if __name__ == "__main__":
    main()
