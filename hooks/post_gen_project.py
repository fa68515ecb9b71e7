"""Keep what was chosen, check the project as a whole, and say what to do next."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from collections.abc import Iterator


def in_compose(file: str) -> tuple[tuple[str, str, str], ...]:
    """Where answers stand in a compose file."""
    return (
        (file, r'\n    ports:\n      - "\$\{PORT:-(.*)\}:.*"\n', "container_port"),
        (file, r'\n    ports:\n      - ".*:(.*)"\n', "container_port"),
        (file, r"\nservices:\n  (.*):\n", "project_slug"),
        (file, r"\n    image: \$\{IMAGE:-(.*):dev\}\n", "project_slug"),
    )


# Where an answer stands in the rendered files: file, what surrounds it, answer.
AGREEMENTS = (
    ("Dockerfile", r"\nEXPOSE (.*)\n", "container_port"),
    ("Dockerfile", r"\n +PORT=(.*)\n", "container_port"),
    ("inference/config.py", r"\n    port: .* = (.*)\n", "container_port"),
    ("Makefile", r"\nexport SERVICE_PORT := (.*)\n", "container_port"),
    ("Makefile", r"\nexport ECR_REPOSITORY := (.*)\n", "project_slug"),
    ("Makefile", r"\nexport SERVICE := (.*)\n", "project_slug"),
    ("Makefile", r"\nexport AWS_REGION := (.*)\n", "aws_region"),
)
AGREEMENTS_OF_TOOL = {
    "ecs-cli": (
        *in_compose("docker-compose.yml"),
        ("docker-compose.yml", r"\n        awslogs-region: (.*)\n", "aws_region"),
        ("compose.override.yaml", r"\nservices:\n  (.*):\n", "project_slug"),
        ("ecs-params.yml", r"\n  services:\n    (.*):\n", "project_slug"),
        ("ecs-params.yml", r'\n    cpu_limit: "(.*)"\n', "task_cpu"),
        ("ecs-params.yml", r'\n    mem_limit: "(.*)"\n', "task_memory"),
    ),
    "cloudformation": (
        *in_compose("compose.yaml"),
        ("deploy/service.yml", r'\n  Cpu:\n    Type: String\n    Default: "(.*)"\n', "task_cpu"),
        (
            "deploy/service.yml",
            r'\n  Memory:\n    Type: String\n    Default: "(.*)"\n',
            "task_memory",
        ),
        (
            "deploy/service.yml",
            r"\n            - \{ContainerPort: (.*), Protocol",
            "container_port",
        ),
        ("deploy/service.yml", r"\n      ServiceName: (.*)\n", "project_slug"),
        ("deploy/service.yml", r"\n    AllowedPattern: .*:acm:([a-z0-9-]*):", "aws_region"),
        ("deploy/bootstrap.yml", r"\n      RepositoryName: (.*)\n", "project_slug"),
    ),
}

# In two parts, because this file is rendered as well.
LEFTOVER = re.compile(r"\{" r"\{-?\s*cookiecutter|\{" r"%")


def keep_chosen(answers: dict[str, str]) -> None:
    """Move the files of variants/ANSWER/CHOICE to their places; delete the others."""
    for answer in os.listdir("variants"):
        chosen = os.path.join("variants", answer, answers[answer])
        for folder, _, names in os.walk(chosen):
            place = os.path.relpath(folder, chosen)
            os.makedirs(place, exist_ok=True)
            for name in names:
                os.replace(os.path.join(folder, name), os.path.join(place, name))
    shutil.rmtree("variants")


def project_files() -> Iterator[str]:
    """All files of the project but those in hidden folders, which may be its owner's."""
    for folder, subfolders, names in os.walk("."):
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        yield from (os.path.normpath(os.path.join(folder, name)) for name in sorted(names))


def read(path: str) -> str:
    """The text of a file; bytes that are not UTF-8, in a file of its owner's, do not matter."""
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read()


def find_unparsable() -> Iterator[str]:
    """JSON and YAML files that do not parse."""
    # Not in the standard library, but wherever cookiecutter is, which depends on it.
    import yaml

    loader = getattr(yaml, "CBaseLoader", yaml.BaseLoader)
    for path in project_files():
        try:
            if path.endswith(".json"):
                json.loads(read(path))
            elif path.endswith((".yml", ".yaml")):
                yaml.compose(read(path), Loader=loader)
        except (ValueError, yaml.YAMLError) as error:
            yield f"{path}: does not parse: {' '.join(str(error).split())}"


def find_disagreements(answers: dict[str, str]) -> Iterator[str]:
    """Places where a file does not say what the answer says."""
    for file, pattern, answer in AGREEMENTS + AGREEMENTS_OF_TOOL[answers["deploy_tool"]]:
        found = re.search(pattern, read(file))
        if not found:
            yield f"{file}: {answer} is not where it should be"
        elif found[1] != answers[answer]:
            yield f"{file}: has {found[1]!r} where {answer} is {answers[answer]!r}"


def find_leftovers() -> Iterator[str]:
    """Files in which template code was left; pages are templates of the service's own."""
    for path in project_files():
        if not path.endswith(".html") and LEFTOVER.search(read(path)):
            yield f"{path}: holds template code"


def main() -> int:
    answers = json.loads(r"""{{ cookiecutter | tojson }}""")
    keep_chosen(answers)
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
