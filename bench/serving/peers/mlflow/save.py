"""Write the scikit-learn model of the folder MODEL as an MLflow model, below it."""

import os
from pathlib import Path

import joblib
import mlflow.sklearn

folder = Path(os.environ["MODEL"])
model = joblib.load(folder / "model.joblib")
# Requirements would be asked of an index, and nobody installs them.
mlflow.sklearn.save_model(model, folder / "mlflow", pip_requirements=["scikit-learn"])
