"""Convert the result of ``fit`` to a self-describing ONNX model, depending on its framework."""

from importlib import import_module
from typing import Any

from inference.runtime.signature import ModelCard
from training.dataset import Dataset, UnfitError
from training.verification import other_order

# For each package, the module of training/frameworks that converts its classes.
FRAMEWORKS = {
    "lightgbm": "scikit_learn",
    "sklearn": "scikit_learn",
    "torch": "pytorch",
    "training.frameworks.graph": "onnx",
    "training.frameworks.lightgbm": "scikit_learn",
    "xgboost": "scikit_learn",
}


def framework_of(model: Any) -> Any:
    """Return the module of training/frameworks that converts a model; raises UnfitError if there is none."""
    for base in type(model).__mro__:
        for package, module in FRAMEWORKS.items():
            if f"{base.__module__}.".startswith(f"{package}."):
                return import_module(f"training.frameworks.{module}")
    kind = type(model)
    raise UnfitError(
        f"{kind.__module__}.{kind.__name__} cannot be converted to ONNX: bake with model_framework python, which "
        "serves any code."
    )


def to_estimator(model: Any) -> Any:
    """Wrap a ranker, or the booster that ``lightgbm.train`` or ``xgboost.train`` returns; return others as they are."""
    package = type(model).__module__.partition(".")[0]
    if package in ("lightgbm", "xgboost"):
        if type(model).__name__.endswith("Ranker"):
            model = model.get_booster() if package == "xgboost" else model.booster_
        if type(model).__name__ == "Booster":
            return import_module(f"training.frameworks.{package}").to_estimator(model)
    return model


def infer_signature(model: Any, data: Dataset) -> dict[str, Any]:
    """Return the inputs and outputs of a fitted model, as fields of the model card."""
    if type(model).__module__ == "builtins":
        what = "nothing" if model is None else f"a {type(model).__name__}"
        raise UnfitError(f"fit() returned {what}: end it with `return model`.")
    model = to_estimator(model)
    fields: dict[str, Any] = framework_of(model).infer_signature(model, data, data.known_classes())
    return fields


def export(model: Any, card: ModelCard, data: Dataset) -> bytes:
    """Convert ``model`` to ONNX, with the fields of ``card`` as its metadata.

    Raises UnfitError if the model cannot be converted, if the converted model and the framework give different
    predictions for the instances of ``data``, or if the labels do not fit the classes in their order.
    """
    model = to_estimator(model)
    content: bytes = framework_of(model).export(model, card, data).content
    if order := other_order(model, card, content, data):
        raise UnfitError(
            f"fit() numbers the classes in another order: {', '.join(map(str, order))}.\n"
            "Number them by LabelEncoder, or give Dataset these numbers as labels, and classes in that order."
        )
    return content
