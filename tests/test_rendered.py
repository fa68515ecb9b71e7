"""Every project of the matrix: its files parse, pass their schemas and linters, and agree."""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from fnmatch import fnmatch

import pytest
import yaml
from conftest import (
    ANSWERS,
    CHOICES,
    CONTEXT,
    MATRIX,
    PROJECT_TEMPLATE,
    bake_with,
    environment_with,
    image_tag,
    load_yaml,
)
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from markupsafe import escape

ROOT_FILES = {
    ".dockerignore",
    ".gitattributes",
    ".gitignore",
    ".gitlab-ci.yml",
    ".yamllint.yaml",
    "AGENTS.md",
    "CONTRIBUTING.md",
    "Dockerfile",
    "Makefile",
    "README.md",
    "application.py",
    "pyproject.toml",
    "renovate.json",
    "requirements.txt",
}
ROOT_FILES_OF_TOOL = {
    "cloudformation": {"compose.yaml"},
    "express": {"compose.yaml"},
    "ecs-cli": {
        "compose.override.yaml",
        "docker-compose.yml",
        "ecs-params.yml",
        "ecs-trust-policy.json",
    },
}
FOLDERS = {"deploy", "docs", "inference", "model", "rehearsal", "requirements", "tests", "training"}


def test_matrix_covers_every_answer():
    assert {name for answers in MATRIX for name in answers} == ANSWERS.keys()
    for name, values in CHOICES.items():
        assert {answers.get(name) for answers in MATRIX} >= set(values)


def test_matrix_key_that_is_not_an_answer_fails(cookies):
    with pytest.raises(AssertionError, match="no_such_answer"):
        bake_with(cookies, {"no_such_answer": "x"})


def test_prompts_are_readable_and_choices_labelled():
    prompts = CONTEXT["__prompts__"]
    assert prompts.keys() == ANSWERS.keys()
    labels = {
        name: prompt.keys() - {"__prompt__"}
        for name, prompt in prompts.items()
        if isinstance(prompt, dict)
    }
    assert labels == {name: set(CHOICES[name]) for name in CHOICES if name != "python_version"}


def test_root_holds_what_tools_look_for(project):
    entries = {path.name: path.is_dir() for path in project.path.iterdir()}
    assert {name for name, is_dir in entries.items() if not is_dir} == (
        ROOT_FILES | ROOT_FILES_OF_TOOL[project.deploy_tool]
    )
    assert {name for name, is_dir in entries.items() if is_dir} == FOLDERS


def test_no_file_is_empty_or_ends_untidily(project):
    for file in project.texts():
        text = project.read(file)
        assert text.strip(), file
        assert text.endswith("\n"), file
        assert not text.endswith("\n\n"), file
        assert "\r" not in text, file
        if file.suffix != ".py":  # ruff format checks code
            assert "\n\n\n" not in re.sub("```python.*?```", "code", text, flags=re.DOTALL), file
        assert not re.search(r"[ \t]+$", text, re.MULTILINE), file


def test_no_template_code_is_left(project):
    for file in project.texts():
        text = project.read(file)
        assert "cookiecutter." not in text, file
        assert "{% raw" not in text, file
        assert file.suffix == ".html" or "{%" not in text, file


def test_data_files_parse(project):
    for file in project.files():
        if file.suffix == ".json":
            json.loads(project.read(file))
        elif file.suffix in {".yml", ".yaml"}:
            assert isinstance(load_yaml(project.read(file)), dict)
        elif file.suffix == ".toml":
            tomllib.loads(project.read(file))


def test_scripts_are_executable(project):
    for script in (project.path / "deploy").glob("*.sh"):
        assert os.access(script, os.X_OK) == script.read_text().startswith("#!"), script


@pytest.mark.parametrize(
    "command", ["ruff check", "ruff format --check", "hadolint Dockerfile", "yamllint --strict ."]
)
def test_linters_find_nothing(project, command):
    project.check(*command.split())


@pytest.fixture(scope="session")
def linted():
    """The files that passed the slow linters: most projects share most files byte for byte."""
    return set()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "pattern"),
    [
        ("shellcheck", "deploy/*.sh"),
        ("check-jsonschema --builtin-schema vendor.compose-spec", "*compose*.y*ml"),
        ("check-jsonschema --builtin-schema vendor.gitlab-ci", ".gitlab-ci.yml"),
        ("check-jsonschema --builtin-schema vendor.renovate", "renovate.json"),
    ],
)
def test_slow_linters_find_nothing(project, linted, command, pattern):
    files = {
        path.relative_to(project.path): path.read_bytes() for path in project.path.glob(pattern)
    }
    assert files
    lint = command, *sorted(files.items())
    if lint not in linted:
        project.check(*command.split(), *sorted(files))
        linted.add(lint)


STEPS = {
    "cloudformation": [
        "deploy/doctor.sh",
        "deploy/stack.py bootstrap",
        "aws ecr get-login-password",
        "docker build",
        "deploy/docker-push.sh",
        "deploy/image-scan.sh",
        "deploy/stack.py deploy",
        "deploy/smoke.sh",
        "deploy/url.sh",
    ],
    "ecs-cli": [
        "deploy/doctor.sh",
        "deploy/ecr-create.sh",
        "aws ecr get-login-password",
        "docker build",
        "deploy/docker-push.sh",
        "deploy/image-scan.sh",
        "ecs-cli configure",
        "deploy/iam-role.sh",
        "deploy/cluster-up.sh",
        "deploy/security-group.sh",
        "deploy/service-up.sh",
        "deploy/smoke.sh",
        "deploy/url.sh",
    ],
}
STEPS["express"] = STEPS["cloudformation"]
# Targets that users call, whatever the tool.
COMMON_TARGETS = set(
    "destroy deploy doctor docker-build docker-push ecr-login logs ps release rollback scale smoke url".split()
)


def inference_modules(project):
    """Return each module of the service by its package, "" for the owner's top-level files, with its tree."""
    package = project.path / "inference"
    for path in package.rglob("*.py"):
        room = path.relative_to(package).parts[0] if path.parent != package else ""
        yield path, room, ast.parse(path.read_text())


@pytest.fixture(params=["scikit-learn", "python"])
def each_service(request, bake_once):
    """A project of each format of model: no other answer changes the service's code."""
    return bake_once(model_framework=request.param)


@pytest.mark.parametrize(("is_batch", "most"), [(False, 3250), (True, 700)])
def test_inference_package_is_small_enough_to_read(each_service, is_batch, most):
    statements = [
        node
        for _, room, tree in inference_modules(each_service)
        if (room == "batch") is is_batch
        for node in ast.walk(tree)
        if isinstance(node, ast.stmt)
        and not isinstance(node, ast.Import | ast.ImportFrom)
        and not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))
    ]
    assert 200 < len(statements) <= most


def test_default_project_has_no_more_files_and_lines_than_before(bake_once):
    """Raise the budget only with a reason."""
    project = bake_once()
    locks = {"requirements.txt", "rehearsal/requirements.txt"}
    locks |= {str(file) for file in project.files() if file.match("requirements/*.txt")}
    assert len(locks) == 5
    lines = [project.read(file).count("\n") for file in project.texts() if str(file) not in locks]
    assert len(project.files()) <= 213
    assert sum(lines) <= 24_000


# Each package of the service only imports from those below it; settings and errors are at the bottom. The
# predictor belongs to the owner, the engine runs it.
ROOMS = ("", "http", "batch", "monitoring", "formats", "runtime", "config", "errors")


def test_packages_of_the_service_only_import_downward(each_service):
    upward = []
    for path, room, tree in inference_modules(each_service):
        here = ROOMS.index(path.stem if path.stem in ("config", "errors") else room)
        for node in ast.walk(tree):
            if not (
                isinstance(node, ast.ImportFrom) and (node.module or "").startswith("inference")
            ):
                continue
            for name in [node.module] if "." in node.module else [a.name for a in node.names]:
                there = name.removeprefix("inference.").split(".")[0]
                level = ROOMS.index(there) if there in ROOMS else 0
                if level < here and there != "predictor":
                    upward.append(f"{path.name}: {node.module} {name}")
    assert upward == []


def test_deploy_shows_the_steps_in_order(project):
    plan = project.check("make", "--dry-run", "deploy", "MODEL=README.md")
    places = [plan.index(step) for step in STEPS[project.deploy_tool]]
    assert places == sorted(places)


def test_make_help_says_where_to_start(project):
    text = project.check("make")
    assert re.findall("^  ([a-z]+) +[A-Z]", text, re.MULTILINE) == [
        "setup",
        "train",
        "run",
        "test",
        "rehearse",
        "deploy",
    ]
    for variable in ("ENV=", "FORCE=1", "API_KEY=", "PORT="):
        assert variable in text
    assert "make targets" in text


def test_pages_name_only_targets_that_exist(project):
    pages = [*project.path.glob("*.md"), *project.path.glob("[!.]*/*.md")]
    for page in pages:
        for words in re.findall(r"`make ([^`]+)`", page.read_text()):
            targets = [word for word in words.split() if re.fullmatch(r"[a-z][a-z-]+", word)]
            assert set(targets) <= set(project.targets), (page.name, words)


def test_make_targets_names_every_target(project):
    lines = project.check("make", "targets").splitlines()
    assert sorted(line.split()[0] for line in lines) == sorted(project.targets)
    assert set(project.targets) >= COMMON_TARGETS


def test_project_holds_nothing_of_the_other_deploy_tool(project):
    texts = {file: project.read(file) for file in project.texts()}
    if project.deploy_tool != "ecs-cli":
        strangers = ("ecs-cli", "ecs_cli", "ecs-params", "ecs-trust-policy", "docker-compose.yml")
    else:
        strangers = ("deploy/service.yml", "stack.py", "bootstrap", "elbv2.models")
    for file, text in texts.items():
        for stranger in strangers:
            assert stranger not in text, file


@pytest.mark.parametrize("tool", CHOICES["deploy_tool"])
def test_unknown_environment_is_named(bake_once, tool):
    # In a project with stacks, that once deleted the bootstrap stack, with the images of all environments.
    for target in ("release", "destroy"):
        result = bake_once(deploy_tool=tool).run("make", "--dry-run", target, "ENV=bootstrap")
        assert "ENV is staging or production, not bootstrap" in result.stderr
        assert not result.stdout


@pytest.mark.parametrize("has_apt", [True, False])
def test_job_installs_the_tools_that_its_image_lacks(bake, tmp_path, has_apt):
    project = bake()
    for name in ("bash", "chmod", "sed"):
        (tmp_path / name).symlink_to(shutil.which(name))
    if has_apt:
        apt = tmp_path / "apt-get"
        docker = tmp_path / "docker"
        apt.write_text(f'#!/bin/bash\necho apt-get "$@" >&2\n>{docker}\nchmod +x {docker}\n')
        apt.chmod(0o755)
    command = ["deploy/ci-tools.sh"]
    environment = {"PATH": str(tmp_path), "TOOLS": "bash aws docker gpg"}
    done = subprocess.run(
        command, cwd=project.path, env=environment, capture_output=True, text=True
    )
    assert (done.returncode == 0) == has_apt
    packages = "awscli docker-cli docker-buildx gpg"
    expected = (
        f"apt-get install -qq --no-install-recommends {packages}"
        if has_apt
        else "aws docker gpg is missing, and there is no apt-get to install it"
    )
    assert expected in done.stderr


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ("no such manifest: registry/model:tag", 1),
        ("manifest unknown", 1),
        ("Get https://registry/v2/: connection refused", 2),
        ("unauthorized: authentication required", 2),
    ],
)
def test_image_of_a_registry_that_does_not_answer_is_not_taken_for_missing(
    bake_once, tmp_path, said, code
):
    docker = tmp_path / "docker"
    docker.write_text(f"#!/bin/sh\necho '{said}' >&2\nexit 1\n")
    docker.chmod(0o755)
    environment = {"DOCKER": str(docker), "IMAGE": "registry/model:tag"}
    result = bake_once().run("deploy/image-pushed.sh", **environment)
    assert result.returncode == code
    assert (said in result.stderr) == (code == 2)


def test_step_without_what_it_needs_says_so_and_goes_no_further(bake_once, tmp_path):
    project = bake_once(deploy_tool="ecs-cli")
    # AWS has no credentials, and Docker gets no password.
    said = {
        "aws": ("Unable to locate credentials", 253),
        "no-docker": ("Error: Cannot perform an interactive login from a non TTY device", 1),
    }
    for name, (text, status) in said.items():
        (tmp_path / name).write_text(f"#!/bin/sh\necho '{text}' >&2\nexit {status}\n")
        (tmp_path / name).chmod(0o755)
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    login = project.run("make", "ecr-login", DOCKER="no-docker", PATH=path)
    assert login.returncode != 0
    assert "Unable to locate credentials" in login.stderr
    assert "interactive login" not in login.stderr
    (tmp_path / "aws").write_text("#!/bin/sh\necho $AWS_ACCOUNT_ID\n")
    promote = project.run("make", "promote", MODEL_GATE="off", ECS_CLI="no-ecs-cli", PATH=path)
    assert promote.returncode != 0
    assert promote.stderr.startswith("ecs-cli is not installed: make ecs-cli\n")


def answering(folder, answers):
    """Write an AWS CLI that gives the answer to the first pattern that its command matches, or nothing.

    Return the variables that use it, and the file that lists its calls.
    """
    calls = folder / "calls"
    calls.touch()
    cases = "".join(f"  {pattern}) {command} ;;\n" for pattern, command in answers.items())
    (folder / "aws").write_text(
        f'#!/bin/sh\necho "$*" >>\'{calls}\'\ncase "$*" in\n{cases}'
        "  *get-caller-identity*) echo $AWS_ACCOUNT_ID ;;\nesac\n"
    )
    (folder / "aws").chmod(0o755)
    return {"PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"}, calls


@pytest.mark.parametrize(
    ("error", "said"),
    [
        ("SSL validation failed for https://sts [SSL: X]", "AWS_CA_BUNDLE must name"),
        ("An error occurred (Throttling) when calling", "could not ask AWS for the account"),
        ("Could not connect to the endpoint URL", "check the network and your proxy"),
        ("An error occurred (ExpiredToken) when calling", "AWS does not accept the credentials"),
    ],
)
def test_account_that_cannot_be_queried_is_not_blamed_on_the_credentials(
    bake_once, tmp_path, error, said
):
    variables, _ = answering(tmp_path, {"*get-caller*": f"echo '{error}' >&2; exit 254"})
    done = bake_once().run("make", "account", **variables)
    assert done.returncode != 0
    assert said in done.stderr
    assert error in done.stderr


def test_warning_of_the_aws_cli_is_no_answer(bake_once, tmp_path):
    warn = "echo 'Warning: this Python is old' >&2"
    answers = {
        "*get-caller*": f"{warn}; echo $AWS_ACCOUNT_ID",
        "*imageScanStatus*": f"{warn}; echo COMPLETE None",
    }
    variables, _ = answering(tmp_path, answers)
    assert "found no unaccepted" in bake_once().check("make", "image-scan", **variables)


def test_log_is_followed_line_by_line_however_long_it_is(bake_once, tmp_path):
    # With a search of all lines for each, the second call took minutes. The third one fails.
    page = 'echo x >>"$0.n"; n=$(wc -l <"$0.n"); [ $n -lt 3 ] || { echo denied >&2; exit 254; }'
    page += "; seq $((n * 20000 - 19999)) $((n * 20500)) | sed 's/.*/&\t{\"number\": &}/'"
    page += "; [ $n = 2 ] || printf '41001\tTraceback\n  line\n'"
    variables, _ = answering(tmp_path, {"*filter-log-events*": page})
    done = bake_once().run("deploy/logs.sh", ENV="production", LOG_GROUP="x", **variables)
    numbers = [f'{{"number": {number}}}' for number in range(1, 20_501)]
    later = [f'{{"number": {number}}}' for number in range(20_501, 41_001)]
    assert done.stdout.splitlines() == [*numbers, "Traceback", "  line", *later]
    assert "logs: the log cannot be read, see above; 'make deploy ENV=production'" in done.stderr


@pytest.mark.parametrize("tool", CHOICES["deploy_tool"])
def test_task_that_never_started_is_explained(bake_once, tmp_path, tool):
    reason = "ResourceInitializationError: unable to pull secrets"
    variables, calls = answering(
        tmp_path,
        {
            "*describe-services*": "echo service",
            "*list-tasks*STOPPED*": "echo arn:task/1",
            "*describe-tasks*": f"printf 'arn:task/1\tmodel\t{reason}\tNone\n'",
        },
    )
    done = bake_once(deploy_tool=tool).run("make", "ps", "ECS_CLI=false", **variables)
    assert f"task 1 stopped: {reason}" in done.stderr
    assert "log lines" not in done.stderr
    said = "no task of ml-inference-service is running: see 'make logs ENV=staging'"
    assert (said in done.stderr) == (tool != "ecs-cli")
    # describe-tasks takes no more.
    assert "--desired-status STOPPED --query taskArns --max-items 100" in calls.read_text()


def test_destroy_needs_only_its_policy_and_says_whether_something_is_left(bake_once, tmp_path):
    project = bake_once(deploy_tool="ecs-cli")
    policy = json.loads(project.check("make", "--silent", "iam-policy"))
    allowed = {
        (action, arn)
        for statement in policy["Statement"]
        for action in statement["Action"]
        for arn in [statement["Resource"]]
        if isinstance(arn, str)
    }
    variables, calls = answering(tmp_path, {})
    name = project.path.name
    done = project.check("make", "destroy", "FORCE=1", **variables)
    assert f"nothing of {name} is left" in done
    stacks = re.findall(
        "^cloudformation (.+?) --stack-name (\\S+)", calls.read_text(), re.MULTILINE
    )
    assert {f"{name}-batch", f"amazon-ecs-cli-setup-{name}"} == {stack for _, stack in stacks}
    for call, stack in stacks:
        action = "cloudformation:" + call.title().replace("-", "")
        assert any(one == action and f":stack/{stack}/*" in arn for one, arn in allowed), stack
    # A log that someone else created.
    variables, _ = answering(
        tmp_path, {"*describe-log-groups*": "echo /ecs/x 30", "*list-tags-for-*": "echo other"}
    )
    done = project.check("make", "destroy", "FORCE=1", **variables)
    assert "kept the log /ecs/" in done
    assert f"nothing else of {name} is left: what was kept is listed above" in done


@pytest.mark.parametrize("tool", CHOICES["deploy_tool"])
def test_stack_that_cannot_be_deleted_says_why(bake_once, tmp_path, tool):
    variables, calls = answering(
        tmp_path,
        {
            "*describe-stacks*": "echo DELETE_FAILED",
            "*stack-delete-complete*": "echo Waiter failed >&2; exit 255",
            "*describe-stack-events*": "printf 'Queue\\tit is in use\\n'",
        },
    )
    done = bake_once(deploy_tool=tool).run("make", "destroy", "FORCE=1", **variables)
    assert done.returncode != 0
    assert re.search(
        r"destroy: stack \S+-batch could not be deleted: Queue\tit is in use", done.stderr
    )
    assert calls.read_text().count("delete-stack") == 1


def test_unusable_settings_are_named(bake_once, tmp_path):
    project = bake_once(deploy_tool="ecs-cli")
    variables, calls = answering(
        tmp_path,
        {
            "*list-tasks*": "echo arn:task/1",
            "*describe-tasks*": "echo eni-1",
            "*describe-network-interfaces*": "echo None",
        },
    )
    (tmp_path / "uname").write_text("#!/bin/sh\necho Linux aarch64\n")
    (tmp_path / "uname").chmod(0o755)
    for command, said in {
        ("image-scan", "SCAN_SEVERITIES=CRITICAL,HIGH"): "separated by spaces, not 'CRITICAL,HIGH'",
        ("image-scan", "SCAN_SEVERITIES=high"): "must be some of CRITICAL HIGH MEDIUM LOW",
        ("iam-policy", "FOR=typo"): "iam-policy: FOR=typo must be release or batch, or be left out",
        ("url",): "url: the task has no public address: see assign_public_ip in ecs-params.yml",
        ("ecs-cli", "ECS_CLI=no-ecs-cli"): "there is no ecs-cli for Linux aarch64",
    }.items():
        done = project.run("make", *command, **variables)
        assert done.returncode != 0, command
        assert said in done.stderr
        assert "Traceback" not in done.stderr
        assert "http://" not in done.stdout
    assert "describe-image-scan-findings" not in calls.read_text()
    assert "so the scan is skipped" in project.check(
        "make", "image-scan", "SCAN_SEVERITIES= ", **variables
    )


@pytest.mark.parametrize(("image", "keeps"), [("registry/x:1", True), ("registry/x:2", False)])
def test_release_of_another_image_is_a_new_revision_and_failed_rollout_fails(
    bake_once, tmp_path, image, keeps
):
    """ecs-cli would reuse a revision from its cache; the explanation may fail without changing the result."""
    project = bake_once(deploy_tool="ecs-cli")
    variables, calls = answering(
        tmp_path,
        {
            "*describe-stack-resources*": "echo subnet-1 subnet-2 vpc-1",
            "*describe-security-groups*": "echo sg-1 x",
            "*runningCount,*desiredCount*": "echo COMPLETED 1 1",
            "*taskDefinition,*runningCount*": "echo family:1 FAILED 1",
            "*describe-task-definition*": "echo registry/x:1",
            "*describe-services*": "echo 1",
            "*list-tasks*": "echo arn:task/1",
            "*describe-tasks*": "exit 254",
        },
    )
    cached = tmp_path / ".cache" / "ecs-cli" / "tdcache" / "0f"
    cached.parent.mkdir(parents=True)
    cached.touch()
    tool = f"[ ! -e '{cached}' ] || echo reused"
    for name, command in {"ecs-cli": tool, "sample": "seq 4"}.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{command}\n")
        (tmp_path / name).chmod(0o755)
    variables |= {"HOME": str(tmp_path), "SAMPLE_COMMAND": "sample", "AWS_ACCESS_KEY_ID": "x"}
    rule = "--eval=up: ; @deploy/service-up.sh; echo status $$?"
    settings = (f"IMAGE={image}", "ECS_CLI=ecs-cli")
    done = project.run("make", "--no-print-directory", rule, "up", *settings, **variables)
    assert ("reused" in done.stdout) == keeps
    assert f"the rollout of {image} failed; family:1 is the service's revision" in done.stderr
    assert "verify: could not ask ECS why" in done.stderr
    assert "--service-name ml-inference-service --desired-status STOPPED" in calls.read_text()
    assert done.stdout.endswith("status 1\n")


@pytest.mark.parametrize(
    ("rollout", "said", "deregistered"),
    [
        ("IN_PROGRESS family:3 None", "has gone back by itself, to family:2", ["family:3"]),
        ("IN_PROGRESS family:2 family:3", "has gone back by itself, to family:2", ["family:3"]),
        ("IN_PROGRESS family:2 None", "from family:2 to family:1", []),
        ("COMPLETED family:2 None", "from family:2 to family:1", []),
    ],
)
def test_rollback_of_ecs_cli_knows_what_failed(bake_once, tmp_path, rollout, said, deregistered):
    variables, calls = answering(
        tmp_path,
        {
            "*FAILED*": f"printf '%s\\t%s\\t%s\\n' {rollout}",
            "*runningCount,*desiredCount*": "echo COMPLETED 1 1",
            # ECS returned to the current revision, since the previous one did not start.
            "*taskDefinition,*runningCount*": "echo family:2 COMPLETED 1",
            "*rolloutState*": "echo COMPLETED",
            "*list-task-definitions*": "printf 'family:1\\tfamily:2\\n'",
            "*describe-task-definition*": 'echo "registry/x:${4#family:}"',
            "*describe-services*": "echo family:2",
        },
    )
    done = bake_once(deploy_tool="ecs-cli").run("make", "rollback", **variables)
    assert said in done.stdout
    assert re.findall("deregister.* (.+)", calls.read_text()) == deregistered
    assert (done.returncode == 0) == bool(deregistered)
    if not deregistered:
        assert "to go further back, first run 'aws ecs deregister-task-definition" in done.stderr
        assert "--task-definition family:1'" in done.stderr


CHURN = {
    "project_slug": "churn-model",
    "cluster_name": "models",
    "container_port": "8080",
    "task_cpu": "4096",
    "task_memory": "30720",
    "aws_region": "eu-central-1",
    "aws_account_id": "210987654321",
    "allowed_cidr": "10.0.0.0/8",
    "gitlab_project": "team/churn-model",
}


def test_answers_appear_where_they_belong(bake):
    project = bake(**CHURN, python_version="3.12")
    service = yaml.safe_load(project.read("docker-compose.yml"))["services"]["churn-model"]
    assert service["ports"] == ["${PORT:-8080}:8080"]
    assert service["environment"] == {"WORKERS": "4"}
    here = yaml.safe_load(project.read("compose.override.yaml"))["services"]["churn-model"]
    assert (here["cpus"], here["mem_limit"]) == ("${CPUS:-4.0}", "${MEMORY:-30720m}")
    logging = service["logging"]["options"]
    assert logging["awslogs-region"] == "eu-central-1"
    assert (logging["mode"], logging["max-buffer-size"]) == ("non-blocking", "25m")
    size = yaml.safe_load(project.read("ecs-params.yml"))["task_definition"]["task_size"]
    assert size == {"cpu_limit": "4096", "mem_limit": "30720"}
    assert "FROM" in project.read("Dockerfile")
    assert "BASE_IMAGE=python:3.12-slim" in project.read("Dockerfile")
    plan = project.check("make", "--dry-run", "docker-build", "MODEL=README.md", "IMAGE_TAG=abc")
    assert "--tag 210987654321.dkr.ecr.eu-central-1.amazonaws.com/churn-model:abc" in plan
    condition = json.loads(project.read("ecs-trust-policy.json"))["Statement"][0]["Condition"]
    assert condition["ArnLike"]["aws:SourceArn"] == "arn:aws:ecs:eu-central-1:210987654321:*"
    assert "ALLOWED_CIDR := 10.0.0.0/8\n" in project.read("Makefile")
    assert "team/churn-model" in project.read("docs/pipeline.md")


def test_answers_appear_in_the_stacks_where_they_belong(bake):
    project = bake(**CHURN, deploy_tool="cloudformation", ci_credentials="access-keys")
    parameters = load_yaml(project.read("deploy/service.yml"))["Parameters"]
    defaults = {name: parameter.get("Default") for name, parameter in parameters.items()}
    repository = "210987654321.dkr.ecr.eu-central-1.amazonaws.com/churn-model"
    assert defaults["ImageRepository"] == repository
    assert (defaults["Cpu"], defaults["Memory"]) == ("4096", "30720")
    assert (defaults["ClusterName"], defaults["AllowedCidr"]) == ("models", "10.0.0.0/8")
    parameters = load_yaml(project.read("deploy/bootstrap.yml"))["Parameters"]
    assert parameters["GitLabProject"]["Default"] == "team/churn-model"
    assert parameters["Credentials"]["Default"] == "access-keys"
    (service,) = load_yaml(project.read("compose.yaml"))["services"].values()
    assert service["ports"] == ["${PORT:-8080}:8080"]
    assert (service["cpus"], service["mem_limit"]) == ("${CPUS:-4.0}", "${MEMORY:-30720m}")
    plan = project.check("make", "--dry-run", "--print-data-base", "service-up", "ENV=production")
    assert "STACK := churn-model-production\n" in plan
    assert "CLUSTER := models-production\n" in plan


def registry_of(project, *given):
    """Return the registry that make uses with these variables on its command line."""
    show = "--eval=x: ; @echo $(ECR_REGISTRY)"
    return project.check("make", "--silent", show, "x", *given).strip()


def test_registry_follows_the_account_and_region_of_the_makefile(bake_once):
    project = bake_once()
    given = ("AWS_ACCOUNT_ID=999999999999", "AWS_REGION=eu-west-3")
    assert registry_of(project, *given) == "999999999999.dkr.ecr.eu-west-3.amazonaws.com"
    assert registry_of(project, *given, "ECR_REGISTRY=127.0.0.1:5000") == "127.0.0.1:5000"


@pytest.mark.parametrize(
    ("region", "partition", "suffix"),
    [
        ("us-east-1", "aws", "amazonaws.com"),
        ("us-gov-west-1", "aws-us-gov", "amazonaws.com"),
        ("cn-north-1", "aws-cn", "amazonaws.com.cn"),
    ],
)
def test_partition_follows_from_the_region(bake, region, partition, suffix):
    project = bake(aws_region=region)
    assert registry_of(project) == f"123456789012.dkr.ecr.{region}.{suffix}"
    assert f'"arn:{partition}:ecs:{region}:' in project.read("ecs-trust-policy.json")


@pytest.mark.parametrize(
    ("framework", "model_file", "absent"),
    [
        *(
            (name, "model/model.onnx", "model/files")
            for name in CHOICES["model_framework"]
            if name != "python"
        ),
        ("python", "model/files", "onnx"),
    ],
)
def test_framework_determines_the_model_format(bake, framework, model_file, absent):
    project = bake(model_framework=framework)
    assert model_file in project.read("inference/config.py")
    everything = "".join(
        project.read(file) for file in project.texts() if "requirements" not in str(file)
    )
    assert absent not in everything
    served = project.read("requirements.txt")
    assert ("onnxruntime" in served) == (framework != "python")
    for heavy in ("scikit-learn", "xgboost", "lightgbm", "torch"):
        assert heavy not in served


@pytest.mark.parametrize("framework", CHOICES["model_framework"])
def test_no_environment_has_packages_for_gpus(bake, framework):
    # NCCL comes with xgboost, and CUDA with PyPI's torch: both take gigabytes.
    project = bake(model_framework=framework)
    for lock in ("requirements.txt", "requirements/train.txt", "requirements/dev.txt"):
        assert not re.search(r"^(nvidia|triton|torch|xgboost=)", project.read(lock), re.MULTILINE)


def test_two_bakes_are_byte_identical(bake):
    first, second = bake(), bake()
    assert first.files() == second.files()
    for file in first.files():
        assert (first.path / file).read_bytes() == (second.path / file).read_bytes(), file


# Translated, or no word of the field's; 'holds up to 8' is neither.
FOREIGN = r"(?i)\b(wants|mend|passes over|somebody|holds up(?! to))\b"


def test_english_is_the_fields():
    found = [
        f"{path.relative_to(PROJECT_TEMPLATE)}: {line.strip()}"
        for path in PROJECT_TEMPLATE.rglob("*")
        if path.is_file() and path.suffix not in {".onnx", ".pyc"}
        for line in path.read_text().splitlines()
        if re.search(FOREIGN, line)
    ]
    assert found == []


SHARED = PROJECT_TEMPLATE / ".variants" / "shared"


def template_files():
    """Yield each file of the template: its path there, and its path in a project, if any.

    Files that others include are left out.
    """
    for path in PROJECT_TEMPLATE.rglob("*"):
        if path.is_file() and path.parent != SHARED:
            parts = path.relative_to(PROJECT_TEMPLATE).parts
            yield path, "/".join(parts[3:] if parts[0] == ".variants" else parts)


def test_every_file_of_the_template_is_rendered_by_some_answers(bake_once):
    rendered = {str(file) for answers in MATRIX for file in bake_once(**answers).files()}
    assert rendered == {name for _, name in template_files()} - {""}


def test_files_without_template_code_are_copied():
    """A copy slows a bake down much less than rendering does."""
    for path, name in template_files():
        parts = path.relative_to(PROJECT_TEMPLATE)
        is_copied = any(
            fnmatch(str(part), pattern)
            for part in (parts, *parts.parents)
            for pattern in CONTEXT["_copy_without_render"]
        )
        assert is_copied == (b"cookiecutter." not in path.read_bytes()), name


def test_variants_match_answers_and_their_choices():
    for folder in (PROJECT_TEMPLATE / ".variants").glob("*/*"):
        answer, choice = folder.parts[-2:]
        if not answer.startswith("__") and folder.parent != SHARED:
            assert choice in CHOICES[answer]


PRINTABLE = st.text(
    st.characters(exclude_categories=["Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp"]),
    min_size=1,
    max_size=80,
).filter(lambda text: text == text.strip() and not re.search(r"\{[#%{]", text))


@pytest.mark.slow
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=PRINTABLE)
@example(text=r"""quotes " ' ''' \" \\ and # : % $HOME $$ ${X:-y} `id` <b>&amp;</b> -- !tag""")
@example(text="- list: {a: 1}")
@example(text="\\")
@example(text='"')
@example(text="naïve — “日本語” 😀")
def test_any_text_leaves_every_file_intact(bake, text):
    project = bake(project_name=text, project_slug="abc", description=text)
    pyproject = tomllib.loads(project.read("pyproject.toml"))
    assert pyproject["project"]["description"] == text
    for file in (".gitlab-ci.yml", "docker-compose.yml", "ecs-params.yml"):
        yaml.safe_load(project.read(file))
    assert f"\n{text}\n" in project.read("README.md")
    page = project.read("inference/templates/run_ml_model_inference.html")
    assert f"<h1>{escape(text)}</h1>" in page
    assert f"<p>{escape(text)}</p>" in page


@pytest.mark.parametrize("tool", CHOICES["deploy_tool"])
@pytest.mark.parametrize(
    ("measured", "said"),
    [
        (None, ""),
        (409, "check-memory: 2 worker(s) of 409 MiB in a task of 1024 MiB\n"),
        (410, "warning: too little is left for requests: give the task more memory ("),
    ],
)
def test_too_little_memory_for_the_model_gives_a_warning(bake, tool, measured, said):
    project = bake(deploy_tool=tool, task_cpu="2048", task_memory="4096")
    # Less than Fargate sells with that CPU, since valid answers leave more.
    for file in ("ecs-params.yml", "deploy/service.yml"):
        if project.has_file(file):
            (project.path / file).write_text(project.read(file).replace('"4096"', '"1024"'))
    if measured:
        serving = json.dumps({"queue": False, "worker_mib": measured}, separators=(",", ":"))
        (project.path / "model/serving.json").write_text(serving)
    rule = "--eval=memory: ; @deploy/check-memory.sh"
    output = project.check("make", "--no-print-directory", rule, "memory")
    assert output.endswith(said) if measured != 410 else said in output
    rule = "--eval=month: ; @deploy/cost.sh $(N)"
    for count, name in (("0", "0 tasks"), ("1", "1 task"), ("2", "2 tasks")):
        output = project.check("make", "--no-print-directory", rule, "month", f"N={count}")
        assert output.startswith(f"cost: {name}, without requests: about $")
    if tool != "ecs-cli" or not measured:
        return
    compose, size = project.path / "docker-compose.yml", project.path / "ecs-params.yml"
    compose.write_text(project.read(compose).replace('WORKERS: "2"', "WORKERS: 4  # more"))
    size.write_text(project.read(size).replace('"1024"', '"1024"  # MiB'))
    rule = "--eval=memory: ; @deploy/check-memory.sh"
    output = project.check("make", "--no-print-directory", rule, "memory")
    assert f"4 worker(s) of {measured} MiB in a task of 1024 MiB\n" in output
    size.write_text(project.read(size).replace('"1024"', "1GB"))
    for script in ("check-memory", "cost"):
        done = project.run("make", f"--eval=step: ; @deploy/{script}.sh", "step")
        assert done.returncode != 0
        assert "cpu_limit and mem_limit in ecs-params.yml must be plain numbers" in done.stderr
        assert done.stdout == ""


def test_service_that_everyone_reaches_gives_a_warning(bake):
    project = bake(deploy_tool="cloudformation")

    def warning(**parameters):
        (project.path / "deploy/staging.json").write_text(json.dumps({"Parameters": parameters}))
        rule = "--eval=tool: ; @bash -euc '. deploy/tool.sh; check_tool'"
        return project.check("make", "--no-print-directory", rule, "tool")

    assert "warning: the service answers 10.0.0.0/8 over HTTP, without a key: CertificateArn," in (
        warning(AllowedCidr="10.0.0.0/8")
    )
    assert warning().count("\n") == 1
    assert warning(InternalLoadBalancer="true") == warning(CertificateArn="arn") == ""


@pytest.mark.parametrize("tool", ["cloudformation", "express"])
def test_cost_of_impossible_parameters_is_not_estimated(bake, tool):
    project = bake(deploy_tool=tool)
    (project.path / "deploy/staging.json").write_text('{"Parameters": {"MinTasks": "9"}}')
    done = project.run("make", "cost")
    assert "deploy/staging.json: MinTasks is 9, more than MaxTasks, which is 4" in done.stderr
    assert done.returncode != 0
    assert "$" not in done.stdout


def test_rollback_asks_about_the_last_revisions_only(bake_once, tmp_path):
    project = bake_once(deploy_tool="cloudformation")
    (tmp_path / "aws").write_text(
        """#!/bin/sh
case $* in
  *list-task-definitions*) seq -s "$(printf '\\t')" -f family:%g 120 ;;
  *dockerLabels*) echo accuracy=1 ;;
  *describe-task-definition*) echo "image:${4#family:}" | tee -a "$0.asked" ;;
  *taskDefinition*) echo family:120 ;;
  *) echo "$AWS_ACCOUNT_ID" ;;
esac
"""
    )
    (tmp_path / "aws").chmod(0o755)
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    output = project.check("make", "rollback", "PYTHON=echo", PATH=path)
    assert "from 120 to 119" in output
    assert output.endswith("deploy/stack.py release accuracy=1\n")
    asked = (tmp_path / "aws.asked").read_text().split()
    assert asked == ["image:120", *(f"image:{number}" for number in range(71, 121))]


def test_release_that_goes_back_by_itself_is_not_rolled_back_further(bake_once, tmp_path):
    status = 'echo x >>"$0.n"; [ $(wc -l <"$0.n") = 1 ] && echo UPDATE_IN_PROGRESS || echo UPDATE_ROLLBACK_COMPLETE'
    variables, _ = answering(
        tmp_path,
        {
            "*describe-stacks*": status,
            "*list-task-definitions*": "printf 'family:1\tfamily:2\n'",
            "*describe-task-definition*": 'echo "image:${4#family:}"',
            "*describe-services*": "echo family:2",
        },
    )
    project = bake_once(deploy_tool="cloudformation")
    output = project.check("make", "rollback", "PYTHON=echo", **variables)
    assert (
        "deploy/stack.py wait\nrollback: the last release has gone back by itself, to 2" in output
    )
    assert "from 2 to 1" in project.check("make", "rollback", "PYTHON=echo", **variables)


@pytest.mark.parametrize(
    ("size", "override", "processes"),
    [("256", "", "1"), ("4096", "", "4"), ("256", "2048", "2"), ("4096", "512", "1")],
)
@pytest.mark.parametrize("kind", ["task", "job"])
def test_batch_task_has_a_process_for_each_whole_vcpu(bake_once, kind, size, override, processes):
    container = {
        "name": "c",
        "environment": [{"name": "WORKERS", "value": "9"}],
        "logConfiguration": {"logDriver": "awslogs", "options": {}},
    }
    definition = {
        "family": "f",
        "taskDefinitionArn": "f:1",
        "executionRoleArn": "r",
        "cpu": size,
        "memory": "8192",
        "containerDefinitions": [container],
    }
    network = {"awsvpcConfiguration": {"assignPublicIp": "ENABLED"}}
    service = {"clusterArn": "c", "networkConfiguration": network}
    done = subprocess.run(
        [sys.executable, "deploy/batch_inputs.py", kind, "s3://a/in", "s3://a/out"],
        cwd=bake_once(deploy_tool="cloudformation").path,
        env=environment_with(CPU=override),
        input=f"{json.dumps(service)}\0{json.dumps(definition)}",
        capture_output=True,
        text=True,
        check=True,
    )
    made = json.loads(done.stdout)
    (made,) = (
        made["overrides"]["containerOverrides"] if kind == "task" else [made["containerProperties"]]
    )
    assert made["environment"] == [{"name": "WORKERS", "value": processes}]


@pytest.mark.parametrize("tool", CHOICES["deploy_tool"])
def test_missing_aws_cli_is_named_once(bake, tmp_path, tool):
    for name in ("bash", "date", "git", "grep", "head", "make", "sed", "sh", "sort"):
        (tmp_path / name).symlink_to(shutil.which(name))
    project = bake(deploy_tool=tool)
    given = {"PATH": str(tmp_path), "PYTHON": sys.executable}
    account = project.run("make", "account", **given).stderr
    assert account.startswith("account: the AWS CLI is not installed: make doctor names every")
    doctor = project.run("make", "doctor", **given).stderr
    assert "doctor: aws is not installed: apt-get install awscli" in doctor
    assert "'aws " not in doctor


def git(folder, *arguments):
    who = ("-c", "user.name=A", "-c", "user.email=a@example.com")
    subprocess.run(["git", *who, *arguments], cwd=folder, check=True, capture_output=True)


def test_image_is_named_by_the_projects_own_commit_and_model(bake):
    project = bake()
    assert image_tag(project) == "dev"
    # A repository that merely contains the project, such as a home directory under version control.
    outer = project.path.parent
    git(outer, "init", "--quiet")
    git(outer, "commit", "--quiet", "--allow-empty", "--message=x")
    assert image_tag(project) == "dev"
    git(project.path, "init", "--quiet")
    git(project.path, "add", ".")
    assert image_tag(project).startswith("dev-dirty-")
    git(project.path, "commit", "--quiet", "--message=x")
    commit = image_tag(project)
    assert re.fullmatch("[0-9a-f]{12}", commit)
    checksum = project.path / "model" / "model.onnx.sha256"
    for digest in ("0" * 64, "1" * 64):
        checksum.write_text(f"{digest}  model.onnx\n")
        assert image_tag(project) == f"{commit}-{digest[:12]}"
    (project.path / "new.txt").write_text("x")
    assert re.fullmatch(f"{commit}-dirty-[0-9a-f]{{8}}-111111111111", image_tag(project))


def test_environment_on_another_disk_is_ignored_by_git(bake, tmp_path):
    project = bake()
    git(project.path, "init", "--quiet")
    (project.path / ".venv").symlink_to(tmp_path)
    assert ".venv" not in project.check("git", "status", "--porcelain")


def test_project_in_a_monorepo_is_named_by_its_commit(bake):
    project = bake()
    git(project.path.parent, "init", "--quiet")
    git(project.path.parent, "add", ".")
    git(project.path.parent, "commit", "--quiet", "--message=x")
    commit = image_tag(project)
    assert re.fullmatch("[0-9a-f]{12}", commit)
    # What others have not committed is no part of the image.
    (project.path.parent / "new.txt").write_text("x")
    assert image_tag(project) == commit


POLICIES = tuple(f"{name}-policy.json" for name in ("deployer", "release", "batch", "execution"))


def test_policies_of_ecs_cli_do_not_cover_neighbours(bake_once):
    """The project churn must not reach the project churn-model, nor other security groups."""
    project = bake_once(deploy_tool="ecs-cli")
    for name in POLICIES:
        for statement in json.loads(project.read(f"deploy/{name}"))["Statement"]:
            resources = statement["Resource"]
            for arn in [resources] if isinstance(resources, str) else resources:
                assert not re.search(r"[\w}-]\*", arn), (name, arn)
                if "security-group/" in arn:
                    ((key, value),) = [
                        (key, value)
                        for condition in statement["Condition"].values()
                        for key, value in condition.items()
                        if key.endswith("Tag/service")
                    ]
                    assert value == "${SERVICE}", (name, key)


@pytest.mark.parametrize("purpose", ["", "release", "batch"])
def test_policy_with_the_longest_names_is_no_longer_than_iam_allows(bake_once, purpose):
    longest = {"project_slug": "a" * 31, "cluster_name": "c" * 31, "aws_region": "us-gov-west-1"}
    project = bake_once(deploy_tool="ecs-cli", **longest)
    boundary = f"arn:aws-us-gov:iam::123456789012:policy/{'b' * 40}"
    command = ("make", "--silent", "iam-policy", "ENV=staging", f"FOR={purpose}")
    policy = project.check(*command, PERMISSIONS_BOUNDARY=boundary)
    assert len(re.sub(r"\s", "", policy)) <= 6144


def test_boundary_is_demanded_of_each_role_of_ecs_cli(bake_once):
    project = bake_once(deploy_tool="ecs-cli")

    def condition(**variables):
        policy = json.loads(project.check("make", "--silent", "iam-policy", **variables))
        (statement,) = [one for one in policy["Statement"] if "iam:CreateRole" in one["Action"]]
        return statement.get("Condition")

    boundary = "arn:aws:iam::123456789012:policy/boundary"
    assert condition(PERMISSIONS_BOUNDARY=boundary) == {
        "StringEquals": {"iam:PermissionsBoundary": boundary}
    }
    assert condition() is None
