"""Train the benchmark's models and write each in every format that a server needs.

Run by the Python of a generated project, whose own code writes the format that its service reads:
``PROJECT/.venv/bin/python models.py FOLDER PROJECT``.
"""

import json
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MODELS = ("logistic", "forest", "mlp")
# Columns of a table of text and numbers, whose rows are sent as objects.
MIXED = "mixed"
SEED = 0
ROWS = 64
# Rows whose best two classes are closer than this are not sent: rounding could swap them.
MARGIN = 0.001


@dataclass(frozen=True)
class Data:
    """Training rows as float32 of shape (rows, features), and the class index of each."""

    rows: Any
    labels: Any
    features: tuple[str, ...]
    classes: tuple[str, ...]


def load(model: str) -> Data:
    """Return iris, or for the MLP random rows with its number of features and classes."""
    from sklearn.datasets import load_iris, make_classification

    if model == "mlp":
        rows, labels = make_classification(
            400, 512, n_informative=64, n_classes=10, class_sep=4, random_state=SEED
        )
        features = tuple(f"feature_{index}" for index in range(512))
        return Data(rows.astype("float32"), labels, features, tuple("0123456789"))
    iris = load_iris()
    features = ("sepal_length_cm", "sepal_width_cm", "petal_length_cm", "petal_width_cm")
    classes = ("setosa", "versicolor", "virginica")
    return Data(iris.data.astype("float32"), iris.target, features, classes)


def estimator(model: str) -> Any:
    """Return the scikit-learn classifier of that name, unfitted."""
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.neural_network import MLPClassifier

    return {
        "logistic": LogisticRegression(max_iter=1000, random_state=SEED),
        "forest": RandomForestClassifier(100, random_state=SEED),
        "mlp": MLPClassifier((1024, 1024), max_iter=2, random_state=SEED),
    }[model]


def write(folder: Path, project: Path) -> None:
    """Write all models below ``folder``; ``project`` is a generated project after make setup."""
    sys.path.insert(0, str(project))
    for model in MODELS:
        place = folder / model
        place.mkdir(parents=True, exist_ok=True)
        data = load(model)
        write_for_peers(place, model, data)
        dataset = {
            "name": f"benchmark {model}",
            "features": data.features,
            "rows": data.rows,
            "target": "class",
            "labels": data.labels,
            "classes": data.classes,
        }
        write_for_project(place / "project" / "model.onnx", model, estimator(model), dataset)
    write_mixed(folder / MIXED)


def write_mixed(place: Path) -> None:
    """Write the model of a table with three text and four number columns, and rows of it.

    Every server uses the ONNX file of the generated project.
    """
    import joblib
    import numpy as np
    import pandas as pd
    from sklearn.compose import make_column_transformer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    random = np.random.default_rng(SEED)
    texts = {
        "city": ["Lyon", "Oslo", "Porto", "Turin"],
        "plan": ["basic", "family", "premium"],
        "device": ["laptop", "phone", "tablet", "television"],
    }
    numbers = ("age", "income", "visits", "distance")
    frame = pd.DataFrame(
        {name: random.choice(values, 1000) for name, values in texts.items()}
        | {name: random.normal(50, 20, 1000).round(1) for name in numbers}
    )
    scores = (frame["age"] - 50) / 20 + (frame["plan"] == "basic") + random.normal(size=1000)
    labels = np.where(scores > 0.5, "leaves", "stays")
    columns = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore"), list(texts)), remainder=StandardScaler()
    )
    model = make_pipeline(columns, LogisticRegression())
    dataset = {"name": "benchmark mixed", "rows": frame, "target": "customer", "labels": labels}
    fitted = write_for_project(place / "project" / "model.onnx", MIXED, model, dataset)
    joblib.dump(fitted, place / "model.joblib")
    clear = np.flatnonzero(np.ptp(fitted.predict_proba(frame), axis=1) > MARGIN)
    rows = frame.iloc[clear[:ROWS]]
    (place / "rows.json").write_text(rows.to_json(orient="records"))
    (place / "classes.json").write_text(json.dumps(fitted.predict(rows).tolist()))


def write_for_peers(place: Path, model: str, data: Data) -> None:
    """Write the classifier of class names as scikit-learn and as ONNX, and rows with their classes.

    Raise ValueError if the two disagree on a row.
    """
    import joblib
    import numpy as np
    import onnxruntime as ort
    from skl2onnx import to_onnx

    fitted = estimator(model).fit(data.rows, np.array(data.classes)[data.labels])
    probabilities = np.sort(fitted.predict_proba(data.rows), axis=1)
    clear = np.flatnonzero(probabilities[:, -1] - probabilities[:, -2] > MARGIN)
    rows = data.rows[np.random.default_rng(SEED).choice(clear, ROWS, replace=False)]
    onnx = to_onnx(fitted, rows[:1], options={id(fitted): {"zipmap": False}}).SerializeToString()
    classes = fitted.predict(rows)
    session = ort.InferenceSession(onnx, providers=["CPUExecutionProvider"])
    if not np.array_equal(session.run(["label"], {"X": rows})[0], classes):
        raise ValueError(f"{model}: ONNX Runtime and scikit-learn disagree")
    joblib.dump(fitted, place / "model.joblib")
    (place / "model.onnx").write_bytes(onnx)
    np.save(place / "rows.npy", rows)
    (place / "classes.json").write_text(json.dumps(classes.tolist()))


def write_for_project(path: Path, name: str, model: Any, parts: dict[str, Any]) -> Any:
    """Write the files of ``make train`` in the generated project, for a model of this data; return the fitted model."""
    from inference.predictor import Predictor
    from inference.runtime.signature import ModelCard, to_inputs
    from training.dataset import Dataset
    from training.export import export, infer_signature
    from training.output import measure, write_model, write_serving

    dataset = Dataset(**parts)
    fitted = model.fit(dataset.rows, dataset.labels)
    card = ModelCard(
        name=name,
        dataset=dataset.name,
        trained_on="2026-01-01",
        metrics={},
        **infer_signature(fitted, dataset),
    )
    content = export(fitted, card, dataset)
    write_model(path, content)
    example = to_inputs(card, [card.example])
    write_serving(path, measure(Predictor.load(content).predict, example, max_inline=1000))
    return fitted


if __name__ == "__main__":
    # Two iterations do not fit the MLP, but only its shape matters.
    warnings.filterwarnings("ignore", "Stochastic Optimizer")
    write(Path(sys.argv[1]), Path(sys.argv[2]))
