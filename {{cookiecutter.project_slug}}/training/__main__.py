"""Fit the model, evaluate it as it will be served, and write it: ``python -m training``."""

import signal

if __name__ == "__main__":
    # Exit on Ctrl-C without a traceback, even during the imports.
    signal.signal(signal.SIGINT, signal.SIG_DFL)

import sys
from pathlib import Path

from msgspec.structs import replace

from inference.config import NAME, Settings
from inference.errors import StartupError
from inference.runtime.signature import ModelCard
from training import importing, sources
from training.dataset import UnfitError
from training.evaluation import describe_metrics, evaluate
from training.export import export, infer_signature
from training.output import Content, loaded, publish, today
from training.train import SEED, fit, load_data

HELD_OUT = 0.2


def train() -> Content:
    """Return the content of the model, with metrics measured on held-out rows."""
    data = load_data()
    fitted, held_out = data.split(HELD_OUT, SEED)
    # Refuses a column before the model is fitted, which may take hours.
    data.describe_columns()
    model = fit(fitted)
    # Inferred from all rows, because values may be missing in only one of the parts.
    signature = infer_signature(model, data)
    outputs = data.describe_outputs(signature["outputs"])
    card = ModelCard(
        name=NAME,
        dataset=data.name,
        trained_on=today(),
        metrics={},
        **signature | {"outputs": outputs},
        examples=held_out.keep_examples(outputs),
        sample=held_out.keep_sample(),
        rows=len(fitted),
        limits=data.limits,
    )
    with loaded(export(model, card, held_out)) as predictor:
        metrics = evaluate(predictor, held_out)
    print(describe_metrics(metrics), "on held-out rows", flush=True)
    return export(model, replace(card, metrics=metrics), held_out)


def main() -> None:
    """Train and write the model file to the path in the first argument, or to the service's default path.

    An imported model is not trained: if its file is missing, it is imported again from its source.
    """
    path = Path(sys.argv[1] if len(sys.argv) > 1 else Settings().model_path)
    try:
        source = sources.read()
        if source:
            print(f"Nothing to train: the model comes from {source.model} (model/source.json)")
            if not sources.is_here(path):
                importing.take(path, source)
            return
        publish(path, train())
    except (StartupError, UnfitError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
