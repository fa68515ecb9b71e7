"""Write the scikit-learn model from the folder MODEL as an MLflow model, below it."""

import os
from pathlib import Path

import joblib
import mlflow.sklearn

folder = Path(os.environ["MODEL"])
model = joblib.load(folder / "model.joblib")
# Inferring requirements would query a package index, and they are never installed.
mlflow.sklearn.save_model(model, folder / "mlflow", pip_requirements=["scikit-learn"])
