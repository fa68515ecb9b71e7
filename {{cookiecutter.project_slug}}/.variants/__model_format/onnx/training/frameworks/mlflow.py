"""A model folder of MLflow: the file of a framework, with its signature and an example."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import yaml

from training import sample
from training.dataset import UnfitError

# Where each flavor says which file is its model's.
FLAVORS = {
    "onnx": "data",
    "sklearn": "pickled_model",
    "xgboost": "data",
    "lightgbm": "data",
    "pytorch": "model_data",
}


class Folder(NamedTuple):
    """What a folder holds: the flavor and the file of the model, names of its columns, and rows, if any."""

    flavor: str
    path: Path
    versions: Mapping[str, str]
    names: list[str]
    rows: Any


def read(folder: Path) -> Folder:
    """Read the file MLmodel of a folder, and what it names; raises UnfitError for a flavor that cannot be imported."""
    content = yaml.safe_load((folder / "MLmodel").read_text())
    flavors = content.get("flavors", {})
    flavor = next((name for name in FLAVORS if name in flavors), "")
    if not flavor:
        raise UnfitError(
            f"{folder} is a model of MLflow's flavors {', '.join(flavors)}: {', '.join(FLAVORS)} can be imported. "
            "Bake with model_framework python, which serves any code."
        )
    settings = flavors[flavor]
    path = folder / settings[FLAVORS[flavor]]
    versions = {
        name: str(settings[f"{name}_version"])
        for name in ("sklearn",)
        if f"{name}_version" in settings
    }
    return Folder(flavor, path, versions, column_names(content), read_example(folder, content))


def column_names(content: Mapping[str, Any]) -> list[str]:
    """The names of the columns that a signature has."""
    inputs = (content.get("signature") or {}).get("inputs")
    columns = msgspec.json.decode(inputs) if inputs else []
    return [column["name"] for column in columns if column["type"] != "tensor" and "name" in column]


def read_example(folder: Path, content: Mapping[str, Any]) -> Any:
    """The input example that was saved with a model, None without one."""
    example = content.get("saved_input_example_info") or {}
    path = folder / example.get("artifact_path", "input_example.json")
    return sample.read(path) if path.is_file() else None
