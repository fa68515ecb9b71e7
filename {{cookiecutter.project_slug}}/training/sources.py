"""The source of an imported model: ``model/source.json``, which is committed."""

import os
import subprocess
import tempfile
from contextlib import ExitStack
from pathlib import Path

import msgspec

from inference.config import ROOT
from inference.runtime import artifact
from inference.runtime.signature import Scalar
from training.dataset import UnfitError

PATH = ROOT / "model" / "source.json"
REMOTE = ("s3://", "models:/")
# Overrides the model for this run.
OTHER = os.environ.get("MODEL_SOURCE", "")


class Source(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The arguments of ``make import``.

    ``model`` is a path, ``s3://BUCKET/KEY``, or ``models:/NAME/VERSION`` in an MLflow registry. ``sample`` is the path
    of a file with rows, ``target`` the name of its column to predict, and ``names`` are the names of the other
    columns. ``classes`` are the classes of the target.
    """

    model: str
    sample: str = ""
    target: str = ""
    names: tuple[str, ...] = ()
    classes: tuple[Scalar, ...] = ()


def read() -> Source | None:
    """Return the last imported source, with the model of MODEL_SOURCE if set; None if the model is trained.

    Raises UnfitError if the file was not written by ``make import``.
    """
    try:
        source = msgspec.json.decode(PATH.read_bytes(), type=Source)
    except FileNotFoundError:
        return Source(model=OTHER) if OTHER else None
    except msgspec.DecodeError as error:
        raise UnfitError(f"{PATH}: {error}; write it again with make import") from error
    return msgspec.structs.replace(source, model=OTHER) if OTHER else source


def write(source: Source) -> None:
    """Make the next ``make train``, here and in the pipeline, use the same model."""
    for path in (source.model, source.sample):
        is_inside = not os.path.isabs(path) and Path(path).resolve().is_relative_to(ROOT)
        if not path.startswith(REMOTE) and not is_inside:
            print(f"Warning: the pipeline cannot read {path}: copy it into the project first")
    PATH.write_bytes(msgspec.json.format(msgspec.json.encode(source), indent=2) + b"\n")


def is_here(path: Path) -> bool:
    """Whether the imported model is present; raises StartupError if its checksum does not match.

    With MODEL_SOURCE, it is always imported again.
    """
    if OTHER or not path.exists():
        return False
    print(f"{path}: version {artifact.read(path).version}, already imported")
    return True


def fetch(address: str, stack: ExitStack) -> Path:
    """Return the path of a file or folder; download remote ones into a folder that ``stack`` removes.

    Raises UnfitError if it cannot be fetched.
    """
    if not address.startswith(REMOTE):
        path = Path(address)
        if not path.exists():
            raise UnfitError(
                f"There is no {address}: MODEL must be a file, a folder, s3://… or models:/…."
            )
        return path
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="model-")))
    if address.startswith("models:/"):
        return fetch_from_registry(address, folder)
    key = address.rstrip("/").rpartition("/")[2]
    is_file = "." in key
    target = folder / key
    command = ["aws", "s3", "cp", "--only-show-errors", address, str(target)]
    try:
        done = subprocess.run(command + ([] if is_file else ["--recursive"]))  # noqa: S603
    except FileNotFoundError as error:
        raise UnfitError(f"Fetching {address} needs the AWS CLI.") from error
    if done.returncode or not target.exists():
        raise UnfitError(f"Could not fetch {address}: see the AWS CLI's message above.")
    return target


def fetch_from_registry(address: str, folder: Path) -> Path:
    """Download a model from the MLflow registry at MLFLOW_TRACKING_URI."""
    try:
        from mlflow.artifacts import download_artifacts
    except ImportError as error:
        raise UnfitError(
            f"Fetching {address} needs mlflow-skinny: add it to requirements/train.in, then run `make lock`, then "
            "`make setup`."
        ) from error
    try:
        return Path(download_artifacts(address, dst_path=str(folder)))
    except Exception as error:
        raise UnfitError(f"Could not fetch {address}: {error}") from error
