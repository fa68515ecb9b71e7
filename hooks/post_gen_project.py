"""Install the chosen variants, check the whole project, and print the next steps."""

from __future__ import annotations

import os
import sys

# cookiecutter runs this file from the temporary folder, where a stray json.py would shadow the real one.
if os.path.dirname(__file__) in sys.path:
    sys.path.remove(os.path.dirname(__file__))

import json
import re
import shutil
from collections import namedtuple
from collections.abc import Iterable, Iterator


def in_compose(file: str) -> tuple[tuple[str, str, str], ...]:
    """Return the places of answers in a compose file."""
    return (
        (file, r'\n    ports:\n      - "\$\{PORT:-(.*)\}:.*"\n', "container_port"),
        (file, r'\n    ports:\n      - ".*:(.*)"\n', "container_port"),
        (file, r"\nservices:\n  (.*):\n", "project_slug"),
        (file, r"\n    image: \$\{IMAGE:-(.*):dev\}\n", "project_slug"),
    )


# Places of answers in the rendered files: file, pattern with the value as its group, name of the answer.
AGREEMENTS = (
    ("Dockerfile", r"\nEXPOSE (.*)\n", "container_port"),
    ("Dockerfile", r"\n +PORT=(.*)\n", "container_port"),
    ("inference/config.py", r"\n    port: .* = (.*)\n", "container_port"),
    ("Makefile", r"\nexport SERVICE_PORT := (.*)\n", "container_port"),
    ("Makefile", r"\nexport ECR_REPOSITORY := (.*)\n", "project_slug"),
    ("Makefile", r"\nexport SERVICE := (.*)\n", "project_slug"),
    ("Makefile", r"\nexport AWS_REGION := (.*)\n", "aws_region"),
)
IN_STACKS = (
    *in_compose("compose.yaml"),
    ("deploy/service.yml", r'\n  Cpu:\n    Type: String\n    Default: "(.*)"\n', "task_cpu"),
    ("deploy/service.yml", r'\n  Memory:\n    Type: String\n    Default: "(.*)"\n', "task_memory"),
    ("deploy/service.yml", r"\n            - \{ContainerPort: (.*), Protocol", "container_port"),
    ("deploy/service.yml", r"\n      ServiceName: (.*)\n      Cluster:", "project_slug"),
    ("deploy/bootstrap.yml", r"\n      RepositoryName: (.*)\n", "project_slug"),
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
    "express": IN_STACKS,
    "cloudformation": (
        *IN_STACKS,
        ("deploy/service.yml", r"\n    AllowedPattern: .*:acm:([a-z0-9-]*):", "aws_region"),
    ),
}

# Split in two, because cookiecutter renders this file, too.
LEFTOVER = re.compile(r"\{" r"\{-?\s*cookiecutter|\{" r"%")


STAGE = ".variants"
# The pre-generation hook moved existing files to BEFORE; the files of this bake wait in FRESH until they are checked.
BEFORE = os.path.join(STAGE, "before")
FRESH = os.path.join(STAGE, "fresh")
ENTRIES = os.path.join(STAGE, "entries")
# Backups of files that the template's files replaced.
REPLACED = ".before-bake"


def withdraw() -> None:
    """Remove what this bake wrote and restore the folder; resume if interrupted before."""
    os.makedirs(FRESH, exist_ok=True)
    if not os.path.isdir(BEFORE):
        move(set(os.listdir()) - {STAGE}, ".", FRESH)
        return
    # From here on, the root holds only the owner's files.
    if os.path.exists(ENTRIES):
        with open(ENTRIES, encoding="utf-8") as file:
            move(filter(os.path.lexists, file.read().split()), ".", FRESH)
        os.unlink(ENTRIES)
    move(os.listdir(BEFORE), BEFORE, ".")
    os.rmdir(BEFORE)


def move(entries: Iterable[str], source: str, target: str) -> None:
    for entry in entries:
        os.rename(os.path.join(source, entry), os.path.join(target, entry))


def keep_chosen(answers: dict[str, str], root: str) -> set[str]:
    """Move the chosen files from .variants/ANSWER/CHOICE into place; return the places of the others."""
    others = set()
    for answer in answers.keys() & set(os.listdir(STAGE)):
        for path in files_below(os.path.join(STAGE, answer)):
            choice, _, place = path.partition(os.sep)
            if choice == answers[answer]:
                target = os.path.join(root, place)
                os.makedirs(os.path.dirname(target), exist_ok=True)
                os.replace(os.path.join(STAGE, answer, path), target)
            else:
                others.add(place)
    return others


def files_below(root: str, *parts: str) -> Iterator[str]:
    """Yield all files below ``root``, as paths relative to it."""
    for entry in sorted(os.listdir(os.path.join(root, *parts))):
        path = os.path.join(*parts, entry)
        if path == STAGE:
            continue
        if os.path.isdir(os.path.join(root, path)):
            yield from files_below(root, path)
        else:
            yield path


def read(path: str) -> str:
    """Return the text of a file with its line endings unchanged."""
    with open(path, encoding="utf-8", errors="replace", newline="") as file:
        return file.read()


def make_executable(path: str) -> None:
    """Make a script executable for whoever may read it; a template from a .zip loses that bit."""
    mode = os.stat(path).st_mode
    if not mode & 0o100:
        os.chmod(path, mode | (mode & 0o444) >> 2)


def find_faults(texts: dict[str, str], answers: dict[str, str]) -> list[str]:
    """Return the faults in the files of this bake, one line each."""
    return [*find_windows_line_ends(texts)] or [
        *find_unparsable(texts),
        *find_disagreements(texts, answers),
        *find_leftovers(texts),
    ]


def find_windows_line_ends(texts: dict[str, str]) -> Iterator[str]:
    """Yield one line if any text has a CR LF, with which scripts do not start."""
    paths = [path for path, text in texts.items() if "\r\n" in text and "\0" not in text]
    if paths:
        yield (
            f"{paths[0]}: has Windows line endings (CR LF), one of {len(paths)} such files. "
            "Clone the template with git clone --config core.autocrlf=false, and bake again"
        )


def find_unparsable(texts: dict[str, str]) -> Iterator[str]:
    """Yield JSON and YAML files that do not parse."""
    # Not in the standard library, but always installed: cookiecutter depends on it.
    import yaml

    loader = getattr(yaml, "CBaseLoader", yaml.BaseLoader)
    for path, text in texts.items():
        try:
            if path.endswith(".json"):
                json.loads(text)
            elif path.endswith((".yml", ".yaml")):
                yaml.compose(text, Loader=loader)
        except (ValueError, yaml.YAMLError) as error:
            yield f"{path}: does not parse: {' '.join(str(error).split())}"


def find_disagreements(texts: dict[str, str], answers: dict[str, str]) -> Iterator[str]:
    """Yield the places where a file disagrees with an answer."""
    for file, pattern, answer in AGREEMENTS + AGREEMENTS_OF_TOOL[answers["deploy_tool"]]:
        found = re.search(pattern, texts[os.path.normpath(file)])
        if not found:
            yield f"{file}: {answer} is not where it should be"
        elif found[1] != answers[answer]:
            yield f"{file}: has {found[1]!r} where {answer} is {answers[answer]!r}"


def find_leftovers(texts: dict[str, str]) -> Iterator[str]:
    """Yield files with leftover template code, except pages, which are templates of the service."""
    for path, text in texts.items():
        if not path.endswith(".html") and LEFTOVER.search(text):
            yield f"{path}: holds template code"


# The plan of a bake over an existing project: each path is in one of the lists.
Plan = namedtuple("Plan", ["new", "same", "differing"])


def compare(paths: Iterable[str]) -> Plan:
    """Compare the files of this bake with the existing ones."""
    plan = Plan([], [], [])
    for path in paths:
        if not os.path.lexists(path):
            plan.new.append(path)
        elif is_same(path):
            plan.same.append(path)
        else:
            plan.differing.append(path)
    return plan


def is_same(path: str) -> bool:
    if not os.path.isfile(path) or not os.access(path, os.R_OK):
        return False
    with open(path, "rb") as here, open(os.path.join(FRESH, path), "rb") as fresh:
        return here.read() == fresh.read()


def find_obstacles(plan: Plan, keep: bool) -> list[str]:
    """Return why files cannot be written, one line each; with ``keep`` only new files are written."""
    obstacles = [blocked_by(path) for path in plan.new]
    if not keep:
        obstacles += [unwritable(path) for path in plan.differing]
    return sorted(set(obstacles) - {""})


def blocked_by(path: str) -> str:
    """Return why the closest existing parent folder blocks a new file, or an empty string."""
    folder = os.path.dirname(path)
    while folder and not os.path.lexists(folder):
        folder = os.path.dirname(folder)
    if folder and not os.path.isdir(folder):
        return f"{folder}: is not a folder, and the template has one of that name; move it away"
    if not os.access(folder or ".", os.W_OK | os.X_OK):
        return f"{folder or '.'}: cannot be written to; change its permissions"
    return ""


def unwritable(path: str) -> str:
    """Return why a file cannot be backed up and overwritten, or an empty string."""
    if not os.path.isfile(path):
        return f"{path}: is not a file, and the template has one of that name; move it away"
    if not os.access(path, os.R_OK | os.W_OK):
        return f"{path}: cannot be read or written; change its permissions, or bake with -f -s"
    return ""


class Writer:
    """Write the files of this bake into place, and undo all of it if needed."""

    def __init__(self) -> None:
        self.folder = REPLACED
        number = 1
        while os.path.lexists(self.folder):
            number += 1
            self.folder = f"{REPLACED}-{number}"
        self.replaced = []
        self.made = []

    def replace(self, path: str) -> None:
        """Back up a file, then overwrite it in place, so that links and permissions stay."""
        copy = os.path.join(self.folder, path)
        self.make_folder(os.path.dirname(copy))
        if not self.replaced:
            ignore = os.path.join(self.folder, ".gitignore")
            self.made.append(ignore)
            with open(ignore, "x", encoding="utf-8") as file:
                file.write("*\n")
        self.made.append(copy)
        shutil.copy2(path, copy)
        self.replaced.append(path)
        write_through(os.path.join(FRESH, path), path)

    def add(self, path: str) -> None:
        """Write a new file."""
        self.make_folder(os.path.dirname(path))
        self.made.append(path)
        shutil.move(os.path.join(FRESH, path), path)

    def make_folder(self, folder: str) -> None:
        """Create a folder and its parents."""
        if folder and not os.path.isdir(folder):
            self.make_folder(os.path.dirname(folder))
            os.mkdir(folder)
            self.made.append(folder)

    def undo(self) -> None:
        """Restore replaced files; delete created ones."""
        for path in self.replaced:
            write_through(os.path.join(self.folder, path), path)
        for path in reversed(self.made):
            if os.path.isdir(path):
                os.rmdir(path)
            elif os.path.lexists(path):
                os.unlink(path)


def write_through(source: str, path: str) -> None:
    """Overwrite a file with the bytes of another, without truncating it first."""
    with open(source, "rb") as file:
        content = file.read()
    with open(path, "r+b") as file:
        file.write(content)
        file.truncate()


def write(plan: Plan, texts: dict[str, str], keep: bool) -> str:
    """Carry out the whole plan or none of it; return the backup folder."""
    writer = Writer()
    try:
        for path in [] if keep else plan.differing:
            writer.replace(path)
        for path in [] if keep else plan.same + plan.differing:
            if texts[path].startswith("#!"):
                make_executable(path)
        for path in plan.new:
            writer.add(path)
    except BaseException:
        writer.undo()
        raise
    return writer.folder


def report(plan: Plan, others: set[str], keep: bool, folder: str) -> Iterator[str]:
    """Yield what a bake over a project did with the existing files, one line each."""
    if plan.differing and keep:
        names = ", ".join(sorted(plan.differing))
        yield (
            f"Kept files that differ from the template: {names}.\n"
            "A bake with -f and without -s replaces them, and keeps the old ones beside."
        )
    elif plan.differing:
        yield (
            f"Replaced files that differed from the template: {name_some(plan.differing)}.\n"
            f"The old files are in {folder}: take what you need from there, then delete that folder."
        )
    left = sorted(filter(os.path.lexists, others.difference(*plan)))
    if left:
        # All of them, to be pasted behind git rm: nothing else tells them from the owner's.
        yield (
            f"Left files that belong to other answers: {' '.join(left)}\n"
            "Delete those that you do not need: the project's own checks do not expect them."
        )


def name_some(paths: list[str]) -> str:
    """List the paths, or the first of them and the number of the rest."""
    some = paths if len(paths) <= 8 else [*paths[:7], f"{len(paths) - 7} more"]
    return " and ".join(filter(None, (", ".join(some[:-1]), some[-1])))


def finish(answers: dict[str, str]) -> tuple[list[str], list[str]]:
    """Turn the files of this bake into a project; return the faults, or else the lines to report."""
    is_over_something = os.path.isdir(BEFORE)
    root = FRESH if is_over_something else "."
    if is_over_something:
        withdraw()
    others = keep_chosen(answers, root)
    texts = {path: read(os.path.join(root, path)) for path in files_below(root)}
    faults = find_faults(texts, answers)
    if faults:
        return faults, []
    for path, text in texts.items():
        if text.startswith("#!"):
            make_executable(os.path.join(root, path))
    if not is_over_something:
        return [], []
    keep = os.path.getsize(os.path.join(STAGE, "README.md")) == 0
    plan = compare(texts)
    obstacles = find_obstacles(plan, keep)
    if obstacles:
        return obstacles, []
    folder = write(plan, texts, keep)
    return [], [*report(plan, others, keep, folder)]


def clean_up(is_failed: bool, is_over_something: bool) -> None:
    """Delete leftovers of this bake, or all of it if it failed, and nothing that was there before."""
    if is_failed and (os.path.isdir(BEFORE) or not is_over_something):
        withdraw()
    shutil.rmtree(STAGE)


def delete_itself() -> None:
    """Delete this file if it is the temporary copy that cookiecutter leaves behind."""
    if os.path.basename(__file__).startswith("tmp"):
        os.unlink(__file__)


def main() -> int:
    sys.stdout.reconfigure(errors="backslashreplace")
    sys.stderr.reconfigure(errors="backslashreplace")
    answers = json.loads(r"""{{ cookiecutter | tojson }}""")
    is_over_something = os.path.isdir(BEFORE)
    faults = ["interrupted"]
    try:
        faults, lines = finish(answers)
    except OSError as error:
        faults = [f"could not write: {error}"]
    finally:
        clean_up(bool(faults), is_over_something)
    if faults:
        result = "your files are unchanged" if is_over_something else "its files are wrong"
        header = f"The project was not generated, {result}:"
        print(header, *faults, sep="\n  ", file=sys.stderr)
        return 1
    first = "  make setup train test    install, train the sample model, run the tests"
    if lines:
        first = "  make setup train test    install, train and test, once all files are as you want them"
    print(
        *lines,
        f"Generated {answers['project_slug']}. Next:",
        f"  cd {answers['project_slug']}",
        first,
        "  make run                 serve it on this machine",
        "  make targets             everything else, up to make deploy",
        sep="\n",
    )
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    finally:
        delete_itself()
