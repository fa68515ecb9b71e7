"""What ``fit`` returned as an ONNX model that describes itself, by the framework that it is of."""

from importlib import import_module
from typing import Any

from inference.runtime.signature import ModelCard
from training.dataset import Dataset, UnfitError

# The module of training/frameworks that converts the classes of a package.
FRAMEWORKS = {
    "lightgbm": "scikit_learn",
    "sklearn": "scikit_learn",
    "torch": "pytorch",
    "training.frameworks.lightgbm": "scikit_learn",
    "training.frameworks.onnx": "onnx",
    "xgboost": "scikit_learn",
}


def framework_of(model: Any) -> Any:
    """The module of training/frameworks that converts a model; raises UnfitError where there is none."""
    for base in type(model).__mro__:
        for package, module in FRAMEWORKS.items():
            if f"{base.__module__}.".startswith(f"{package}."):
                return import_module(f"training.frameworks.{module}")
    kind = type(model)
    raise UnfitError(
        f"{kind.__module__}.{kind.__name__} cannot be converted to ONNX: bake with model_framework python, which "
        "serves any code."
    )


def infer_signature(model: Any, data: Dataset) -> dict[str, Any]:
    """What a fitted model takes and predicts, as fields of the model card."""
    fields: dict[str, Any] = framework_of(model).infer_signature(model, data, data.known_classes())
    return fields


def export(model: Any, card: ModelCard, data: Dataset) -> bytes:
    """Convert ``model`` to ONNX, with the fields of ``card`` as its metadata.

    Raises UnfitError when the model cannot be converted, or when the converted one answers the instances of
    ``data`` otherwise than its framework.
    """
    content: bytes = framework_of(model).export(model, card, data).content
    return content
