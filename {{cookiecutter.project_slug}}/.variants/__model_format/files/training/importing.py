"""Import the files of a model trained elsewhere: ``python -m training.importing MODEL [OPTION ...]``.

They replace the served model only after ``Predictor`` has loaded and run them.
"""

import signal

if __name__ == "__main__":
    # Exit on Ctrl-C without a traceback, even during the imports.
    signal.signal(signal.SIGINT, signal.SIG_DFL)

import argparse
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec

from inference.config import Settings
from inference.errors import message_of
from inference.runtime.contract import keep
from inference.runtime.engine import Engine
from inference.runtime.signature import to_inputs
from training import sources
from training.dataset import UnfitError
from training.output import Content, loaded, publish
from training.sources import Source


def take(path: Path, source: Source) -> None:
    """Let ``Predictor`` load the files and predict its example and the sample, then replace the served model.

    Raises UnfitError if that fails; then nothing is written.
    """
    with ExitStack() as stack:
        fetched = sources.fetch(source.model, stack)
        content: Content = fetched if fetched.is_dir() else {fetched.name: fetched.read_bytes()}
        rows = read_rows(source.sample) if source.sample else []
        where = ""
        try:
            with loaded(content) as predictor:
                card = Engine(predictor, queue=False, seconds_to_wait=1).card
                for number, row in enumerate(rows):
                    where = f" for row {number} of {source.sample}"
                    keep(card, predictor.predict(to_inputs(card, [row])), 1)
        except Exception as error:
            reason = f"{type(error).__name__}: {message_of(error)}"
            raise UnfitError(
                f"Predictor cannot serve {source.model}{where}: {reason}\n"
                "Change inference/predictor.py so that it does."
            ) from error
        print(f"{source.model}: served by Predictor as {card.name}")
        print(f"The example and {len(rows)} rows of a sample are answered")
        publish(path, content)


def read_rows(sample: str) -> Sequence[Any]:
    """Read instances from a JSON file in the format of ``/predict``; raises UnfitError if there are none."""
    try:
        content = msgspec.json.decode(Path(sample).read_bytes())
        rows: list[Any] = content["instances"] if isinstance(content, dict) else content
    except (OSError, KeyError, msgspec.DecodeError) as error:
        raise UnfitError(
            f'Could not read SAMPLE, {{"instances": […]}}: {sample}: {error}'
        ) from error
    return rows


def main() -> None:
    """Import the model given on the command line, and store its source for the pipeline."""
    parser = argparse.ArgumentParser(prog="make import", description=__doc__)
    parser.add_argument("model", help="a file, a folder, s3://BUCKET/KEY or models:/NAME/VERSION")
    parser.add_argument(
        "--sample", default="", help="instances in the format of /predict: a .json file"
    )
    # Not needed: Predictor supplies these.
    parser.add_argument("--target", default="", help=argparse.SUPPRESS)
    parser.add_argument("--names", default="", help=argparse.SUPPRESS)
    parser.add_argument("--classes", default="", help=argparse.SUPPRESS)
    options = parser.parse_args()
    source = Source(model=options.model, sample=options.sample)
    try:
        if not options.model:
            raise UnfitError("Which model? make import MODEL=path, a file or a folder")
        if options.target or options.names or options.classes:
            raise UnfitError(
                "TARGET, NAMES and CLASSES are in the signature that Predictor gives: leave them out"
            )
        take(Path(Settings().model_path), source)
    except UnfitError as error:
        sys.exit(str(error))
    sources.write(source)


if __name__ == "__main__":
    main()
