"""Import a model trained elsewhere: ``python -m training.importing MODEL [OPTION ...]``.

It is converted, compared with its framework, and only then replaces the served model.
"""

import signal

if __name__ == "__main__":
    # Exit on Ctrl-C without a traceback, even during the imports.
    signal.signal(signal.SIGINT, signal.SIG_DFL)

import argparse
import csv
import importlib
import re
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import joblib
import numpy as np
from msgspec.structs import replace

from inference.config import NAME, Settings
from inference.predictor import Predictor
from inference.runtime.artifact import is_pointer
from inference.runtime.signature import ModelCard, class_names
from training import sample_rows, sources
from training.dataset import Dataset, UnfitError
from training.evaluation import describe_metrics, evaluate
from training.export import framework_of, to_estimator
from training.frameworks.graph import Original
from training.output import publish, today
from training.sources import Source
from training.verification import Converted, other_order

# For each file extension, the module of training/frameworks that reads it.
READERS = {
    ".bst": "xgboost",
    ".json": "xgboost",
    ".lgb": "lightgbm",
    ".onnx": "graph",
    ".pt2": "pytorch",
    ".txt": "lightgbm",
    ".ubj": "xgboost",
    ".xgb": "xgboost",
}
PICKLES = (".joblib", ".pickle", ".pkl", ".skops")
# What to install if a package is missing.
PACKAGES = {
    "lightgbm": "lightgbm and onnxmltools",
    "sklearn": "scikit-learn and skl2onnx",
    "skops": "skops",
    "torch": "onnxscript, and PyTorch (model_framework pytorch shows how)",
    "xgboost": "xgboost-cpu and onnxmltools",
    "yaml": "pyyaml",
}
OPENMP = "apt-get install libgomp1, dnf install libgomp, or brew install libomp"
MOST_NAMED = 12


class Found(NamedTuple):
    """A model read from a file: a description, column names and rows if the file has them, and ``pin``'s result."""

    model: Any
    kind: str
    names: Sequence[str] = ()
    rows: Any = None
    remedy: str = ""


def take(path: Path, source: Source) -> None:
    """Convert a model, compare it with its framework, replace the model file, and report.

    Raises UnfitError, in at most three lines, if the model cannot be served; then nothing is written.
    """
    with ExitStack() as stack:
        found = read(sources.fetch(source.model, stack))
        stack.enter_context(blaming_version(found.remedy))
        data, origin = make_dataset(found, source)
        framework = framework_of(found.model)
        classes = source.classes or data.known_classes()
        fields = framework.infer_signature(found.model, data, classes)
        metrics: dict[str, float] = {}
        card = ModelCard(
            name=NAME,
            dataset=f"imported from {Path(source.model).name}",
            trained_on=today(),
            metrics=metrics,
            **fields,
        )
        converted: Converted = framework.export(found.model, card, data)
        if data.labels is not None:
            if len(card.outputs) > 1:
                raise UnfitError(f"It has {len(card.outputs)} outputs: leave out TARGET.")
            if order := other_order(found.model, card, converted.content, data):
                names = ",".join(map(str, order))
                raise UnfitError(f"The labels fit classes in another order: CLASSES={names}.")
            metrics = evaluate(Predictor.load(converted.content), data)
            converted = framework.export(found.model, replace(card, metrics=metrics), data)
    print(f"{source.model}: {found.kind}")
    print(
        f"{converted.agreed} of {converted.instances} {origin} get the same answer as from the original model; "
        f"the largest difference is {converted.difference:.1g}",
        *([describe_metrics(metrics)] if metrics else []),
        sep="; ",
    )
    print(describe(card))
    publish(path, converted.content)


@contextmanager
def blaming_version(remedy: str) -> Iterator[None]:
    """Add the remedy to errors that another version of scikit-learn may cause."""
    try:
        yield
    except Exception as error:
        # As UnfitError, only one from an estimator that lacks an attribute.
        cause = error.__cause__ if isinstance(error, UnfitError) else error
        if remedy and (cause is error or hasattr(getattr(cause, "obj", None), "get_params")):
            raise UnfitError(f"The model fails: {cause}\n{remedy}") from error
        raise


def read(path: Path) -> Found:
    """Read a model by its file type; raises UnfitError if the type is unknown or its library is not installed."""
    if path.is_dir():
        if not (path / "MLmodel").is_file():
            raise UnfitError(f"{path} is a folder without MLmodel: save it with MLflow or as ONNX.")
        return read_mlflow(path)
    if is_pointer(path):
        raise UnfitError(f"{path} is a pointer of Git LFS, not the model: run git lfs pull.")
    if path.suffix in PICKLES:
        return read_pickle(path)
    if path.suffix not in READERS:
        known = ", ".join(sorted([*READERS, *PICKLES]))
        raise UnfitError(
            f"{path} has an unknown file type: supported are MLflow folders and {known}. Export others as ONNX."
        )
    name = READERS[path.suffix]
    model = import_framework(name).load(path)
    return Found(model, kind_of(model), framework_of(model).column_names(model))


def import_framework(name: str) -> Any:
    """Import a module of training/frameworks; raises UnfitError if its library is not installed."""
    try:
        return importlib.import_module(f"training.frameworks.{name}")
    except ModuleNotFoundError as error:
        raise missing(error) from error
    except OSError as error:
        raise not_loaded(name, error) from error


def not_loaded(what: object, error: OSError) -> UnfitError:
    """Return the error for an unreadable file, or for an installed package whose system library is missing."""
    hint = f" LightGBM needs OpenMP: {OPENMP}." if re.search("libg?omp", str(error)) else ""
    return UnfitError(f"Could not load {what}: {error}.{hint}")


def missing(error: ModuleNotFoundError) -> UnfitError:
    """Return the error for a module that cannot be imported."""
    package = (error.name or "").partition(".")[0]
    if package not in PACKAGES:
        return UnfitError(
            f"The model needs the module {error.name}, which is not installed here: bake with model_framework python, "
            "which serves any code."
        )
    return UnfitError(
        f"Reading it needs {PACKAGES[package]}: put that into requirements/train.in, then run `make lock`, then "
        "`make setup`."
    )


def read_pickle(path: Path) -> Found:
    """Load an estimator from a pickle, a joblib file or a skops file."""
    if path.suffix == ".skops":
        return read_skops(path)
    print(f"Loading {path} runs the code in it: only do that with files that you trust", flush=True)
    made_with = ""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            model = joblib.load(path)
        except OSError as error:
            raise not_loaded(path, error) from error
        except Exception as error:
            raise unreadable(path, error) from error
    model = to_estimator(model)
    for warning in caught:
        made_with = made_with or getattr(warning.message, "original_sklearn_version", "")
    if not hasattr(model, "predict"):
        kind = type(model)
        raise UnfitError(
            f"{path} holds a {kind.__module__}.{kind.__name__} without predict(): save the model alone."
        )
    names = framework_of(model).column_names(model)
    return Found(model, kind_of(model, made_with), names, remedy=pin(made_with))


def unreadable(path: Path, error: Exception) -> UnfitError:
    """Return the error for a pickle that fails to load."""
    if isinstance(error, ModuleNotFoundError) and not find_spec(str(error.name).partition(".")[0]):
        return missing(error)
    fault = f"is not a pickle, or is incomplete: {error!r}"
    if isinstance(error, AttributeError | ImportError):
        fault = f"was saved with another version of a library or code that is not here: {error}"
        if "__main__" in str(error):
            fault = f"needs code of the script that saved it, which save_model leaves out: {error}"
    # A compressed file does not show it.
    pattern = rb"_sklearn_version.{1,12}?(\d+(?:\.\d+)+)"
    made_with = re.search(pattern, path.read_bytes(), re.DOTALL)
    return UnfitError(f"{path} {fault}\n{pin(made_with[1].decode() if made_with else '')}".strip())


def pin(made_with: str) -> str:
    """Say how to install the scikit-learn that wrote a pickle; empty if it is installed or unknown."""
    here = version("scikit-learn")
    if made_with in ("", here):
        return ""
    return (
        f"It was saved with scikit-learn {made_with}, this project has {here}: write scikit-learn=={made_with} into "
        "requirements/train.in, then run `make lock`, then `make setup`."
    )


def read_skops(path: Path) -> Found:
    """Load an estimator from a skops file, trusting only types of known libraries."""
    try:
        from skops import io
    except ModuleNotFoundError as error:
        raise missing(error) from error
    untrusted = io.get_untrusted_types(file=path)
    strange = [
        name for name in untrusted if name.partition(".")[0] not in (*PACKAGES, "numpy", "scipy")
    ]
    if strange:
        raise UnfitError(f"{path} holds {strange[0]}, which is not from a known library.")
    model = io.load(path, trusted=untrusted)
    return Found(model, kind_of(model), framework_of(model).column_names(model))


def read_mlflow(folder: Path) -> Found:
    """Load the model in an MLflow folder, with its column names and example."""
    saved = import_framework("mlflow").read(folder)
    found = read(saved.path)
    return found._replace(
        kind=f"{found.kind}, saved by MLflow", names=found.names or saved.names, rows=saved.rows
    )


def kind_of(model: Any, made_with: str = "") -> str:
    """Describe a model, the version of its library, and the version of scikit-learn that wrote it."""
    if isinstance(model, Original):
        return model.kind
    last = type(getattr(model, "steps", [("", model)])[-1][1])
    library = last.__module__.removeprefix("training.frameworks.").partition(".")[0]
    here = getattr(sys.modules.get(library), "__version__", "of unknown version")
    package = "scikit-learn" if library == "sklearn" else library
    if made_with not in ("", here) and library == "sklearn":
        here = f"{made_with}, read by {here}"
    return f"{last.__name__} of {package} {here}"


def make_dataset(found: Found, source: Source) -> tuple[Dataset, str]:
    """Return rows to describe and verify the model, and their origin; raises UnfitError if anything is missing."""
    framework = framework_of(found.model)
    if source.names and found.names and not isinstance(found.model, Original):
        raise UnfitError(f"The model names its columns, {', '.join(found.names)}: leave out NAMES.")
    names = source.names or found.names
    rows, origin = found.rows, "rows of its input example"
    if source.sample:
        rows, origin = sample_rows.read(Path(source.sample)), f"rows of {Path(source.sample).name}"
    if rows is None:
        rows, origin = framework.make_up(found.model, names), "rows that were made up"
    labels = None
    if source.target:
        rows, labels = sample_rows.take_target(rows, source.target, origin)
        if source.classes and np.isin(labels, range(len(source.classes))).all():
            labels = np.array(source.classes, object)[np.asarray(labels, int)]
    rows = sample_rows.choose_columns(rows, names, origin)
    names = names or list(getattr(rows, "columns", ()))
    if isinstance(rows, np.ndarray) and rows.ndim == 2 and not names:
        raise UnfitError(f"The columns of the {origin} have no names: {sample_rows.NAME_THEM}")
    rows = framework.to_rows(found.model, rows)
    target = framework.targets(found.model, rows)
    return Dataset(
        name=origin,
        rows=rows,
        features=list(names),
        target=source.target or target,
        labels=labels,
    ), origin


def describe(card: ModelCard) -> str:
    """Describe the inputs and outputs of the service on one line."""
    inputs = [f"{column.name} ({column.type})" for column in card.columns]
    inputs += [f"{tensor.name} ({tensor.datatype} {list(tensor.shape)})" for tensor in card.tensors]
    if len(inputs) > MOST_NAMED:
        inputs = [*inputs[:MOST_NAMED], f"{len(inputs) - MOST_NAMED} more"]
    outputs = [
        f"{output.name} ({', '.join(class_names(output)[:MOST_NAMED]) or output.type})"
        for output in card.outputs[:MOST_NAMED]
    ]
    return f"takes {', '.join(inputs)}; answers {', '.join(outputs)}"


def main() -> None:
    """Import the model given on the command line, and store its source for the pipeline."""
    parser = argparse.ArgumentParser(prog="make import", description=__doc__)
    parser.add_argument("model", help="a file, a folder, s3://BUCKET/KEY or models:/NAME/VERSION")
    parser.add_argument("--sample", default="", help=f"rows: a {sample_rows.KINDS} file")
    parser.add_argument("--target", default="", help="the column of the sample to predict")
    parser.add_argument("--names", default="", help="names of the columns, separated by commas")
    parser.add_argument("--classes", default="", help="names of the classes, separated by commas")
    options = parser.parse_args()
    classes: list[Any] = split(options.classes)
    if classes and all(re.fullmatch(r"-?\d+", text) for text in classes):
        classes = [int(text) for text in classes]
    source = Source(
        model=options.model,
        sample=options.sample,
        target=options.target,
        names=tuple(split(options.names)),
        classes=tuple(classes),
    )
    try:
        if not options.model:
            raise UnfitError("Which model? make import MODEL=path, and SAMPLE=rows.csv if any")
        take(Path(Settings().model_path), source)
    except UnfitError as error:
        sys.exit(str(error))
    sources.write(source)


def split(text: str) -> list[str]:
    """Split a comma-separated line; parts that contain commas are quoted."""
    return [part.strip() for part in next(csv.reader([text], skipinitialspace=True), [])]


if __name__ == "__main__":
    main()
