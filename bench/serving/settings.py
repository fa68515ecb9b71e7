"""Every setting in which a server is run, and how each is queried."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from models import MIXED, MODELS
from peer import BEFORE, PROJECT, Encoding, Launch, Request, Rows, Setting

PEERS = Path(__file__).parent / "peers"
OURS = "ml-ecs-template"
JSON = "application/json"
JSON_LENGTH = "Inference-Header-Content-Length"
# onnx_model.py is next to the environments' folders; the rest keeps packages from calling home.
ONNX = {
    "PYTHONPATH": "../common",
    "ORT_DISABLE_TELEMETRY": "1",
    "BENTOML_DO_NOT_TRACK": "True",
}
# With the MLP, scikit-learn is far behind all others.
LIGHT = ("logistic", "forest")
Command = Callable[[Launch], list[str]]


def decimals(rows: Rows) -> list[Any]:
    """Return the numbers as a person would write them: 5.1, not 5.099999904632568; objects stay unchanged."""
    if isinstance(rows, list):
        return rows
    return [[float(str(value)) for value in row] for row in rows]


def to_json(value: object) -> bytes:
    """Encode without spaces, as JavaScript does."""
    return json.dumps(value, separators=(",", ":")).encode()


def instances(path: str, find: Callable[[object], list[str]]) -> Encoding:
    """Send ``{"instances": [[...]]}`` to ``path``; ``find`` takes the classes from the response."""
    return Encoding(
        lambda _, rows: Request(path, JSON, to_json({"instances": decimals(rows)})),
        lambda body, _: find(json.loads(body)),
    )


def predictions(path: str = "/predict") -> Encoding:
    """The response is ``{"predictions": [...]}``."""
    return instances(path, lambda answer: answer["predictions"])


def protocol_json() -> Encoding:
    """Open Inference Protocol v2; the first output holds the classes."""

    def request(model: str, rows: Any) -> Request:
        data = [value for row in decimals(rows) for value in row]
        tensor = {"name": "instances", "shape": rows.shape, "datatype": "FP32", "data": data}
        return Request(f"/v2/models/{model}/infer", JSON, to_json({"inputs": [tensor]}))

    return Encoding(request, lambda body, _: json.loads(body)["outputs"][0]["data"])


def protocol_binary() -> Encoding:
    """Open Inference Protocol v2 with its binary tensor data extension, in both directions."""

    def request(model: str, rows: Any) -> Request:
        raw = rows.astype("<f4").tobytes()
        tensor = {"name": "instances", "shape": rows.shape, "datatype": "FP32"}
        tensor["parameters"] = {"binary_data_size": len(raw)}
        head = to_json({"inputs": [tensor], "parameters": {"binary_data_output": True}})
        return Request(
            f"/v2/models/{model}/infer",
            "application/octet-stream",
            head + raw,
            {JSON_LENGTH: str(len(head))},
        )

    def classes(body: bytes, headers: Mapping[str, str]) -> list[str]:
        lower = {name.lower(): value for name, value in headers.items()}
        start = int(lower[JSON_LENGTH.lower()])
        (rows,) = json.loads(body[:start])["outputs"][0]["shape"]
        texts = []
        for _ in range(rows):
            end = start + 4 + int.from_bytes(body[start : start + 4], "little")
            texts.append(body[start + 4 : end].decode())
            start = end
        return texts

    return Encoding(request, classes, is_array=True)


def with_environment(command: Command, **variables: Callable[[Launch], object]) -> Command:
    """Return the command with variables that depend on the launch; MODEL is the model's folder."""

    def launched(launch: Launch) -> list[str]:
        given = {"MODEL": launch.models / launch.model}
        given |= {name: value(launch) for name, value in variables.items()}
        return ["env", *(f"{name}={value}" for name, value in given.items()), *command(launch)]

    return launched


def script(launch: Launch, name: str) -> str:
    """Return a command that a package installed next to the Python."""
    return str(launch.python.parent / name)


def port(launch: Launch) -> int:
    """Return the port, for a variable."""
    return launch.port


def workers(launch: Launch) -> int:
    """Return the number of workers, for a variable."""
    return launch.workers


def generated(peer: str, name: str, environment: str, models: tuple[str, ...]) -> Setting:
    """A generated service without changes."""
    return Setting(
        peer=peer,
        name=name,
        environment=environment,
        command=with_environment(
            lambda launch: [str(launch.python), "-m", "inference"],
            PORT=port,
            WORKERS=workers,
            MODEL_PATH=lambda launch: launch.models / launch.model / "project" / "model.onnx",
        ),
        encodings={"json": predictions(), "binary": protocol_binary()},
        models=models,
    )


def before(name: str) -> Setting:
    """The project that the template generated at an earlier commit."""
    return generated("the release before", name, BEFORE, MODELS)


def fastapi(
    name: str,
    app: str,
    path: str = "/predict",
    models: tuple[str, ...] = MODELS,
    threads: int = 1,
    tuned: bool = False,
) -> Setting:
    """FastAPI behind uvicorn; ``threads`` of ONNX Runtime, 0 for its own default."""

    def command(launch: Launch) -> list[str]:
        return [
            *(script(launch, "uvicorn"), f"{app}:app"),
            *("--host", "127.0.0.1", "--port", str(launch.port)),
            *("--workers", str(launch.workers)),
            *("--loop", "uvloop", "--http", "httptools"),
            *("--no-access-log", "--log-level", "warning"),
        ]

    return Setting(
        peer="FastAPI by hand" if tuned else "FastAPI",
        name=name,
        environment="fastapi",
        command=with_environment(command),
        encodings={"json": predictions(path)},
        models=models,
        variables=ONNX | {"THREADS": str(threads)},
        tuned=tuned,
    )


def mlflow() -> Setting:
    """MLflow's own server with the scikit-learn model, which the first start saves as MLflow's."""
    records = Encoding(
        lambda _, rows: Request("/invocations", JSON, to_json({"dataframe_records": rows})),
        lambda body, _: json.loads(body)["predictions"],
    )
    serve = (
        'test -d "$MODEL/mlflow" || python save.py; exec mlflow models serve --env-manager=local'
    )

    def command(launch: Launch) -> list[str]:
        options = f"--host=127.0.0.1 --port={launch.port} --workers={launch.workers}"
        return ["sh", "-c", f'{serve} --model-uri="$MODEL/mlflow" {options}']

    return Setting(
        peer="MLflow",
        name="models serve",
        environment="mlflow",
        command=with_environment(command),
        encodings={"json": records},
        models=(MIXED,),
        variables={"MLFLOW_DISABLE_TELEMETRY": "true"},
    )


def bentoml(name: str, service: str, encoding: Encoding) -> Setting:
    """BentoML's production server."""

    def command(launch: Launch) -> list[str]:
        address = ("--host", "127.0.0.1", "--port", str(launch.port))
        return [script(launch, "bentoml"), "serve", f"service:{service}", *address]

    return Setting(
        peer="BentoML",
        name=name,
        environment="bentoml",
        command=with_environment(
            command, WORKERS=workers, BENTOML_HOME=lambda launch: launch.models / "bentoml"
        ),
        encodings={"json": encoding},
        models=MODELS,
        variables=ONNX,
    )


def mlserver(
    name: str,
    runtime: str,
    parallel: bool,
    batch: int = 0,
    models: tuple[str, ...] = MODELS,
) -> Setting:
    """MLServer, without its second and third server as far as they can be disabled."""
    return Setting(
        peer="MLServer",
        name=name,
        environment="mlserver",
        command=with_environment(
            lambda launch: [script(launch, "mlserver"), "start", "."],
            MLSERVER_HTTP_PORT=port,
            MLSERVER_PARALLEL_WORKERS=lambda launch: launch.workers if parallel else 0,
            MLSERVER_ENVIRONMENTS_DIR=lambda launch: launch.models / "mlserver" / "environments",
            MLSERVER_METRICS_DIR=lambda launch: launch.models / "mlserver" / "metrics",
            MLSERVER_MODEL_NAME=lambda launch: launch.model,
            MLSERVER_MODEL_URI=lambda launch: launch.models / launch.model,
        ),
        encodings={"json": protocol_json()},
        models=models,
        variables=ONNX
        | {
            "MLSERVER_HOST": "127.0.0.1",
            "MLSERVER_GRPC_PORT": "0",
            "MLSERVER_METRICS_PORT": "0",
            "MLSERVER_METRICS_ENDPOINT": "",
            "MLSERVER_DEBUG": "false",
            "MLSERVER_GZIP_ENABLED": "false",
            "MLSERVER_MODEL_IMPLEMENTATION": runtime,
            "MLSERVER_MODEL_MAX_BATCH_SIZE": str(batch),
            "MLSERVER_MODEL_MAX_BATCH_TIME": "0.002" if batch else "0",
        },
    )


def litserve(name: str, variables: Mapping[str, str]) -> Setting:
    """LitServe with as many inference workers as HTTP servers."""
    return Setting(
        peer="LitServe",
        name=name,
        environment="litserve",
        command=with_environment(
            lambda launch: [str(launch.python), "app.py"], PORT=port, WORKERS=workers
        ),
        encodings={"json": predictions()},
        models=MODELS,
        variables=ONNX | variables,
    )


def flask(name: str, command: Command) -> Setting:
    """The tutorial's Flask, which only returns the class."""
    return Setting(
        peer="Flask tutorial",
        name=name,
        environment="flask",
        command=with_environment(command, PORT=port),
        encodings={"json": predictions()},
        models=LIGHT,
    )


def gunicorn(launch: Launch) -> list[str]:
    """Gunicorn with its default, synchronous workers."""
    address = f"127.0.0.1:{launch.port}"
    return [
        script(launch, "gunicorn"),
        f"--workers={launch.workers}",
        f"--bind={address}",
        # By default, it would be a file in the home directory.
        "--no-control-socket",
        "app:app",
    ]


BATCH_ITEMS = instances("/predict", lambda answer: [item["prediction"] for item in answer])

SETTINGS: tuple[Setting, ...] = (
    generated(OURS, "as generated", PROJECT, (*MODELS, MIXED)),
    fastapi("scikit-learn", "with_sklearn", models=LIGHT),
    fastapi("ONNX Runtime", "with_onnx"),
    fastapi("ONNX Runtime, async", "with_onnx", "/predict-async"),
    fastapi("ONNX Runtime, async, its threads", "with_onnx", "/predict-async", ("mlp",), 0),
    fastapi("msgspec", "by_hand", tuned=True),
    fastapi("msgspec, ONNX Runtime's threads", "by_hand", models=("mlp",), threads=0, tuned=True),
    fastapi("ONNX Runtime, async, a field for each column", "mixed", models=(MIXED,)),
    mlflow(),
    bentoml("no batching", "Single", predictions()),
    bentoml("no batching, async", "Single", predictions("/predict-async")),
    bentoml("adaptive batching", "Batching", BATCH_ITEMS),
    mlserver("scikit-learn, one process", "mlserver_sklearn.SKLearnModel", False, models=LIGHT),
    mlserver("ONNX Runtime, one process", "onnx_runtime.OnnxRuntime", parallel=False),
    mlserver("ONNX Runtime, parallel workers", "onnx_runtime.OnnxRuntime", parallel=True),
    mlserver("ONNX Runtime, batching", "onnx_runtime.OnnxRuntime", parallel=False, batch=32),
    litserve("no batching", {}),
    litserve("no batching, fast queue", {"FAST_QUEUE": "1"}),
    litserve("batching", {"BATCH": "16", "BATCH_SECONDS": "0.001"}),
    flask("development server", lambda launch: [str(launch.python), "app.py"]),
    flask("gunicorn", gunicorn),
)


def limit(name: str, file: str, model: str) -> Setting:
    """A program that shows how fast any server in Python could be; its answers are not checked."""
    return Setting(
        peer=name,
        name="uvloop, httptools",
        environment="fastapi",
        command=with_environment(
            lambda launch: [str(launch.python), str(PEERS / "limits" / file)],
            PORT=port,
            WORKERS=workers,
        ),
        encodings={"json": predictions()},
        models=(model,),
    )


LIMITS: tuple[Setting, ...] = (
    # It answers setosa to every request.
    limit("event loop's hello", "hello.py", "logistic"),
    limit("event loop with the model alone", "mixed.py", MIXED),
)
