"""MLflow model folders: the model file of a framework, with its signature and an example."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import yaml

from training import sample_rows
from training.dataset import UnfitError

# The key in each flavor that names its model file.
FLAVORS = {
    "onnx": "data",
    "sklearn": "pickled_model",
    "xgboost": "data",
    "lightgbm": "data",
    "pytorch": "model_data",
}


class Folder(NamedTuple):
    """The content of a folder: the model file, the names of its columns, and rows, if any."""

    path: Path
    names: list[str]
    rows: Any


def read(folder: Path) -> Folder:
    """Read the MLmodel file in a folder, and what it names; raises UnfitError for an unsupported flavor."""
    content = yaml.safe_load((folder / "MLmodel").read_text())
    flavors = content.get("flavors", {})
    flavor = next((name for name in FLAVORS if name in flavors), "")
    if not flavor:
        raise UnfitError(
            f"{folder} is a model of MLflow's flavors {', '.join(flavors)}: {', '.join(FLAVORS)} can be imported. "
            "Bake with model_framework python, which serves any code."
        )
    path = folder / flavors[flavor][FLAVORS[flavor]]
    if flavor == "pytorch":
        # A folder. The module itself, next to a program, needs the code that created it.
        programs = sorted(path.glob("*.pt2"))
        if not programs:
            raise UnfitError(
                f"{path} has only the module, no program of torch.export: save one as a .pt2 file."
            )
        path = programs[0]
    return Folder(path, column_names(content), read_example(folder, content))


def column_names(content: Mapping[str, Any]) -> list[str]:
    """Return the names of the columns in the signature."""
    inputs = (content.get("signature") or {}).get("inputs")
    columns = msgspec.json.decode(inputs) if inputs else []
    return [column["name"] for column in columns if column["type"] != "tensor" and "name" in column]


def read_example(folder: Path, content: Mapping[str, Any]) -> Any:
    """Read the input example saved with a model; return None without one."""
    example = content.get("saved_input_example_info") or {}
    path = folder / example.get("artifact_path", "input_example.json")
    return sample_rows.read(path) if path.is_file() else None
