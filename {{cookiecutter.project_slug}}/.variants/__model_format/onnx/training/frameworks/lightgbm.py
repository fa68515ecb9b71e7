"""LightGBM: converters for its estimators, and loading of its own model files."""

from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
from numpy.typing import NDArray
from onnxmltools.convert.lightgbm.operator_converters.LightGbm import convert_lightgbm
from skl2onnx import update_registered_converter
from skl2onnx.common.shape_calculator import (
    calculate_linear_classifier_output_shapes,
    calculate_linear_regressor_output_shapes,
)
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin

from training.dataset import UnfitError


class FromBooster(BaseEstimator):  # type: ignore[misc]
    """A booster with the attributes of LightGBM's estimators that its converter needs."""

    def __init__(self, booster: Any) -> None:
        self.booster = booster
        self.booster_ = booster
        self.boosting_type = "rf" if booster.params.get("boosting") == "rf" else "gbdt"
        self.n_features_in_ = self.n_features_ = booster.num_feature()
        names = booster.feature_name()
        # LightGBM's names for unnamed columns.
        if names != [f"Column_{place}" for place in range(len(names))]:
            self.feature_names_in_ = np.array(names, object)


class BoosterRegressor(RegressorMixin, FromBooster):  # type: ignore[misc]
    """A booster that predicts numbers."""

    def predict(self, rows: Any) -> NDArray[np.float64]:
        """Return a number for each row."""
        return np.asarray(self.booster_.predict(np.asarray(rows, float)))


class BoosterClassifier(ClassifierMixin, FromBooster):  # type: ignore[misc]
    """A booster that predicts classes."""

    def __init__(self, booster: Any) -> None:
        super().__init__(booster)
        self.classes_ = np.arange(max(2, booster.num_model_per_iteration()))

    def predict(self, rows: Any) -> NDArray[np.int64]:
        """Return the index of a class for each row."""
        return np.asarray(self.predict_proba(rows).argmax(axis=1))

    def predict_proba(self, rows: Any) -> NDArray[np.float64]:
        """Return probabilities of shape (rows, classes)."""
        shares = np.asarray(self.booster_.predict(np.asarray(rows, float)))
        return shares if shares.ndim == 2 else np.column_stack([1 - shares, shares])


def register() -> None:
    """Register converters with skl2onnx for LightGBM's estimators, alone and in pipelines."""
    for classifier in (lightgbm.LGBMClassifier, BoosterClassifier):
        update_registered_converter(
            classifier,
            f"LightGbm{classifier.__name__}",
            calculate_linear_classifier_output_shapes,
            convert_lightgbm,
            options={"nocl": [True, False], "zipmap": [True, False, "columns"]},
        )
    for regressor in (lightgbm.LGBMRegressor, BoosterRegressor):
        update_registered_converter(
            regressor,
            f"LightGbm{regressor.__name__}",
            calculate_linear_regressor_output_shapes,
            convert_lightgbm,
            options={"split": None},
        )


def load(path: Path) -> Any:
    """Read a file written by ``save_model``; raises UnfitError for any other."""
    try:
        booster = lightgbm.Booster(model_file=path)
    except lightgbm.basic.LightGBMError as error:
        raise UnfitError(f"{path} is no model of LightGBM: {error}") from error
    return to_estimator(booster)


def to_estimator(booster: Any) -> Any:
    """Wrap a booster in the estimator that matches its objective."""
    objective = booster.dump_model(num_iteration=1).get("objective", "")
    if not objective:
        # One of its own, without which it answers as it is; the converter needs a name.
        text = booster.model_to_string(num_iteration=booster.best_iteration)
        named = text.replace("\nfeature_names=", "\nobjective=regression\nfeature_names=", 1)
        booster = lightgbm.Booster(model_str=named)
    is_classifier = objective.startswith(("binary", "multiclass"))
    return BoosterClassifier(booster) if is_classifier else BoosterRegressor(booster)
