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
from inference.runtime.signature import ModelCard
from training.dataset import Dataset
from training.export import export
from training.output import measure, write_model, write_serving
from training.train import SEED, fit, load_data

HELD_OUT = 0.2
# The JSON of more rows keeps the event loop for longer than the model does.
MAX_INLINE_ROWS = 1000


def train() -> bytes:
    """Return the content of the model file, its metrics taken on held-out rows."""
    fitted, held_out = load_data().split(HELD_OUT, SEED)
    model = fit(fitted)
    card = ModelCard(
        name="{{ cookiecutter.project_slug }}",
        dataset=fitted.name,
        trained_on=today(),
        metrics={},
        features=fitted.describe_features(),
        target=fitted.target,
        classes=tuple(fitted.classes),
    )
    predictor = Predictor.load(export(model, card, fitted))
    return export(model, replace(card, metrics=evaluate(predictor, held_out)), fitted)


def today() -> str:
    """The date of SOURCE_DATE_EPOCH, so that a build can be repeated, or else the current one."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    now = datetime.fromtimestamp(int(epoch), UTC) if epoch else datetime.now(UTC)
    return now.date().isoformat()


def evaluate(predictor: Predictor, data: Dataset) -> dict[str, float]:
    """Measure the model as it will be served, on rows that it was not fitted on."""
    predicted = predictor.predict(data.rows.astype("float32")).values
    if data.classes:
        actual = [data.classes[index] for index in data.labels]
        scores = {
            "accuracy": accuracy_score(actual, predicted),
            "f1_macro": f1_score(actual, predicted, average="macro"),
        }
    else:
        scores = {
            "r2": r2_score(data.labels, predicted),
            "mean_absolute_error": mean_absolute_error(data.labels, predicted),
        }
    return {name: round(float(score), 4) for name, score in scores.items()}


def main() -> None:
    """Train and write the model file, to the first argument or to where the service reads it."""
    path = Path(sys.argv[1] if len(sys.argv) > 1 else Settings().model_path)
    model = write_model(path, train())
    predictor = Predictor.load(model.content)
    card = predictor.card
    row = np.array([feature.example for feature in card.features], np.float32)
    # The service's default, not what happens to be set here.
    # A predictor that does not say is one that may.
    max_inline = 0 if getattr(predictor, "may_block", True) else MAX_INLINE_ROWS
    serving = measure(predictor.predict, row, max_inline)
    write_serving(path, serving)
    metrics = ", ".join(f"{name} {value:.4g}" for name, value in card.metrics.items())
    print(metrics, "on held-out rows")
    print(f"{path}: {len(model.content):,} bytes, version {model.version}", end="")
    print("; requests will be predicted together" if serving.queue else "")


if __name__ == "__main__":
    main()
