"""Check the rendered project as a whole, then say what to do next."""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path
from typing import Iterator

# Where an answer stands in the rendered files: file, what surrounds it, answer.
AGREEMENTS = (
    ("Dockerfile", r"\nEXPOSE (.*)\n", "container_port"),
    ("Dockerfile", r"\n +PORT=(.*)\n", "container_port"),
    ("docker-compose.yml", r'\n    ports:\n      - "(.*):.*"\n', "container_port"),
    ("docker-compose.yml", r'\n    ports:\n      - ".*:(.*)"\n', "container_port"),
    ("inference/config.py", r"\n    port: .* = (.*)\n", "container_port"),
    ("Makefile", r"\nexport SERVICE_PORT := (.*)\n", "container_port"),
    ("docker-compose.yml", r"\nservices:\n  (.*):\n", "project_slug"),
    ("docker-compose.yml", r"\n    image: \$\{IMAGE:-(.*):dev\}\n", "project_slug"),
    ("compose.override.yaml", r"\nservices:\n  (.*):\n", "project_slug"),
    ("ecs-params.yml", r"\n  services:\n    (.*):\n", "project_slug"),
    ("Makefile", r"\nexport ECR_REPOSITORY := (.*)\n", "project_slug"),
    ("Makefile", r"\nexport SERVICE := (.*)\n", "project_slug"),
    ("ecs-params.yml", r'\n    cpu_limit: "(.*)"\n', "task_cpu"),
    ("ecs-params.yml", r'\n    mem_limit: "(.*)"\n', "task_memory"),
    ("docker-compose.yml", r"\n        awslogs-region: (.*)\n", "aws_region"),
    ("Makefile", r"\nexport AWS_REGION := (.*)\n", "aws_region"),
)

# In two parts, because this file is rendered as well.
LEFTOVER = re.compile(rb"\{" rb"\{-?\s*cookiecutter|\{" rb"%")


def project_files() -> Iterator[Path]:
    """All files of the project but those in hidden folders, which may be its owner's."""
    for folder, subfolders, names in os.walk("."):
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        yield from (Path(folder, name) for name in sorted(names))


def find_unparsable() -> Iterator[str]:
    """JSON and YAML files that do not parse."""
    # Not in the standard library, but wherever cookiecutter is, which depends on it.
    import yaml

    loader = getattr(yaml, "CBaseLoader", yaml.BaseLoader)
    for path in project_files():
        try:
            if path.suffix == ".json":
                json.loads(path.read_text(encoding="utf-8"))
            elif path.suffix in {".yml", ".yaml"}:
                yaml.compose(path.read_text(encoding="utf-8"), Loader=loader)
        except (ValueError, yaml.YAMLError) as error:
            yield f"{path}: does not parse: {' '.join(str(error).split())}"


def find_disagreements(answers: dict[str, str]) -> Iterator[str]:
    """Places where a file does not say what the answer says."""
    for file, pattern, answer in AGREEMENTS:
        found = re.search(pattern, Path(file).read_text(encoding="utf-8"))
        if not found:
            yield f"{file}: {answer} is not where it should be"
        elif found[1] != answers[answer]:
            yield f"{file}: has {found[1]!r} where {answer} is {answers[answer]!r}"


def find_leftovers() -> Iterator[str]:
    """Files in which template code was left; pages are templates of the service's own."""
    for path in project_files():
        if path.suffix != ".html" and LEFTOVER.search(path.read_bytes()):
            yield f"{path}: holds template code"


def main() -> int:
    answers = json.loads(r"""{{ cookiecutter | tojson }}""")
    faults = [*find_unparsable(), *find_disagreements(answers), *find_leftovers()]
    if faults:
        sys.stderr.reconfigure(errors="backslashreplace")
        print(
            "The project was not generated. Its files are wrong:",
            *faults,
            sep="\n  ",
            file=sys.stderr,
        )
        return 1
    print(
        f"Generated {answers['project_slug']}. Next:",
        f"cd {answers['project_slug']}",
        "make setup train test    install, train the sample model, run the tests",
        "make run                 serve it on this machine",
        "make help                everything else, up to make deploy",
        sep="\n  ",
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
