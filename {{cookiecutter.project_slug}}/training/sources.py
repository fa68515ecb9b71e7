"""Where a model comes from that was not trained here: ``model/source.json``, which is committed."""

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
# Another model for this run.
OTHER = os.environ.get("MODEL_SOURCE", "")


class Source(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A model as ``make import`` was given it.

    ``model`` is a path, ``s3://BUCKET/KEY``, or ``models:/NAME/VERSION`` of an MLflow registry; ``sample`` is the
    path of a file of rows, ``target`` the name of its column that holds what is to be predicted; ``names`` are those
    of the other columns, ``classes`` those of what is predicted.
    """

    model: str
    sample: str = ""
    target: str = ""
    names: tuple[str, ...] = ()
    classes: tuple[Scalar, ...] = ()


def read() -> Source | None:
    """What was imported last, with the model of MODEL_SOURCE if that is set; None where a model is trained.

    Raises UnfitError where the file is not what ``make import`` wrote.
    """
    try:
        source = msgspec.json.decode(PATH.read_bytes(), type=Source)
    except FileNotFoundError:
        return Source(model=OTHER) if OTHER else None
    except msgspec.DecodeError as error:
        raise UnfitError(f"{PATH}: {error}; write it anew by make import") from error
    return msgspec.structs.replace(source, model=OTHER) if OTHER else source


def write(source: Source) -> None:
    """Let the next ``make train``, here and in the pipeline, take the same model."""
    PATH.write_bytes(msgspec.json.format(msgspec.json.encode(source), indent=2) + b"\n")


def is_here(path: Path) -> bool:
    """Whether the imported model is here, its checksum verified; raises StartupError where it is another.

    With MODEL_SOURCE it is another's until that is taken.
    """
    if OTHER or not path.exists():
        return False
    print(f"{path}: version {artifact.read(path).version}, as it was imported")
    return True


def fetch(address: str, stack: ExitStack) -> Path:
    """The file or folder of an address, downloaded into a folder that goes with the stack where it is not here.

    Raises UnfitError where it cannot be had.
    """
    if not address.startswith(("s3://", "models:/")):
        path = Path(address)
        if not path.exists():
            raise UnfitError(
                f"There is no {address}: MODEL is a file, a folder, s3://… or models:/…."
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
    """Download a model of an MLflow registry, that of MLFLOW_TRACKING_URI."""
    try:
        from mlflow.artifacts import download_artifacts
    except ImportError as error:
        raise UnfitError(
            f"Fetching {address} needs mlflow-skinny: put it into requirements/train.in, then make lock setup."
        ) from error
    try:
        return Path(download_artifacts(address, dst_path=str(folder)))
    except Exception as error:
        raise UnfitError(f"Could not fetch {address}: {error}") from error
