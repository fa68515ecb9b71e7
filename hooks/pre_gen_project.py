"""Reject invalid answers before any file is written, and set aside files that the bake could overwrite."""

from __future__ import annotations

import os
import sys

# cookiecutter runs this file from the temporary folder, where a stray json.py would shadow the real one.
if os.path.dirname(__file__) in sys.path:
    sys.path.remove(os.path.dirname(__file__))

import json
import re
import unicodedata
from collections import namedtuple
from collections.abc import Callable

# Every task size that Fargate offers: CPU units to MiB of memory.
FARGATE_MEMORY = {
    256: (512, 1024, 2048),
    512: tuple(range(1024, 4096 + 1, 1024)),
    1024: tuple(range(2048, 8192 + 1, 1024)),
    2048: tuple(range(4096, 16384 + 1, 1024)),
    4096: tuple(range(8192, 30720 + 1, 1024)),
    8192: tuple(range(16384, 61440 + 1, 4096)),
    16384: tuple(range(32768, 122880 + 1, 8192)),
}

AREAS = (
    "af-south ap-east ap-northeast ap-south ap-southeast ca-central ca-west cn-north cn-northwest "
    "eu-central eu-north eu-south eu-west il-central me-central me-south mx-central sa-east sa-west "
    "us-east us-gov-east us-gov-west us-west"
).split()


# A check of one answer; `rule` continues a sentence that begins with the answer.
Rule = namedtuple("Rule", ["answer", "accepts", "rule", "example", "hint"], defaults=[lambda _: ""])


def matches(pattern: str) -> Callable[[str], bool]:
    """Return a check that the whole answer matches ``pattern``, ASCII only."""
    return lambda value: re.fullmatch(pattern, value, re.ASCII) is not None


def is_printable_line(value: str, longest: int) -> bool:
    """Whether a value is one line that TOML, YAML and HTML can all hold, without template code."""
    unprintable = {"Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp"}
    return (
        0 < len(value) <= longest
        and value == value.strip()
        and not any(unicodedata.category(character) in unprintable for character in value)
        and not re.search(r"\{[#%{]", value)
    )


def is_port(value: str) -> bool:
    return matches("[1-9][0-9]{3,4}")(value) and 1024 <= int(value) <= 65535


# Suffixes that names on AWS add to a project's slug.
DERIVED_ENDS = ("-staging", "-production", "-bootstrap")


def is_slug(value: str) -> bool:
    is_name = matches("[a-z][a-z0-9]*(-[a-z0-9]+)*")(value) and 3 <= len(value) <= 31
    return is_name and not value.endswith(DERIVED_ENDS)


def is_region(value: str) -> bool:
    area, _, number = value.rpartition("-")
    return area in AREAS and matches("[1-9]")(number)


def closest_region(value: str) -> str:
    """Suggest the intended region: swapped letters first, then the most similar name."""
    from difflib import SequenceMatcher

    given = value.strip().lower()
    number = given[-1:] if matches("[1-9]")(given[-1:]) else "1"
    likeness = {
        region: (sorted(region) == sorted(given), SequenceMatcher(None, given, region).ratio())
        for region in (f"{area}-{number}" for area in AREAS)
    }
    closest = max(likeness, key=lambda region: likeness[region])
    return f"did you mean {closest}?" if likeness[closest] > (False, 0.7) else ""


def is_gitlab_path(value: str) -> bool:
    return matches(r"\w[\w.-]*(/\w[\w.-]*)+")(value) and not value.endswith((".git", ".atom", "."))


def is_network(value: str) -> bool:
    if not matches(r"([0-9]{1,3}\.){3}[0-9]{1,3}/[0-9]{1,2}")(value):
        return False
    address, bits = value.split("/")
    octets = [int(octet) for octet in address.split(".")]
    number = int.from_bytes(bytes(min(octet, 255) for octet in octets), "big")
    canonical = ".".join(map(str, octets)) + f"/{int(bits)}"
    hosts = (1 << 32 >> min(int(bits), 32)) - 1
    return value == canonical and max(octets) <= 255 and int(bits) <= 32 and not number & hosts


def enclosing_network(value: str) -> str:
    from ipaddress import IPv4Network  # only here: it takes a fifth of this hook's time

    try:
        return f"did you mean {IPv4Network(value, strict=False)}?"
    except ValueError:
        return ""


def is_task_cpu(value: str) -> bool:
    return value in map(str, FARGATE_MEMORY)


RULES = (
    Rule(
        "project_name",
        lambda value: is_printable_line(value, 100),
        "must be 1 to 100 printable characters on one line, with no space at either end "
        "and no template code",
        "Churn Model",
    ),
    Rule(
        "project_slug",
        is_slug,
        "must be 3 to 31 lower-case letters, digits and single hyphens, starting with a letter and not ending "
        f"with a hyphen or with {', '.join(DERIVED_ENDS)}, like names of other projects on AWS",
        "churn-model",
    ),
    Rule(
        "description",
        lambda value: is_printable_line(value, 500),
        "must be 1 to 500 printable characters on one line, with no space at either end "
        "and no template code",
        "Predicts which customers leave.",
    ),
    Rule("aws_account_id", matches("[0-9]{12}"), "must be 12 digits", "123456789012"),
    Rule("aws_region", is_region, "must be an AWS region", "eu-central-1", closest_region),
    Rule(
        "cluster_name",
        lambda value: matches("[A-Za-z](-?[A-Za-z0-9])*")(value) and len(value) <= 99,
        "must be 1 to 99 letters, digits and single hyphens, starting with a letter "
        "(it becomes part of a CloudFormation stack's name)",
        "models",
    ),
    Rule(
        "container_port",
        is_port,
        "must be a whole number from 1024 to 65535 (the container does not run as root)",
        "5000",
    ),
    Rule(
        "task_cpu",
        is_task_cpu,
        "must be a CPU size of Fargate: " + ", ".join(map(str, FARGATE_MEMORY)),
        "256",
    ),
    Rule(
        "gitlab_project",
        is_gitlab_path,
        "must be the project's path with its groups, GROUP/PROJECT, as in its URL",
        "data-science/churn-model",
    ),
    Rule(
        "allowed_cidr",
        is_network,
        "must be an IPv4 network, ADDRESS/BITS",
        "203.0.113.0/24",
        enclosing_network,
    ),
)
EVERYONE = "0.0.0.0/0"
EVERYONE_RULE = Rule(
    "allowed_cidr",
    EVERYONE.__eq__,
    "must be everyone with deploy_tool express: ECS opens its load balancer to all. To keep others out, use an API key "
    "or private subnets",
    EVERYONE,
)


def fault(rule: Rule, value: str) -> str:
    """Return one line with the answer, its value, the rule and an example."""
    hint = rule.hint(value)
    return f"{rule.answer}: {value!r} {rule.rule}, for example {rule.example}" + (
        f" - {hint}" if hint else ""
    )


def task_memory_rule(cpu: str) -> Rule:
    """Allow the memory sizes that Fargate offers with ``cpu``, or all sizes if ``cpu`` is invalid."""
    if is_task_cpu(cpu):
        sizes = FARGATE_MEMORY[int(cpu)]
        rule = f"must be a memory size that Fargate offers with task_cpu {cpu}: {', '.join(map(str, sizes))}"
    else:
        sizes = sorted(set().union(*FARGATE_MEMORY.values()))
        rule = "must be a memory size of Fargate in MiB"
    return Rule("task_memory", lambda value: value in map(str, sizes), rule, str(sizes[0]))


def find_faults(answers: dict[str, str]) -> list[str]:
    """Return one line for each answer that breaks its rule."""
    rules = [*RULES, task_memory_rule(answers["task_cpu"])]
    if answers.get("deploy_tool") == "express" and is_network(answers["allowed_cidr"]):
        rules.append(EVERYONE_RULE)
    return [
        fault(rule, answers[rule.answer])
        for rule in rules
        if not rule.accepts(answers[rule.answer])
    ]


def derive(answers: dict[str, str]) -> dict[str, str]:
    """Derive the template's private variables from valid answers."""
    region = answers["aws_region"]
    framework = answers["model_framework"]
    kind = "files" if framework == "python" else "onnx"
    sample = "digits" if framework == "pytorch" else "penguins"
    partitions = {"cn-": "aws-cn", "us-": "aws-us-gov" if region.startswith("us-gov-") else "aws"}
    suffix = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
    description = answers["description"].replace("\\", "\\\\").replace('"', '\\"')
    return {
        "__infrastructure": "ecs-cli" if answers["deploy_tool"] == "ecs-cli" else "stacks",
        "__model_format": kind,
        "__sample": "iris" if framework in ("onnx", "python") else sample,
        "__model_file": "model/files" if kind == "files" else "model/model.onnx",
        "__description_quoted": f'"{description}"',
        "__workers": str(max(1, int(answers["task_cpu"]) // 1024)),
        "__aws_partition": partitions.get(region[:3], "aws"),
        "__aws_dns_suffix": suffix,
        "__ecr_registry": f"{answers['aws_account_id']}.dkr.ecr.{region}.{suffix}",
    }


def find_overrides(answers: dict[str, str]) -> list[str]:
    """Return one line for each private variable that the command line or a configuration overrides."""
    return [
        f"{name}: {answers[name]!r} was given, but {value!r} follows from the answers. Leave it out"
        for name, value in derive(answers).items()
        if str(answers[name]) != value
    ]


STAGE = ".variants"
BEFORE = os.path.join(STAGE, "before")
# Bytes: twice the size of a project with all its variants.
SPACE = 12_000_000
# The entries of a project's root, for any answers: nothing else can be overwritten.
ENTRIES = (
    ".dockerignore .gitattributes .gitignore .gitlab-ci.yml .yamllint.yaml AGENTS.md CONTRIBUTING.md Dockerfile "
    "Makefile README.md application.py compose.override.yaml compose.yaml deploy docker-compose.yml docs ecs-params.yml "
    "ecs-trust-policy.json inference model pyproject.toml rehearsal renovate.json requirements "
    "requirements.txt tests training"
).split()


def find_hindrance(answers: dict[str, str]) -> str:
    """Return why no project can be written here and how to fix that, or an empty string."""
    if "cookiecutter" in answers["__model_file"]:
        return (
            "this cookiecutter is too old: 2.1 or later is required. "
            "Run a newer one: pipx run 'cookiecutter>=2.1' TEMPLATE, or upgrade: "
            "python3 -m pip install --upgrade 'cookiecutter>=2.1'"
        )
    if os.path.lexists(STAGE):
        return (
            f"{os.path.abspath(STAGE)} is left over from an interrupted bake. If it has a folder named before, "
            f"your files are there: run cp -a {BEFORE}/. . in the project. "
            f"Then delete {STAGE} and bake again"
        )
    if not os.access(".", os.W_OK | os.X_OK):
        return f"{os.getcwd()} is not writable. Change its permissions, or bake elsewhere"
    if free_space() < SPACE:
        return (
            f"{os.getcwd()} has {free_space() // 1000} kB free and a project needs {SPACE // 1000}. "
            "Free some space, or bake elsewhere"
        )
    return ""


def free_space() -> float:
    """Return the free bytes here; infinite if the system does not report them."""
    if not hasattr(os, "statvfs"):
        return float("inf")
    system = os.statvfs(".")
    return system.f_bavail * system.f_frsize if system.f_blocks else float("inf")


def set_aside() -> None:
    """Move files that the bake could overwrite to .variants/before; the other hook moves them back."""
    os.makedirs(BEFORE)
    moved = []
    try:
        with open(os.path.join(STAGE, "entries"), "x", encoding="utf-8") as file:
            file.write("\n".join(ENTRIES))
        # The bake renders this file, unless it skips existing files.
        with open(os.path.join(STAGE, "README.md"), "x", encoding="utf-8"):
            pass
        for entry in filter(os.path.lexists, ENTRIES):
            os.rename(entry, os.path.join(BEFORE, entry))
            moved.append(entry)
    except BaseException:
        for entry in moved:
            os.rename(os.path.join(BEFORE, entry), entry)
        os.rmdir(BEFORE)
        for name in os.listdir(STAGE):
            os.unlink(os.path.join(STAGE, name))
        os.rmdir(STAGE)
        raise


def delete_itself() -> None:
    """Delete this file if it is the temporary copy that cookiecutter leaves behind."""
    if os.path.basename(__file__).startswith("tmp"):
        os.unlink(__file__)


def main() -> int:
    sys.stderr.reconfigure(errors="backslashreplace")
    answers = json.loads(r"""{{ cookiecutter | tojson }}""")
    hindrance = find_hindrance(answers)
    faults = [] if hindrance else find_faults(answers) or find_overrides(answers)
    if not hindrance and not faults and os.listdir():
        try:
            set_aside()
        except OSError as error:
            hindrance = f"could not move existing files aside: {error}. Nothing was changed"
    if hindrance:
        print(f"The project was not generated: {hindrance}.", file=sys.stderr)
    if faults:
        print("The project was not generated. Wrong answers:", *faults, sep="\n  ", file=sys.stderr)
    return 1 if hindrance or faults else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    finally:
        delete_itself()
