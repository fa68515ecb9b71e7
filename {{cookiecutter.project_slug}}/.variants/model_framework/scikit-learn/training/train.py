"""The data and the model: change this file for a model of your own."""

from palmerpenguins import load_penguins
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from training.dataset import Dataset

SEED = 0


def load_data() -> Dataset:
    """Load 344 penguins of three species; some values are missing."""
    penguins = load_penguins()
    penguins["sex"] = penguins["sex"].fillna("")
    return Dataset(
        name="Palmer penguins (Gorman et al., 2014)",
        rows=penguins.drop(columns=["species", "year"]),
        target="species",
        labels=penguins["species"],
    )


def fit(data: Dataset) -> Pipeline:
    """Fit a model; any scikit-learn estimator that skl2onnx converts will do."""
    columns = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore"), ["island", "sex"]),
        remainder=make_pipeline(SimpleImputer(strategy="median"), StandardScaler()),
    )
    model = make_pipeline(columns, LogisticRegression(random_state=SEED))
    return model.fit(data.rows, data.labels)
