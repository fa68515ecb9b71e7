"""XGBoost: converters for its estimators, and loading of its own model files."""

from pathlib import Path
from typing import Any

import msgspec
import xgboost
from onnxmltools.convert.xgboost.operator_converters.XGBoost import convert_xgboost
from skl2onnx import update_registered_converter
from skl2onnx.common.shape_calculator import (
    calculate_linear_classifier_output_shapes,
    calculate_linear_regressor_output_shapes,
)

from training.dataset import UnfitError
from training.frameworks.graph import first_line


def register() -> None:
    """Register converters with skl2onnx for XGBoost's estimators, alone and in pipelines."""
    update_registered_converter(
        xgboost.XGBClassifier,
        "XGBoostXGBClassifier",
        calculate_linear_classifier_output_shapes,
        convert,
        options={"nocl": [True, False], "zipmap": [True, False, "columns"]},
    )
    update_registered_converter(
        xgboost.XGBRegressor,
        "XGBoostXGBRegressor",
        calculate_linear_regressor_output_shapes,
        convert,
    )


def convert(scope: Any, operator: Any, container: Any) -> None:
    """Convert an estimator with onnxmltools, which knows columns only by position."""
    booster = operator.raw_operator.get_booster()
    names = booster.feature_names
    booster.feature_names = None
    try:
        convert_xgboost(scope, operator, container)
    finally:
        booster.feature_names = names


def load(path: Path) -> Any:
    """Read a file written by ``save_model``; raises UnfitError for any other."""
    booster = xgboost.Booster()
    try:
        booster.load_model(path)
    except xgboost.core.XGBoostError as error:
        reason = f"{first_line(error)}\nSave it with save_model."
        raise UnfitError(f"{path} is no model of XGBoost: {reason}") from error
    return to_estimator(booster)


def to_estimator(booster: Any) -> Any:
    """Wrap a booster in the estimator that matches its objective."""
    settings = msgspec.json.decode(booster.save_config())
    objective = settings["learner"]["objective"]["name"]
    is_classifier = objective.startswith(("binary:logistic", "multi:soft"))
    booster = booster.copy()
    if objective == "multi:softmax":
        booster.set_param({"objective": "multi:softprob"})
    # The type of the estimator that saved it, which may be a ranker's.
    booster.set_attr(scikit_learn=None)
    estimator = xgboost.XGBClassifier() if is_classifier else xgboost.XGBRegressor()
    estimator.load_model(booster.save_raw("ubj"))
    return estimator
