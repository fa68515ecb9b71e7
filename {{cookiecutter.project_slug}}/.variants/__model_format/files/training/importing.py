"""Import the files of a model trained elsewhere: ``python -m training.importing MODEL [OPTION ...]``.

They replace the served model only after ``Predictor`` has loaded and run them.
"""

import signal

if __name__ == "__main__":
    # Exit on Ctrl-C without a traceback, even during the imports.
    signal.signal(signal.SIGINT, signal.SIG_DFL)

import argparse
import sys
from contextlib import ExitStack
from pathlib import Path

from werkzeug.exceptions import HTTPException

from inference.config import Settings
from inference.errors import message_of
from inference.formats.instances import InstancesDecoder
from inference.runtime.artifact import files_of
from inference.runtime.engine import Engine
from inference.runtime.signature import Inputs, ModelCard, count
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
        if isinstance(content, Path) and not files_of(content):
            raise UnfitError(f"{source.model} is an empty folder.")
        where = ""
        try:
            with loaded(content) as predictor:
                engine = Engine(predictor, queue=False, seconds_to_wait=1)
                card = engine.card
                rows = read_rows(source.sample, card) if source.sample else {}
                for number in range(count(rows)):
                    where = f" for row {number} of {source.sample}"
                    engine.predict({name: array[number:][:1] for name, array in rows.items()})
        except UnfitError:
            raise
        except Exception as error:
            reason = f"{type(error).__name__}: {message_of(error)}"
            raise UnfitError(
                f"Predictor cannot serve {source.model}{where}: {reason}\n"
                "Change inference/predictor.py so that it does."
            ) from error
        print(f"{source.model}: served by Predictor as {card.name}")
        print(f"The example and {count(rows)} rows of a sample are answered")
        publish(path, content)


def read_rows(sample: str, card: ModelCard) -> Inputs:
    """Read instances from a JSON file as ``/predict`` does; raises UnfitError if there are none."""
    try:
        content = Path(sample).read_bytes()
        if content.lstrip().startswith(b"["):
            content = b'{"instances":%b}' % content
        return InstancesDecoder(card, sys.maxsize).decode(content)
    except (OSError, HTTPException) as error:
        raise UnfitError(
            f'Could not read SAMPLE, {{"instances": […]}}: {sample}: {message_of(error)}'
        ) from error


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
