"""The servers' environments: the generated project, the peers' packages and the models."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from cookiecutter.main import cookiecutter

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
BIN = Path(sys.executable).parent
# Find the programs of this environment; compile the modules of every process that is started.
VARIABLES = {
    **os.environ,
    "PATH": f"{BIN}:{os.environ['PATH']}",
    "UV_COMPILE_BYTECODE": "1",
    "VIRTUAL_ENV": "",
}
# Part of every environment, but not needed by a service.
NOT_SERVING = {"pip", "setuptools", "__pycache__", "_virtualenv.py", "_distutils_hack"}


@dataclass(frozen=True)
class Environment:
    """Where a server's commands run, the Python that has its packages, and their size.

    ``models`` is the folder of its models, if it does not use the shared ones.
    """

    folder: Path
    python: Path
    megabytes: float
    packages: dict[str, str]
    models: Path | None = None


def run(*command: str | Path, cwd: Path | None = None) -> str:
    """Run a command, which must succeed; return its output."""
    try:
        return subprocess.run(  # noqa: S603
            command,
            cwd=cwd,
            env=VARIABLES,
            check=True,
            capture_output=True,
            text=True,
        ).stdout
    except subprocess.CalledProcessError as error:
        sys.exit(f"Could not run {' '.join(map(str, command))}:\n{error.stdout}{error.stderr}")


def bake(template: Path, folder: Path) -> Path:
    """Generate the default project and install everything needed to develop it."""
    shutil.rmtree(folder, ignore_errors=True)
    project = cookiecutter(
        str(template), no_input=True, output_dir=str(folder), default_config=True
    )
    run("make", "setup", cwd=Path(project))
    # As in the image: make setup leaves this to the first start, whatever VARIABLES say.
    python = Path(project) / ".venv" / "bin" / "python"
    run(
        python,
        "-m",
        "compileall",
        "-q",
        Path(project) / ".venv" / "lib",
        Path(project) / "inference",
    )
    return Path(project)


def install(name: str, requirements: Path, work: Path) -> Path:
    """Install requirements into their own environment, unless it exists; return its Python."""
    digest = hashlib.sha256(requirements.read_bytes() + sys.version.encode()).hexdigest()
    folder = work / "environments" / f"{name}-{digest[:12]}"
    python = folder / "bin" / "python"
    complete = folder / ".complete"
    if not complete.exists():
        run("uv", "venv", "--quiet", "--clear", "--python", sys.executable, folder)
        run("uv", "pip", "install", "--quiet", "--python", python, "-r", requirements)
        complete.touch()
    return python


def installed_megabytes(python: Path) -> float:
    """Return the size of an environment's packages, without their compiled modules."""
    packages = next(python.parent.parent.glob("lib/python*/site-packages"))
    total = 0
    for folder, folders, files in os.walk(packages):
        folders[:] = [name for name in folders if name.partition("-")[0] not in NOT_SERVING]
        total += sum(
            (Path(folder) / file).lstat().st_size for file in files if file not in NOT_SERVING
        )
    return total / 1e6


def installed_packages(python: Path) -> dict[str, str]:
    """Return the version of every package."""
    listed = json.loads(run("uv", "pip", "list", "--format=json", "--python", python))
    return {package["name"]: package["version"] for package in listed}


def of_peer(name: str, work: Path) -> Environment:
    """Return a peer's environment, installing it if needed."""
    folder = HERE / "peers" / name
    python = install(name, folder / "requirements.txt", work)
    return Environment(folder, python, installed_megabytes(python), installed_packages(python))


def of_project(project: Path, work: Path, models: Path | None = None) -> Environment:
    """Return a generated project's environment; its size is that of the packages in its image."""
    serving = install("serving", project / "requirements.txt", work)
    return Environment(
        project,
        project / ".venv" / "bin" / "python",
        installed_megabytes(serving),
        installed_packages(serving),
        models,
    )


def write_models(project: Path, folder: Path, here: Path = HERE) -> None:
    """Train the models and write them for every server; ``here`` is the benchmark that fits the project."""
    run(project / ".venv" / "bin" / "python", here / "models.py", folder, project)


def describe(reference: str) -> str:
    """Return the name of the commit that ``reference`` means: its tag or its hash."""
    return run("git", "describe", "--always", "--abbrev=12", reference, cwd=ROOT).strip()


def of_release_before(name: str, work: Path) -> Environment:
    """Return the project as the template of that commit generates it, with its own models, created once."""
    folder = work / "before" / name
    template, generated, models = (folder / part for part in ("template", "generated", "models"))
    complete = folder / ".complete"
    if not complete.exists():
        shutil.rmtree(folder, ignore_errors=True)
        template.mkdir(parents=True)
        archive = folder / "template.tar"
        run("git", "archive", f"--output={archive}", name, cwd=ROOT)
        shutil.unpack_archive(archive, template, filter="data")
        project = bake(template, generated)
        write_models(project, models, template / "bench" / "serving")
        complete.touch()
    (project,) = generated.iterdir()
    return of_project(project, work, models)
