"""Models as users have them: write a file of each kind into the folder given as the first argument."""

import os
import pickle
import sys
import types

import joblib
import lightgbm
import mlflow.onnx
import mlflow.sklearn
import mlflow.xgboost
import numpy as np
import onnx
import pandas as pd
import skops.io
import xgboost
from onnx import TensorProto, helper, numpy_helper
from skl2onnx import to_onnx
from sklearn import base
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_iris
from sklearn.ensemble import HistGradientBoostingRegressor, RandomForestClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.multioutput import MultiOutputRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

random = np.random.default_rng(0)
FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64


def value(name, kind, *shape):
    return helper.make_tensor_value_info(name, kind, shape)


def constant(name, array):
    return numpy_helper.from_array(np.array(array), name)


WEIGHTS = constant("W", random.normal(size=(4, 3)).astype("f"))
node = helper.make_node


def save(name, nodes, inputs, outputs, constants=(), opset=18, **options):
    graph = helper.make_graph(nodes, "graph", inputs, outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, name, **options)


def make_graphs():
    x, y = value("x", FLOAT, "rows", 4), value("y", FLOAT, "rows", 3)
    product = node("MatMul", ["x", "W"], ["y"])
    save(
        "three_outputs.onnx",
        [
            node("MatMul", ["x", "w"], ["price"]),
            node("MatMul", ["x", "W"], ["h"]),
            node("ArgMax", ["h"], ["best"], axis=1, keepdims=0),
            node("Softmax", ["h"], ["shares"], axis=1),
        ],
        [x],
        [
            value("price", FLOAT, "rows", 1),
            value("best", INT64, "rows"),
            value("shares", FLOAT, "rows", 3),
        ],
        [WEIGHTS, constant("w", random.normal(size=(4, 1)).astype("f"))],
    )
    save(
        "two_types.onnx",
        [node("Cast", ["count"], ["c"], to=FLOAT), node("Add", ["c", "weight"], ["total"])],
        [value("count", INT64, "rows", 1), value("weight", FLOAT, "rows", 1)],
        [value("total", FLOAT, "rows", 1)],
    )
    save(
        "two_tensors.onnx",
        [
            node("Gather", ["E", "words"], ["e"]),
            node("ReduceMean", ["e", "axis"], ["m"], keepdims=0),
            node("Add", ["m", "x"], ["h"]),
            node("MatMul", ["h", "W"], ["y"]),
        ],
        [value("words", INT64, "rows", 5), x],
        [y],
        [WEIGHTS, constant("E", random.normal(size=(2, 4)).astype("f")), constant("axis", [1])],
    )
    save(
        "free_size.onnx",
        [node("ReduceMax", ["x", "axis"], ["y"], keepdims=0)],
        [value("x", FLOAT, "rows", "length", 2)],
        [value("y", FLOAT, "rows")],
        [constant("axis", [1, 2])],
    )
    save("fixed.onnx", [product], [value("x", FLOAT, 1, 4)], [value("y", FLOAT, 1, 3)], [WEIGHTS])
    save(
        "fixed_eight.onnx",
        [product],
        [value("x", FLOAT, 8, 4)],
        [value("y", FLOAT, 8, 3)],
        [WEIGHTS],
    )
    save(
        "fixed_inside.onnx",
        [node("Reshape", ["x", "shape"], ["h"]), node("MatMul", ["h", "W"], ["y"])],
        [value("x", FLOAT, 1, 2, 2)],
        [value("y", FLOAT, 1, 3)],
        [WEIGHTS, constant("shape", [1, 4])],
    )
    save(
        "external.onnx",
        [product],
        [x],
        [y],
        [WEIGHTS],
        save_as_external_data=True,
        location="external.data",
        size_threshold=0,
    )
    half = TensorProto.FLOAT16
    save(
        "half.onnx",
        [node("MatMul", ["x", "W"], ["y"])],
        [value("x", half, "rows", 4)],
        [value("y", half, "rows", 3)],
        [constant("W", random.normal(size=(4, 3)).astype(np.float16))],
    )
    save(
        "small_numbers.onnx",
        [
            node("Cast", ["x"], ["h"], to=FLOAT),
            node("ReduceMean", ["h", "axis"], ["y"], keepdims=0),
        ],
        [value("x", TensorProto.INT8, "rows", 2, 2)],
        [value("y", FLOAT, "rows")],
        [constant("axis", [1, 2])],
    )
    save(
        "image.onnx",
        [
            node("Cast", ["x"], ["h"], to=FLOAT),
            node("ReduceMean", ["h", "axis"], ["y"], keepdims=0),
        ],
        [value("x", TensorProto.UINT8, "rows", 4, 4, 3)],
        [value("y", FLOAT, "rows", 3)],
        [constant("axis", [1, 2])],
    )
    save(
        "yes_or_no.onnx",
        [node("MatMul", ["x", "w"], ["h"]), node("Sigmoid", ["h"], ["y"])],
        [x],
        [value("y", FLOAT, "rows", 1)],
        [constant("w", random.normal(size=(4, 1)).astype("f"))],
    )
    save(
        "double.onnx",
        [node("MatMul", ["x", "W"], ["y"])],
        [value("x", TensorProto.DOUBLE, "rows", 4)],
        [value("y", TensorProto.DOUBLE, "rows", 3)],
        [constant("W", random.normal(size=(4, 3)))],
    )
    save(
        "whole_numbers.onnx",
        [node("ReduceSum", ["x", "axis"], ["y"])],
        [value("x", INT64, "rows", 3)],
        [value("y", INT64, "rows", 1)],
        [constant("axis", [1])],
    )
    save(
        "old.onnx",
        [product, node("Softmax", ["y"], ["z"], axis=1)],
        [x],
        [value("z", FLOAT, "rows", 3)],
        [WEIGHTS],
        opset=9,
    )
    # Its operators predate the nodes that merge its columns into one matrix.
    save(
        "old_columns.onnx",
        [node("Sum", ["a", "b"], ["y"])],
        [value("a", FLOAT, "rows", 1), value("b", FLOAT, "rows", 1)],
        [value("y", FLOAT, "rows", 1)],
        opset=9,
    )
    save(
        "wide.onnx",
        [node("Concat", ["x"] * 40, ["y"], axis=1)],
        [x],
        [value("y", FLOAT, "rows", 160)],
    )
    save(
        "picture_out.onnx",
        [node("Identity", ["x"], ["y"])],
        [value("x", FLOAT, "rows", 2, 2)],
        [value("y", FLOAT, "rows", 2, 2)],
    )

    make_odd_graphs(x, product)

    model = onnx.load("three_outputs.onnx")
    model.opset_import[0].version = 99
    onnx.save(model, "future.onnx")
    model.opset_import[0].version = 18
    model.opset_import.append(helper.make_opsetid("com.example", 1))
    model.graph.node[0].domain = "com.example"
    onnx.save(model, "strange.onnx")


def make_odd_graphs(x, product):
    best = node("ArgMax", ["y"], ["best"], axis=1, keepdims=0)
    shares = node("Softmax", ["y"], ["shares"], axis=1)
    save("best.onnx", [product, best], [x], [value("best", INT64, "rows")], [WEIGHTS])
    # As Spark's exporter, which gives classes as floats.
    save(
        "spark.onnx",
        [product, best, node("Cast", ["best"], ["label"], to=FLOAT), shares],
        [x],
        [value("label", FLOAT, "rows"), value("shares", FLOAT, "rows", 3)],
        [WEIGHTS],
    )
    save(
        "labels.onnx",
        [product, node("Sigmoid", ["y"], ["z"])],
        [x],
        [value("z", FLOAT, "rows", 3)],
        [WEIGHTS],
    )
    save(
        "decision.onnx",
        [node("ReduceSum", ["x", "axis"], ["h"]), node("Greater", ["h", "zero"], ["y"])],
        [x],
        [value("y", TensorProto.BOOL, "rows", 1)],
        [constant("axis", [1]), constant("zero", np.float32(0))],
    )
    save(
        "whole_row.onnx",
        [node("Cast", ["x"], ["y"], to=INT64)],
        [x],
        [value("y", INT64, "rows", 4)],
    )
    save(
        "any_width.onnx",
        [node("ReduceSum", ["x", "axis"], ["y"])],
        [value("x", FLOAT, "rows", "columns")],
        [value("y", FLOAT, "rows", 1)],
        [constant("axis", [1])],
    )
    column, number = value("x", FLOAT, "rows"), value("y", FLOAT, "rows")
    save("rank_one.onnx", [node("Neg", ["x"], ["y"])], [column], [number])
    save("log.onnx", [node("Log", ["x"], ["y"])], [column], [number])
    save(
        "scalar_input.onnx",
        [node("Mul", ["x", "scale"], ["y"])],
        [column, value("scale", FLOAT)],
        [number],
    )
    save(
        "since_2023.onnx",
        [node("Sub", ["x", "start"], ["y"])],
        [value("x", TensorProto.DOUBLE, "rows", 1)],
        [value("y", TensorProto.DOUBLE, "rows", 1)],
        [constant("start", 1.7e9)],
    )
    save(
        "lower.onnx",
        [
            node("StringNormalizer", ["x"], ["h"], case_change_action="LOWER", locale="en_US"),
            node("StringConcat", ["h", "h"], ["y"]),
        ],
        [value("x", TensorProto.STRING, "rows")],
        [value("y", TensorProto.STRING, "rows")],
        opset=20,
    )


def make_boosters(rows, labels):
    plain = rows.to_numpy()
    native = xgboost.DMatrix(plain, labels)
    xgboost.train({"objective": "multi:softmax", "num_class": 3}, native, 5).save_model(
        "softmax.ubj"
    )
    groups = np.repeat(range(10), 15)
    dump(xgboost.XGBRanker(n_estimators=5).fit(plain, labels, qid=groups), "ranker.pkl")
    several = np.column_stack([labels > 0, labels > 1])
    dump(xgboost.XGBClassifier(n_estimators=5).fit(plain, several), "labels.pkl")
    scaled = make_pipeline(SimpleImputer(), xgboost.XGBClassifier(n_estimators=5))
    dump(scaled.fit(plain, labels), "pipeline.pkl")

    def squares(predicted, data):
        return predicted - data.label, np.ones_like(predicted)

    table = lightgbm.Dataset(plain[:, :3], plain[:, 3])
    lightgbm.train({"objective": squares, "verbose": -1}, table, 5).save_model("own_objective.txt")
    sizes = pd.DataFrame({"size": pd.Categorical(["S", "L", "M"] * 50)})
    sizes.to_csv("sizes.csv", index=False)
    trees = lightgbm.LGBMRegressor(n_estimators=5, verbose=-1)
    dump(trees.fit(sizes, plain[:, 3]), "categories.pkl")


def make_estimators(rows, species):
    labels = species.cat.codes.to_numpy()
    logistic = LogisticRegression(max_iter=1000).fit(rows, species.astype(str))
    # As that version of scikit-learn writes it.
    here, base.__version__ = base.__version__, "1.5.2"
    joblib.dump(logistic, "logistic.joblib")
    base.__version__ = here
    skops.io.dump(logistic, "logistic.skops")
    plain = rows.to_numpy()
    dump(RandomForestClassifier(20, random_state=0).fit(plain, species.astype(str)), "forest.pkl")
    dump(MultiOutputRegressor(Ridge()).fit(plain[:, :2], plain[:, 2:]), "several.pkl")
    dump(HistGradientBoostingRegressor(max_iter=20).fit(plain[:, :3], plain[:, 3]), "boosted.pkl")

    people = pd.DataFrame(
        {
            "city": random.choice(["Rome", "Oslo", "Bern"], 200),
            "age": random.normal(40, 10, 200).round(1),
            "member": random.random(200) > 0.5,
        }
    )
    people.loc[::7, "age"] = np.nan
    bought = np.where(people["city"] == "Rome", "yes", "no")
    people.assign(bought=bought).to_csv("people.csv", index=False)
    columns = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore"), ["city"]),
        (SimpleImputer(), ["age"]),
        remainder="passthrough",
    )
    dump(make_pipeline(columns, LogisticRegression()).fit(people, bought), "people.pkl")

    reviews = ["good film", "bad film", "very good", "so bad", "good good", "worse than bad"] * 10
    words = make_pipeline(TfidfVectorizer(), LogisticRegression())
    dump(words.fit(reviews, ["good", "bad"] * 30), "reviews.pkl")
    pd.DataFrame({"review": reviews}).to_csv("reviews.csv", index=False)

    mapped = to_onnx(logistic, rows.to_numpy()[:1].astype("f"))
    assert any(each.op_type == "ZipMap" for each in mapped.graph.node)
    onnx.save(mapped, "zipmap.onnx")

    boosted = xgboost.XGBClassifier(n_estimators=10).fit(rows, labels)
    boosted.save_model("xgboost.json")
    dump(boosted, "xgboost.pkl")
    native = xgboost.DMatrix(plain, labels > 0)
    xgboost.train({"objective": "binary:logistic"}, native, 5).save_model("xgboost_two.ubj")
    light = lightgbm.LGBMClassifier(n_estimators=10, verbose=-1).fit(plain, labels)
    light.booster_.save_model("lightgbm.txt")
    table = lightgbm.Dataset(plain[:, :3], plain[:, 3])
    lightgbm.train({"objective": "regression", "verbose": -1}, table, 10).save_model(
        "lightgbm_number.txt"
    )

    make_boosters(rows, labels)

    mlflow.sklearn.save_model(
        make_pipeline(columns, LogisticRegression()).fit(people, bought),
        "mlflow_sklearn",
        input_example=people[:20],
        serialization_format="pickle",
        pip_requirements=["scikit-learn"],
    )
    mlflow.xgboost.save_model(boosted, "mlflow_xgboost", pip_requirements=["xgboost"])
    mlflow.onnx.save_model(mapped, "mlflow_onnx", pip_requirements=["onnx"])


def make_wrecks():
    dump({"weights": [1]}, "dictionary.pkl")
    module = types.ModuleType("their_models")
    exec("class Scorer:\n    def predict(self, rows): return rows", module.__dict__)  # noqa: S102
    sys.modules["their_models"] = module
    module.Scorer.__module__ = "their_models"
    dump(module.Scorer(), "foreign.pkl")
    for whole in ("three_outputs.onnx", "forest.pkl", "xgboost.json", "lightgbm.txt"):
        stem, ending = whole.split(".")
        with open(whole, "rb") as file, open(f"half_of_{stem}.{ending}", "wb") as half:
            half.write(file.read()[:150])
    with open("pointer.onnx", "w") as file:
        file.write("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")


def dump(model, name):
    with open(name, "wb") as file:
        pickle.dump(model, file)


if __name__ == "__main__":
    os.chdir(sys.argv[1])
    iris = load_iris(as_frame=True)
    rows = iris.data.rename(columns=lambda name: name.replace(" (cm)", "").replace(" ", "_"))
    species = pd.Series(pd.Categorical.from_codes(iris.target, iris.target_names))
    rows.assign(species=species).to_csv("iris.csv", index=False)
    make_graphs()
    make_estimators(rows, species)
    make_wrecks()
    np.savez("sizes.npz", x=random.random((30, 5, 2)).astype("f"))
    np.savez("far.npz", words=np.full((9, 5), 7), x=random.random((9, 4)).astype("f"))
    np.savez("matrix.npz", x=rows.to_numpy("f"))
    # Their order is not that of the indices.
    renamed = species.map({"setosa": "z", "versicolor": "y", "virginica": "x"})
    rows.assign(species=renamed).to_csv("renamed.csv", index=False)
    rows.assign(species=species.cat.codes).to_csv("indices.csv", index=False)
    pd.DataFrame({"x": [1.7e9 + 0.5, 1.7e9 + 9.5]}).to_csv("times.csv", index=False)
    rows.to_csv("without_names.csv", index=False, header=False)
    rows.set_axis(range(1, 5), axis=1).to_csv("numbered.csv", index=False)
    rows[:0].to_csv("empty.csv", index=False)
    pd.DataFrame({"x": ["A film", "Ärger"]}).to_csv("texts.csv", index=False)
    with open("uneven.json", "w") as file:
        file.write('[{"x": [1.0, 2.0]}, {"x": [3.0]}]')
    with open("five.json", "w") as file:
        file.write("5")
