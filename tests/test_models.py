"""Ordinary models from other sources: train and serve each, and compare it with its framework number by number."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from conftest import ROOT, BakedProject
from served import ask_by_page, find_failures, serving

pytestmark = pytest.mark.slow

MODELS = ROOT / "tests" / "models"
TABLES = sorted(path.stem for path in MODELS.glob("*.py"))
TENSORS = ["digits", "sequences", "colours"]
# One for each way in which instances are read; requests to the others only differ in names and types.
THOROUGHLY = ["digits", "gradient_boosting", "titanic"]


@pytest.fixture(scope="module")
def project(train):
    return train()


def copy_with(project, folder, training):
    """Return a copy of the project with another ``training/train.py`` and no model."""
    copy = folder / "project"
    ignored = shutil.ignore_patterns(
        ".venv", "files", "files.sha256", "model.*", "serving.json", ".*_cache"
    )
    shutil.copytree(project.path, copy, ignore=ignored)
    (copy / ".venv").symlink_to(project.path / ".venv")
    (copy / "training" / "train.py").write_text(training)
    return BakedProject(copy)


def check(copy, browser, name):
    """Train and serve a project's model, and compare its answers with the framework's.

    Its page answers its example, also without optional values, and its API matches its OpenAPI document.
    """
    shutil.copy(ROOT / "tests" / "compare_model.py", copy.path)
    assert "instances agree" in copy.check(".venv/bin/python", "compare_model.py")
    # The project's tests that query its own model; all others are the same for every model.
    tests = ["tests/test_service.py", "tests/test_training.py"]
    if name in THOROUGHLY:
        tests.append("tests/test_startup.py")
    copy.check(".venv/bin/python", "-m", "pytest", "-q", "-k", "not same_seed", *tests)
    with serving(copy) as url:
        if browser:
            ask_by_page(browser, url)
        if name in THOROUGHLY:
            find_failures(url, copy.path, examples=10)


def copy_with_tensors(train, folder, name):
    """Return a project whose own code serves tensors."""
    training = (MODELS / "tensors" / f"{name}.py").read_text()
    copy = copy_with(train(model_framework="python"), folder, training)
    for file in ("inference/predictor.py", "training/export.py"):
        shutil.copy(MODELS / "tensors" / Path(file).name, copy.path / file)
    return copy


@pytest.mark.parametrize("name", TABLES)
def test_served_table_agrees_with_scikit_learn(project, browser_if_any, tmp_path, name):
    check(copy_with(project, tmp_path, (MODELS / f"{name}.py").read_text()), browser_if_any, name)


@pytest.mark.parametrize("name", TENSORS)
def test_served_tensor_agrees_with_its_own_code(train, browser_if_any, tmp_path, name):
    check(copy_with_tensors(train, tmp_path, name), browser_if_any, name)


UNFIT = """
import numpy as np
from sklearn.neighbors import LocalOutlierFactor, KNeighborsClassifier
from sklearn.decomposition import PCA
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import KBinsDiscretizer

from training.dataset import Dataset

SEED = 0


def load_data():
    rows = np.random.default_rng(SEED).normal(size={shape})
    return Dataset(name="x", features=["a", "b"], rows=rows, labels=np.arange(len(rows)) % 2)


def fit(data):
    return {fit}
"""


@pytest.mark.parametrize(
    ("shape", "fit", "lines"),
    [
        ("(60, 2)", "PCA().fit(data.rows)", ["PCA neither classifies nor predicts numbers"]),
        (
            "(60, 2, 3)",
            "KNeighborsClassifier().fit(data.rows[:, :, 0], data.labels)",
            ["rows has more than two dimensions", "model_framework python"],
        ),
        (
            "(60, 2)",
            "LocalOutlierFactor(novelty=True, n_neighbors=5, metric='canberra').fit(data.rows)",
            ["LocalOutlierFactor: ", "model_framework python"],
        ),
        # Not the last step, which the converter had not reached.
        (
            "(60, 2)",
            "make_pipeline(KBinsDiscretizer(), KNeighborsClassifier()).fit(data.rows, data.labels)",
            [
                "cannot convert KBinsDiscretizer: onehot",
                'encode="onehot-dense" or encode="ordinal"',
            ],
        ),
        ("(60, 2)", "None", ["fit() returned nothing"]),
        ("(60, 3)", "None", ["rows has 3 columns, features 2 names"]),
        ("(60, 2)", "KNeighborsClassifier()", ["is not fitted", "Fit it on data.rows"]),
        ("(60, 2)", "(1, 2)", ["fit() returned a tuple"]),
        ("(6, 2)", "None", ["there are 6 rows: training takes at least 10"]),
        (
            "(60, 2)",
            "KNeighborsClassifier().fit(data.rows, data.labels * 0)",
            ["1 classes, and 2 are named: no row to fit had 1."],
        ),
    ],
)
def test_unservable_model_is_reported_in_few_lines_and_keeps_the_old_one(
    project, tmp_path, shape, fit, lines
):
    refuse(copy_with(project, tmp_path, UNFIT.format(shape=shape, fit=fit)), lines)


def refuse(copy, lines):
    """Train in vain: a few lines say why, and the old model stays."""
    model = copy.path / "model" / "model.onnx"
    model.write_bytes(b"before")
    result = copy.run(".venv/bin/python", "-m", "training")
    assert result.returncode == 1
    assert len(result.stderr.splitlines()) <= 3, result.stderr
    for line in lines:
        assert line in result.stderr
    assert model.read_bytes() == b"before"


def test_name_that_the_service_refuses_is_reported_by_training(project, tmp_path):
    fit = "KNeighborsClassifier().fit(data.rows, data.labels)"
    training = UNFIT.format(shape="(60, 2)", fit=fit).replace('"b"]', '" "]')
    refuse(copy_with(project, tmp_path, training), ["name of column 1 is ' '"])


def test_gaps_that_only_fit_fills_are_reported(project, tmp_path):
    fit = "KNeighborsClassifier().fit(np.nan_to_num(data.rows), data.labels)"
    training = UNFIT.format(shape="(60, 2)", fit=fit).replace(
        "rows=rows", "rows=np.where(rows > 1, np.nan, rows)"
    )
    refuse(copy_with(project, tmp_path, training), ["contains NaN", "with SimpleImputer()"])


def test_unservable_column_is_reported_before_the_model_is_fitted(project, tmp_path):
    training = (
        UNFIT.format(shape="(60, 2)", fit="print('fitted')")
        .replace("return Dataset(", "import pandas as pd; return Dataset(")
        .replace("rows=rows", "rows=pd.DataFrame({'a': pd.date_range('2026', periods=60)})")
    )
    refuse(copy_with(project, tmp_path, training), ["column 'a' holds Timestamp"])


EXPORT = """
import json, sys
import numpy as np
import pandas as pd
from inference.runtime.signature import ModelCard
from sklearn.calibration import CalibratedClassifierCV
from sklearn.cluster import KMeans
from sklearn.compose import make_column_transformer
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier, StackingClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.gaussian_process import GaussianProcessClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.model_selection import GridSearchCV, RandomizedSearchCV
from sklearn.multiclass import OneVsRestClassifier
from sklearn.multioutput import MultiOutputClassifier
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, KBinsDiscretizer, OneHotEncoder, OrdinalEncoder, StandardScaler
from sklearn.svm import SVC, LinearSVC
from training import export
from training.dataset import Dataset, UnfitError

messages = []
for model, rows, labels in json.loads(sys.argv[1]):
    random = np.random.default_rng(0)
    rows = eval(rows)
    data = Dataset(name="x", features=["a", "b"], rows=rows, labels=eval(labels))
    model = eval(model)
    # A booster is fitted already.
    model = model.fit(data.rows, data.labels) if hasattr(model, "fit") else model
    try:
        fields = export.infer_signature(model, data)
        card = ModelCard(name="x", dataset="x", trained_on="", metrics={}, **fields)
        export.export(model, card, data)
        messages.append("")
    except UnfitError as error:
        messages.append(str(error))
print(json.dumps(messages))
"""
CODES = "random.integers(6, size=(200, 2)) * 1.0"
NUMBERS = "random.normal(size=(200, 2))"
UNSCALED = "random.normal(size=(200, 2)) * 1000"
TEXTS = "pd.DataFrame({'a': random.choice(['don’t go', \"don't\", 'cafés', 'naïve Über'], 200)})"
HALVES, THIRDS = "np.arange(200) % 2", "np.arange(200) % 3"
# The rare class never wins, so only its probabilities can be wrong.
RARE, PARITY = "np.arange(200) % 20 == 0", "rows[:, 0] % 2"
BINS = "make_pipeline(KBinsDiscretizer({}), LogisticRegression())"
SGD = "SGDClassifier(loss='log_loss', random_state=0)"
BOOSTING = "HistGradientBoostingClassifier(max_iter=5, categorical_features={})"
WORDS = "make_pipeline(make_column_transformer((TfidfVectorizer({}), 'a')), LogisticRegression())"
ASCII = "token_pattern='[a-zA-Z0-9_]+'"
MIXED = """pd.DataFrame({"a": random.normal(size=200), "b": random.random(200) > 0.5,
    "c": random.choice(["x", "y", "z"], 200)})"""
BOOLEAN = f"{MIXED}[['a', 'b']]"
GAPS = f"{MIXED}.assign(b=1, c=lambda t: t.c.where(t.a < 1))"
ENCODED = "make_pipeline(make_column_transformer(({}, ['{}']), ('passthrough', ['a'])), {})"
LOGISTIC = "LogisticRegression()"
IMPUTED = "make_pipeline(SimpleImputer(strategy='most_frequent'{}), OneHotEncoder(handle_unknown='ignore'))"
ENCODER = "OneHotEncoder(handle_unknown='{}'{})"
INNER = ENCODED.format(ENCODER.format("ignore", ""), "c", LOGISTIC)
STACK = "StackingClassifier([('one', {})])"
ORDINAL = "OrdinalEncoder(handle_unknown='use_encoded_value', unknown_value=-1)"
FILLED = f"""make_pipeline(make_column_transformer((OneHotEncoder(), ['c']),
    remainder=make_pipeline(SimpleImputer({{}}), StandardScaler())), {LOGISTIC})"""
# A column of whole numbers before one of others.
WHOLE = f"""{MIXED}[['b', 'a', 'c']].assign(
    b=random.integers(9, size=200), a=lambda t: t.a.where(t.a < 1))"""
TWO_TEXTS = f"{MIXED}.assign(b='x', c=lambda t: t.c.where(t.a < 1))"
FOREST = "RandomForestClassifier(5, random_state=0)"
FLAGS = "pd.DataFrame({'d': rows[:, 0] > 0, 'e': rows[:, 1] > 0})"
NAMED = (
    "pd.DataFrame({'d': np.where(rows[:, 0] > 0, 'x', 'y'), 'e': random.choice(['p', 'q'], 200)})"
)
UNEVEN = "pd.DataFrame({'d': np.arange(200) % 2, 'e': np.arange(200) % 3})"
OWN = "type('Own', (StandardScaler,), {'__module__': 'training.train'})()"
SIDES = "np.where(rows[:, 0] > 0, 'a', 'z')"
NUMBERED = """type("Numbering", (), {{"fit": lambda _, rows, labels:
    LogisticRegression().fit(rows, (labels == "{}").astype(int))}})()"""
# The estimator, its rows and labels, and the message of the refusal: empty if it is served.
DOUBTFUL = [
    (NUMBERED.format("z"), NUMBERS, SIDES, ""),
    (NUMBERED.format("a"), NUMBERS, SIDES, "numbers the classes in another order: z, a"),
    ("KNeighborsClassifier()", CODES, RARE, "among equally distant neighbours: use another"),
    ("KNeighborsClassifier()", NUMBERS, RARE, ""),
    (BINS.format(""), NUMBERS, HALVES, "onehot encoding not supported"),
    (BINS.format("encode='ordinal'"), NUMBERS, HALVES, ""),
    ("GaussianProcessClassifier()", NUMBERS, THIRDS, "Only binary classification"),
    (SGD, UNSCALED, THIRDS, "scale the columns (StandardScaler)"),
    (f"make_pipeline(StandardScaler(), {SGD})", UNSCALED, THIRDS, ""),
    (BOOSTING.format([0]), CODES, PARITY, "native categories wrongly"),
    (f"make_pipeline({ORDINAL}, {BOOSTING.format(None)})", CODES, PARITY, ""),
    (WORDS.format(""), TEXTS, HALVES, f"splits text differently: give the vectorizer {ASCII}"),
    (WORDS.format(ASCII), TEXTS, HALVES, ""),
    # Errors of the conversion, and what is served after the cure.
    (LOGISTIC, BOOLEAN, HALVES, 'frame["b"].astype(int)'),
    (f"make_pipeline(StandardScaler(), {LOGISTIC})", BOOLEAN, HALVES, 'frame["b"].astype(int)'),
    (LOGISTIC, f"{BOOLEAN} * 1", HALVES, ""),
    (ENCODED.format("OneHotEncoder()", "b", LOGISTIC), BOOLEAN, HALVES, '("passthrough", ["b"])'),
    (ENCODED.format("OrdinalEncoder()", "b", LOGISTIC), BOOLEAN, HALVES, '("passthrough", ["b"])'),
    (ENCODED.format("'passthrough'", "b", LOGISTIC), BOOLEAN, HALVES, ""),
    (ENCODED.format(IMPUTED.format(""), "c", LOGISTIC), GAPS, HALVES, 'missing_values=""'),
    (
        ENCODED.format(IMPUTED.format(", missing_values=''"), "c", LOGISTIC),
        f"{GAPS}.fillna({{'c': ''}})",
        HALVES,
        "",
    ),
    (f"CalibratedClassifierCV({INNER})", MIXED, HALVES, "columns, CalibratedClassifierCV(...))"),
    (STACK.format(INNER), MIXED, HALVES, "make_pipeline(columns, StackingClassifier(...))"),
    (
        ENCODED.format("OneHotEncoder()", "c", f"CalibratedClassifierCV({LOGISTIC})"),
        MIXED,
        HALVES,
        "",
    ),
    (ENCODED.format("OneHotEncoder()", "c", STACK.format(LOGISTIC)), MIXED, HALVES, ""),
    (
        ENCODED.format(ENCODER.format("infrequent_if_exist", ", min_frequency=67"), "c", LOGISTIC),
        MIXED,
        HALVES,
        "Group rare values in load_data()",
    ),
    (f"make_pipeline(FunctionTransformer(np.abs), {LOGISTIC})", NUMBERS, HALVES, "in load_data()"),
    (f"make_pipeline({OWN}, {LOGISTIC})", NUMBERS, HALVES, "Do it in load_data()"),
    (ENCODED.format(IMPUTED.format(""), "c", LOGISTIC), TWO_TEXTS, HALVES, 'frame["c"].fillna'),
    (FILLED.format(""), WHOLE, HALVES, 'frame["b"].astype(float)'),
    (FILLED.format(""), f"{WHOLE}.astype({{'b': float}})", HALVES, ""),
    (FILLED.format("add_indicator=True"), WHOLE, HALVES, 'frame["name"].isna().astype(int)'),
    (f"RandomizedSearchCV({LOGISTIC}, {{'C': [1, 2]}}, n_iter=2)", NUMBERS, HALVES, "best_estim"),
    ("KMeans(2)", NUMBERS, "np.where(np.arange(200) % 2, 'a', 'b')", "write labels=None"),
    (LOGISTIC, NUMBERS, "pd.Series(np.arange(200) % 2 == 0, dtype=object)", ""),
    (STACK.format("LinearSVC()"), NUMBERS, HALVES, "CalibratedClassifierCV(SVC())"),
    (STACK.format("CalibratedClassifierCV(SVC())"), NUMBERS, HALVES, ""),
    # An encoder without an answer for a new number.
    (f"make_pipeline(OneHotEncoder(), {LOGISTIC})", CODES, HALVES, "new numbers: Found unknown"),
    # Several targets.
    (FOREST, NUMBERS, FLAGS, ""),
    (FOREST, NUMBERS, UNEVEN, "MultiOutputClassifier(RandomForestClassifier(...))"),
    (FOREST, NUMBERS, NAMED, "MultiOutputClassifier(RandomForestClassifier(...))"),
    (f"MultiOutputClassifier({FOREST})", NUMBERS, NAMED, ""),
    (f"OneVsRestClassifier({LOGISTIC})", NUMBERS, FLAGS, "wrap it in MultiOutputClassifier"),
    (
        "MultiOutputClassifier(LinearSVC())",
        NUMBERS,
        FLAGS,
        "CalibratedClassifierCV(LinearSVC(...))",
    ),
    ("MultiOutputClassifier(CalibratedClassifierCV(LinearSVC()))", NUMBERS, FLAGS, ""),
    # Different answers.
    (
        INNER,
        f"{GAPS}.astype({{'c': 'category'}})",
        "rows.c.isna()",
        'frame["c"].astype(object).fillna("")',
    ),
    ("KNeighborsRegressor(weights='distance')", NUMBERS, "rows[:, 0]", 'weights="distance"'),
    # No advice to scale what has no scale.
    ("LinearDiscriminantAnalysis()", NUMBERS, HALVES, "differently.\nUse another"),
    (INNER, GAPS, "rows.c.isna()", 'frame["c"].fillna("")'),
    (
        f"CalibratedClassifierCV(make_pipeline(StandardScaler(), {LOGISTIC}))",
        NUMBERS,
        HALVES,
        "differently.\n",
    ),
    # skl2onnx adds an option that this estimator lacks.
    ("make_pipeline(StandardScaler(), LinearSVC())", NUMBERS, THIRDS, ""),
    ("GridSearchCV(make_pipeline(LinearSVC()), {})", NUMBERS, HALVES, ""),
]


def test_doubtful_estimator_is_served_or_refused_with_advice(project):
    models = json.dumps([case[:3] for case in DOUBTFUL])
    output = project.check(".venv/bin/python", "-W", "ignore", "-c", EXPORT, models)
    for (model, *_, refusal), message in zip(DOUBTFUL, json.loads(output), strict=True):
        assert refusal in message if refusal else not message, (model, message)
        assert len(message.splitlines()) <= 3, message


LIGHTGBM = """__import__("lightgbm").train(
    {"objective": "binary", "verbose": -1}, __import__("lightgbm").Dataset(data.rows, data.labels), 5)"""
XGBOOST = """__import__("xgboost").train(
    {"objective": "binary:logistic"}, __import__("xgboost").DMatrix(data.rows, data.labels), 5)"""
ESTIMATOR = {
    "lightgbm": "__import__('lightgbm').LGBMClassifier(n_estimators=5, verbose=-1)",
    "xgboost": "__import__('xgboost').XGBClassifier(n_estimators=5, enable_categorical=True)",
}


@pytest.mark.parametrize(("framework", "booster"), [("lightgbm", LIGHTGBM), ("xgboost", XGBOOST)])
def test_booster_is_served_and_its_categories_are_refused(train, framework, booster):
    categories = f"{MIXED}[['a', 'c']].astype({{'c': 'category'}})"
    cases = [(booster, NUMBERS, HALVES), (ESTIMATOR[framework], categories, HALVES)]
    python = train(model_framework=framework).path / ".venv/bin/python"
    output = train(model_framework=framework).check(
        python, "-W", "ignore", "-c", EXPORT, json.dumps(cases)
    )
    served, refused = json.loads(output.splitlines()[-1])
    assert served == ""
    assert (
        'Encode text in a ColumnTransformer: (OneHotEncoder(sparse_output=False), ["c"])' in refused
    )


def test_model_file_of_the_previous_release_is_served(project, tmp_path):
    # As 0.1 wrote it: the card's features, and the index of a class.
    script = """
import json, sys
import numpy as np
from skl2onnx import to_onnx
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from inference.app import create_app
from inference.config import Settings
from pathlib import Path
from training.output import write_model

iris = load_iris()
rows = iris.data.astype(np.float32)
model = LogisticRegression(max_iter=1000).fit(rows, iris.target)
onnx = to_onnx(model, rows[:1], options={id(model): {"zipmap": False}}, final_types=[("values", None), ("probabilities", None)])
features = [{"name": name, "minimum": 0.0, "maximum": 9.0, "example": 5.0} for name in "abcd"]
card = {"name": "old", "dataset": "iris", "trained_on": "2026-01-01", "metrics": {"accuracy": 1.0},
        "features": features, "target": "species", "classes": iris.target_names.tolist()}
for name, value in card.items():
    onnx.metadata_props.add(key=name, value=json.dumps(value))
path = write_model(Path(sys.argv[1]), onnx.SerializeToString()).path
client = create_app(Settings(model_path=str(path))).test_client()
answer = client.post("/predict", json={"instances": rows.tolist()}).json["predictions"]
assert answer == iris.target_names[model.predict(rows)].tolist()
"""
    copy = copy_with(project, tmp_path, project.read("training/train.py"))
    subprocess.run(
        [copy.path / ".venv/bin/python", "-c", script, tmp_path / "model"],
        cwd=copy.path,
        check=True,
    )
    assert Path(tmp_path / "model").is_file()
