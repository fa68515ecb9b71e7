"""Models trained elsewhere: imported, served, and picked up again by the pipeline."""

import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time

import pytest
from conftest import PROJECT_TEMPLATE, ROOT, BakedProject, environment_with
from served import serving
from test_pipeline import MERGE_REQUEST, Repository, leave_few_tests
from test_project import ask, free_port

pytestmark = pytest.mark.slow

ELSEWHERE = ROOT / "tests" / "elsewhere"
SETOSA = [5.1, 3.5, 1.4, 0.2]


@pytest.fixture(scope="module")
def libraries(openmp, tmp_path_factory):
    """An environment with every library whose models can be imported, except PyTorch."""
    folder = tmp_path_factory.mktemp("libraries") / "venv"
    install = PROJECT_TEMPLATE / "requirements" / "install.py"
    lock = ELSEWHERE / "requirements.txt"
    subprocess.run([sys.executable, install, folder, lock], check=True)
    return folder


@pytest.fixture(scope="module")
def models(libraries, tmp_path_factory):
    """A folder of such models, and rows for them."""
    folder = tmp_path_factory.mktemp("models")
    make = [libraries / "bin/python", "-W", "ignore", ELSEWHERE / "make_models.py", folder]
    subprocess.run(make, check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def untouched(train):
    """A project for an existing model, with its sample."""
    return train(model_framework="onnx")


@pytest.fixture
def project(untouched, tmp_path):
    """A copy of the untouched project."""
    copy = tmp_path / "project"
    shutil.copytree(untouched.path, copy, symlinks=True)
    return BakedProject(copy)


@pytest.fixture
def with_libraries(project, libraries):
    """The same project with every library."""
    (project.path / ".venv").rename(project.path / ".venv-before")
    (project.path / ".venv").symlink_to(libraries)
    return project


def model_of(project):
    """Return the bytes of each file of a project's model."""
    return {
        file.name: file.read_bytes()
        for file in (project.path / "model").iterdir()
        if file.is_file()
    }


def test_models_from_elsewhere_are_served_correctly_or_refused(with_libraries, models):
    for file in (ROOT / "tests/compare_model.py", ELSEWHERE / "check_imports.py"):
        shutil.copy(file, with_libraries.path)
    output = with_libraries.check(
        *(".venv/bin/python", "-m", "pytest", "-q", "check_imports.py"), MODELS=str(models)
    )
    assert re.search(r"\d\d passed", output)


def test_imported_model_replaces_the_old_one_permanently(project, models):
    shutil.copy(models / "forest.pkl", project.path / "forest.pkl")
    shutil.copy(models / "iris.csv", project.path / "rows of iris.csv")
    before = model_of(project)
    output = project.check(
        *("make", "import", "MODEL=forest.pkl", "SAMPLE=rows of iris.csv", "TARGET=species")
    )
    assert "forest.pkl: RandomForestClassifier of scikit-learn" in output
    assert "150 of 150 rows of rows of iris.csv get the same answer as from the original" in output
    assert "accuracy 1" in output
    assert "answers species (setosa, versicolor, virginica)" in output
    after = model_of(project)
    assert after["model.onnx"] != before["model.onnx"]
    assert json.loads(after["source.json"]) == {
        "model": "forest.pkl",
        "sample": "rows of iris.csv",
        "target": "species",
    }
    # Training and tests use no other model than this one.
    assert "Nothing to train: the model comes from forest.pkl" in project.check("make", "train")
    assert model_of(project) == after
    tests = project.check("make", "test", "PYTEST_ARGS=tests/test_model.py tests/test_training.py")
    assert "2 skipped" in tests
    # As in a fresh clone, which only has what is committed.
    for name in ("model.onnx", "model.onnx.sha256", "serving.json"):
        (project.path / "model" / name).unlink()
    project.check("make", "train", SOURCE_DATE_EPOCH="0")
    assert model_of(project).keys() == after.keys()
    with serving(project) as url:
        answer = json.loads(ask(f"{url}/predict", {"instances": [SETOSA]})[1])
        assert answer["predictions"] == ["setosa"]


def test_refused_model_keeps_the_one_in_service(project, models):
    before = model_of(project)
    result = project.run("make", "import", f"MODEL={models / 'half_of_forest.pkl'}")
    assert result.returncode != 0
    assert "is not a pickle, or is incomplete" in result.stderr
    result = project.run("make", "import", f"MODEL={models / 'xgboost.json'}")
    assert "needs xgboost-cpu and onnxmltools: put that into requirements/train.in" in result.stderr
    result = project.run("make", "import", MODEL="from the shell")
    assert "Which model? make import MODEL=path" in result.stderr
    assert "Traceback" not in result.stderr
    assert model_of(project) == before


OTHERS = """
import pickle, sys
import pandas as pd
import sklearn
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

rows = pd.DataFrame({"city": ["Rome", "Oslo", None] * 20, "age": [1.0, 2.0, None, 3.0] * 15})
rows.to_csv("gaps.csv", index=False)
for name, filled in (("empty", rows.fillna({"city": ""})), ("nan", rows)):
    columns = make_column_transformer((OneHotEncoder(), ["city"]), (SimpleImputer(), ["age"]))
    model = make_pipeline(columns, LogisticRegression()).fit(filled, rows["city"].isna())
    open(f"{name}.pkl", "wb").write(pickle.dumps(model))
# As an older version, which had no such attribute, or another name for a class.
del columns.named_transformers_["simpleimputer"]._fill_dtype
here = sklearn.__version__.encode()
old = pickle.dumps(model).replace(here, b"1.5.2".ljust(len(here), b"0"))
open("old.pkl", "wb").write(old)
open("older.pkl", "wb").write(old.replace(b"SimpleImputer", b"SimpleImputeR"))
"""


def test_gaps_in_text_and_pickles_of_another_version(project):
    project.check(".venv/bin/python", "-W", "ignore", "-c", OTHERS)
    output = project.check("make", "import", "MODEL=empty.pkl", "SAMPLE=gaps.csv")
    assert "60 of 60 rows of gaps.csv get the same answer" in output
    assert "Warning" not in output
    # The service would answer differently from what this one learned.
    result = project.run("make", "import", "MODEL=nan.pkl", "SAMPLE=gaps.csv")
    assert 'Write frame["city"].fillna("") in load_data()' in result.stderr
    for name, fault in (("old", "The model fails"), ("older", "another version of a library")):
        result = project.run("make", "import", f"MODEL={name}.pkl", "SAMPLE=gaps.csv")
        assert result.returncode != 0
        assert "Traceback" not in result.stderr
        assert fault in result.stderr
        assert re.search(
            r"saved with scikit-learn 1\.5\.\d+, this project has .*: write scikit-learn==1\.5\.\d+ into "
            "requirements/train.in, then run `make lock`, then `make setup`",
            result.stderr,
        )


def test_classes_are_as_many_as_scores_and_a_path_outside_is_warned_of(project, models):
    command = ("make", "import", f"MODEL={models / 'old.onnx'}", "NAMES=a,b,c,d")
    result = project.run(*command, "CLASSES=x,y")
    assert result.returncode != 0
    assert "CLASSES names 2, and the model has 3 (0, 1, 2)" in result.stderr
    output = project.check(*command, "CLASSES=x,y,z")
    assert "answers prediction (x, y, z)" in output
    assert f"Warning: the pipeline cannot read {models / 'old.onnx'}" in output


def test_changed_model_no_longer_counts_as_imported(project):
    (project.path / "model/model.onnx").write_bytes(b"another")
    result = project.run("make", "train")
    assert result.returncode != 0
    assert "model.onnx is not the file that model.onnx.sha256 names" in result.stderr


def test_source_can_be_overridden_for_one_run(project, models):
    shutil.copy(models / "iris.csv", project.path / "training/example/iris.csv")
    (project.path / "model/model.onnx").unlink()
    output = project.check("make", "train", MODEL_SOURCE=str(models / "zipmap.onnx"))
    assert "zipmap.onnx: an ONNX graph" in output
    # This also holds if a model is already here.
    before = model_of(project)["model.onnx"]
    source = str(models / "three_outputs.onnx")
    (project.path / "model/source.json").write_text('{"model": "x", "names": ["a", "b", "c", "d"]}')
    output = project.check("make", "train", MODEL_SOURCE=source)
    assert "three_outputs.onnx: an ONNX graph" in output
    assert model_of(project)["model.onnx"] != before


def test_model_comes_from_an_mlflow_registry(with_libraries, models, tmp_path):
    script = """
import mlflow, sys
from mlflow.tracking import MlflowClient
with mlflow.start_run():
    run = mlflow.active_run().info
    mlflow.log_artifacts(sys.argv[1], "model")
client = MlflowClient()
client.create_registered_model("iris")
client.create_model_version("iris", f"{run.artifact_uri}/model", run.run_id)
"""
    variables = {
        "MLFLOW_TRACKING_URI": f"file://{tmp_path}/registry",
        "MLFLOW_ALLOW_FILE_STORE": "true",
    }
    python = with_libraries.path / ".venv/bin/python"
    with_libraries.check(python, "-c", script, models / "mlflow_onnx", **variables)
    (with_libraries.path / "model/model.onnx").unlink()
    output = with_libraries.check(
        python, "-m", "training", MODEL_SOURCE="models:/iris/1", **variables
    )
    assert "saved by MLflow" in output
    result = with_libraries.run(python, "-m", "training.importing", "models:/iris/2", **variables)
    assert "Could not fetch models:/iris/2" in result.stderr
    assert "Traceback" not in result.stderr


@contextlib.contextmanager
def embedded_s3(installed):
    """The variables that point the AWS CLI to an S3 on this machine."""
    port = free_port()
    environment = installed.path / "rehearsal/.venv"
    (certificate,) = environment.glob("lib/*/site-packages/moto/moto_proxy/ca.crt")
    process = subprocess.Popen(
        [environment / "bin/moto_proxy", "--port", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_for(lambda: is_open(port))
        yield {
            "HTTPS_PROXY": f"http://127.0.0.1:{port}",
            "AWS_CA_BUNDLE": str(certificate),
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_REGION": "us-east-1",
            "PATH": f"{environment}/bin{os.pathsep}{environment_with()['PATH']}",
        }
    finally:
        process.terminate()
        process.wait(timeout=30)


def is_open(port):
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def wait_for(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_model_comes_from_s3(project, installed, models):
    with embedded_s3(installed) as variables:

        def aws(*arguments):
            environment = {**environment_with(), **variables}
            subprocess.run(["aws", *arguments], env=environment, check=True, capture_output=True)

        aws("s3", "mb", "s3://models")
        aws("s3", "cp", str(models / "zipmap.onnx"), "s3://models/zipmap.onnx")
        aws("s3", "cp", "--recursive", str(models / "mlflow_onnx"), "s3://models/iris/1")
        for address in ("s3://models/zipmap.onnx", "s3://models/iris/1"):
            sample = "SAMPLE=training/example/iris.csv"
            target = "TARGET=species"
            output = project.run("make", "import", f"MODEL={address}", sample, target, **variables)
            assert "150 of 150 rows" in output.stdout, output.stderr
            assert json.loads(project.read("model/source.json"))["model"] == address
        result = project.run("make", "import", "MODEL=s3://models/nothing.onnx", **variables)
        assert "Could not fetch s3://models/nothing.onnx" in result.stderr
        assert "Traceback" not in result.stderr
        assert json.loads(project.read("model/source.json"))["model"] == "s3://models/iris/1"


def test_predictor_files_are_imported_if_it_can_serve_them(train, tmp_path):
    project = BakedProject(tmp_path / "project")
    trained = train(model_framework="python")
    shutil.copytree(trained.path, project.path, symlinks=True)
    theirs = tmp_path / "theirs"
    shutil.copytree(project.path / "model/files", theirs)
    parameters = json.loads((theirs / "parameters.json").read_text())
    # All flowers become virginica.
    (theirs / "parameters.json").write_text(json.dumps({**parameters, "priors": [1e-9, 1e-9, 1]}))
    (theirs / "notes").mkdir()
    (theirs / "notes/words.txt").write_text("more")
    rows = tmp_path / "rows.json"
    rows.write_text(json.dumps({"instances": [SETOSA]}))
    output = project.check("make", "import", f"MODEL={theirs}", f"SAMPLE={rows}")
    assert "The example and 1 rows of a sample are answered" in output
    assert "  files/notes/words.txt\n" in project.read("model/files.sha256")
    before = (project.path / "model/files.sha256").read_bytes()
    # As clients send them, with names too; the service would refuse others.
    card = json.loads((theirs / "card.json").read_text())
    named = dict(zip([column["name"] for column in card["columns"]], SETOSA, strict=True))
    rows.write_text(json.dumps([named, SETOSA]))
    output = project.check("make", "import", f"MODEL={theirs}", f"SAMPLE={rows}")
    assert "The example and 2 rows of a sample are answered" in output
    (tmp_path / "empty").mkdir()
    for model, instances, fault in (
        (theirs, [], "Expected `array` of length >= 1"),
        (theirs, [["5", *SETOSA[1:]]], "instances[0].sepal_length_cm: Expected `float`, got `str`"),
        (theirs, [None], "Expected `object | array`, got `null`"),
        (tmp_path / "empty", [SETOSA], "empty is an empty folder"),
    ):
        rows.write_text(json.dumps({"instances": instances}))
        result = project.run("make", "import", f"MODEL={model}", f"SAMPLE={rows}")
        assert result.returncode != 0
        assert fault in result.stderr
        assert "Traceback" not in result.stderr
        assert "Change inference/predictor.py" not in result.stderr
    (theirs / "card.json").write_text("{}")
    result = project.run("make", "import", f"MODEL={theirs}")
    assert result.returncode != 0
    assert "Change inference/predictor.py so that it does" in result.stderr
    assert "Traceback" not in result.stderr
    result = project.run("make", "import", f"MODEL={theirs}", "TARGET=species")
    assert "TARGET, NAMES and CLASSES are in the signature" in result.stderr
    assert (project.path / "model/files.sha256").read_bytes() == before
    assert "Nothing to train" in project.check("make", "train")


def examples():
    """Return the complete predictors in docs/your-model.md, by their first lines."""
    text = (ROOT / "docs/your-model.md").read_text()
    return re.findall(r"```python\n(.*?)```", text, re.DOTALL)


@pytest.mark.parametrize("code", examples(), ids=lambda code: code.split('"""')[1])
def test_predictor_of_the_documentation_is_served(train, libraries, models, tmp_path, code):
    is_torch = "import torch" in code
    if is_torch and not os.environ.get("TORCH_WHEELS"):
        pytest.skip("needs PyTorch: set TORCH_WHEELS to a folder with its wheel")
    project = BakedProject(tmp_path / "project")
    trained = train(model_framework="pytorch" if is_torch else "python")
    sample = train(model_framework="python")
    ignored = shutil.ignore_patterns(".venv", "files", "files.sha256")
    shutil.copytree(sample.path, project.path, ignore=ignored)
    environment = trained.path / ".venv" if is_torch else libraries
    (project.path / ".venv").symlink_to(environment)
    (project.path / "inference/predictor.py").write_text(code)
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    script = """
import joblib, numpy as np, pickle, sys
joblib.dump(pickle.load(open(sys.argv[1], "rb")), "model.joblib")
open("vocabulary.txt", "w").write("good\\nbad\\n")
np.save("weights.npy", np.array([1.0, -1.0]))
"""
    if is_torch:
        script = """
import torch
torch.save(torch.nn.Linear(4, 3).state_dict(), "weights.pt")
"""
    python = [project.path / ".venv/bin/python", "-c", script, models / "people.pkl"]
    subprocess.run(python, cwd=theirs, check=True)
    command = [".venv/bin/python", "-m", "training.importing", str(theirs)]
    project.check(*command)
    project.check("ruff", "check")
    project.check("ruff", "format", "--check")
    # What the project does next with an imported model, although its sample is another one.
    assert "Nothing to train" in project.check(".venv/bin/python", "-m", "training")
    tests = ("tests/test_service.py", "tests/test_training.py", "tests/test_startup.py")
    project.check(".venv/bin/python", "-m", "pytest", "-q", *tests)
    with serving(project) as url:
        card = json.loads(ask(f"{url}/openapi.json")[1])
        instance = {
            "people": {"city": "Rome", "age": 30.5, "member": False},
            "reviews": {"review": "A GOOD good film"},
        }.get(card["info"]["title"], [0.0, 1.0, 0.5, 0.0])
        status, answer = ask(f"{url}/predict", {"instances": [instance]})
        assert status == 200, answer
        (prediction,) = json.loads(answer)["predictions"]
        assert prediction in ("yes", 2.0, 0, 1, 2)
        if "review" in instance:
            status, answer = ask(f"{url}/predict", {"instances": [{"review": "so so"}]})
            assert (status, json.loads(answer)["detail"].count("no known word")) == (422, 1)


def test_pipeline_ships_the_imported_model(project, models, docker, engine, runner):
    shutil.copy(models / "forest.pkl", project.path / "forest.pkl")
    shutil.copy(models / "iris.csv", project.path / "iris.csv")
    sample = ("SAMPLE=iris.csv", "TARGET=species")
    project.check("make", "import", "MODEL=forest.pkl", *sample, SOURCE_DATE_EPOCH="0")
    mine = project.read("model/model.onnx.sha256")[:12]
    example = ask_the_pickle(project)
    repository = Repository(
        project.path, environment_with(), **engine, SOURCE_DATE_EPOCH="0", ECR_REGISTRY="local"
    )
    leave_few_tests(repository)
    # Remove what is not committed.
    for name in ("model.onnx", "model.onnx.sha256", "serving.json"):
        (project.path / "model" / name).unlink()
    run = repository.run("train", "docker-build", event=MERGE_REQUEST)
    assert run.jobs == {"train": "PASS", "docker-build": "PASS"}, run.output
    image = f"local/ml-inference-service:{repository.head}-{mine}"
    try:
        command = [docker, "run", "--rm", "--entrypoint=python", image, "-m", "inference.expected"]
        answer = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    finally:
        subprocess.run([docker, "rmi", "--force", image], capture_output=True)
    request, prediction, version, *_ = answer.splitlines()
    assert version == mine
    assert json.loads(request)["instances"] == [example["row"]]
    assert json.loads(prediction)["predictions"] == [example["species"]]


def ask_the_pickle(project):
    """Return the example of a project's model, and the pickle's own answer to it."""
    script = """
import json, pickle
import numpy as np
from inference.config import Settings
from inference.predictor import Predictor
from inference.runtime import artifact

row = Predictor.load(artifact.read(Settings().model_path).content).card.example
with open("forest.pkl", "rb") as file:
    species = pickle.load(file).predict(np.array([row]))[0]
print(json.dumps({"row": row, "species": species}))
"""
    return json.loads(project.check(".venv/bin/python", "-c", script))


def test_missing_system_library_is_named(untouched, tmp_path):
    missing = "libgomp.so.1: cannot open shared object file"
    (tmp_path / "lightgbm.py").write_text(f'raise OSError("{missing}")')
    model = tmp_path / "model.txt"
    model.write_text("tree\n")
    command = (".venv/bin/python", "-m", "training.importing", str(model))
    result = untouched.run(*command, PYTHONPATH=str(tmp_path))
    assert result.returncode == 1
    assert f"{missing}. LightGBM needs OpenMP: apt-get install libgomp1" in result.stderr
    assert "Traceback" not in result.stderr
    # Another file that cannot be read has nothing to do with OpenMP.
    (tmp_path / "truncated.pkl").write_bytes(b"BZh9 is no bzip2")
    result = untouched.run(*command[:-1], f"{tmp_path}/truncated.pkl")
    assert result.returncode == 1
    assert "truncated.pkl: Invalid data stream." in result.stderr
    assert "OpenMP" not in result.stderr
