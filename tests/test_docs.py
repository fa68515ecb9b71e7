"""Every command that README and docs show, run as it is written there."""

import csv
import json
import re
import subprocess
from pathlib import Path

import pytest
from conftest import CHOICES, ROOT, BakedProject, environment_with
from test_commands import copy_template, git, home  # noqa: F401 # a fixture
from test_deploy import open_account
from test_import import wait_for
from test_project import PENGUIN, ask, free_port, running

# In the order in which a new owner reads them.
PAGES = (
    "README.md",
    "docs/deployment.md",
    "docs/files.md",
    "docs/monitoring.md",
    "CONTRIBUTING.md",
)
# Commands that take minutes, each with the test that runs it.
ELSEWHERE = {
    "git clone https://github.com/org/ml-ecs-template && cd ml-ecs-template": "test_fresh_machine.machine",
    "make demo": "test_commands.demo",
    "make setup train test": "test_project.test_new_untrained_project_passes_its_own_tests_and_lint",
    "make rehearse": "test_express.test_rehearsal_does_every_step_and_leaves_nothing_behind",
    "make deploy ENV=production": "test_stacks.test_destroy_of_one_environment_keeps_the_other_and_the_images",
    "make import MODEL=path": "test_import.test_imported_model_replaces_the_old_one_permanently",
    "make train test run": "test_project.follow_readme",
    "make smoke": "test_deploy.deployed",
    "make ecs-cli": "test_ecs_cli.test_ecs_cli_is_installed_once",
    "make destroy FORCE=1": "test_faults.test_two_projects_share_a_cluster_from_start_to_finish",
}


def commands_of(file):
    """The commands in the code blocks of a page, without comments, in their order."""
    blocks = re.findall(r"^```(?:sh|bash)\n(.*?)^```$", file.read_text(), re.MULTILINE | re.DOTALL)
    lines = "".join(blocks).replace("\\\n", "").splitlines()
    return [re.sub(r"\s+#\s.*", "", line) for line in lines if line.strip()]


def is_run_elsewhere(command):
    """Whether the test that ELSEWHERE names for a command is there."""
    if command not in ELSEWHERE:
        return False
    module, name = ELSEWHERE[command].split(".")
    return f"def {name}(" in (ROOT / "tests" / f"{module}.py").read_text()


@pytest.mark.parametrize("tool", CHOICES["deploy_tool"][1:])
def test_projects_of_other_deploy_tools_show_the_same_commands(bake, tool):
    def shown(**answers):
        project = bake(project_slug=f"x-{tool[:4]}", **answers)
        pages = [*project.path.glob("*.md"), *project.path.glob("[!.]*/*.md")]
        return {command for page in pages for command in commands_of(page)}

    others = shown(deploy_tool=tool) - shown()
    assert all(map(is_run_elsewhere, others)), others


@pytest.fixture
def owner(docker, registry, engine, installed, ecs_cli):
    """The project's owner: a repository with everything installed, and an account with a bucket and rows in it."""
    variables = {"DOCKER": docker, "DOCKER_HOST": engine["DOCKER_HOST"], "ECS_CLI": ecs_cli}
    with open_account(installed, "docker", "registry", "ecs-cli", **variables) as account:
        del account.environment["IMAGE_TAG"]
        account.environment |= {
            "SSL_CERT_FILE": account.environment["AWS_CA_BUNDLE"],
            "GIT_AUTHOR_NAME": "x",
            "GIT_AUTHOR_EMAIL": "x@example.com",
            "GIT_COMMITTER_NAME": "x",
            "GIT_COMMITTER_EMAIL": "x@example.com",
        }
        yield account


WRITE_ROWS = """
import json, sys
from pathlib import Path
import pyarrow, pyarrow.parquet
row = json.loads(sys.argv[1])
Path("rows").mkdir()
for name in ("rows.csv", "rows/a.csv", "rows/b.csv"):
    Path(name).write_text(",".join(row) + "\\n" + ",".join(map(str, row.values())) + "\\n")
pyarrow.parquet.write_table(pyarrow.Table.from_pylist([row] * 3), "rows.parquet")
"""


@pytest.mark.slow
def test_commands_of_a_project_do_what_its_pages_say(owner):
    project, port = Path(owner.path), free_port()
    # A page has the address of its own default, and one command serves until it is ended.
    here = f"127.0.0.1:{port}"

    def run(command, **variables):
        done = subprocess.run(
            ["bash", "-ec", command.replace("127.0.0.1:5000", here)],
            cwd=project,
            env={**owner.environment, **variables},
            capture_output=True,
            text=True,
            timeout=600,
        )
        assert done.returncode == 0, (command, done.stdout, done.stderr)
        return done.stdout

    compose = project / "docker-compose.yml"
    compose.write_text(
        compose.read_text().replace("environment:\n", 'environment:\n      SAMPLE_SHARE: "1"\n')
    )
    run("git commit --quiet --all --message='sample all requests'")
    run(f".venv/bin/python -c '{WRITE_ROWS}' '{json.dumps(PENGUIN)}'")
    run("aws s3 mb s3://bucket && aws s3 cp --recursive rows s3://bucket/rows")
    run("aws s3 cp rows.csv s3://bucket && aws s3 cp rows.parquet s3://bucket")
    prepare = {
        "make sample-to-dataset OUT=rows.csv": lambda: ask_once(run, project),
        "make evaluate LABELS=labels.csv": lambda: write_labels(project),
        "make release": lambda: run("git commit --quiet --allow-empty --message='another'"),
    }
    ran = []
    for page in PAGES:
        for command in commands_of(project / page):
            if is_run_elsewhere(command) or command in ran:
                continue
            ran.append(command)
            prepare.get(command, lambda: None)()
            if command == "make run":
                # It serves until it is stopped: run it with the next command.
                continue
            if command.startswith("curl "):
                environment = owner.environment
                with running(owner, "make", "run", f"PORT={port}", environment=environment):
                    assert ask(f"http://{here}/ping")[0] == 200
                    assert json.loads(run(command))["predictions"] == ["Adelie"]
            else:
                run(command, **{"API_KEY": "a key"} if "$API_KEY" in command else {})
    assert {"make run", "make deploy", "make rollback"} < set(ran)


LINES = """aws logs filter-log-events --log-group-name /ecs/ml-inference-service --query 'events[].[message]' \
--filter-pattern '{ $.logger = "inference.sample" }' --output text"""


def ask_once(run, project):
    """Ask the deployed service, and keep the row of its sample also in S3."""
    url = run("make --silent url").split()[-1]
    assert ask(f"{url}/predict", {"instances": [PENGUIN]})[0] == 200
    # The embedded AWS keeps a task's log when the task ends.
    run("git commit --quiet --allow-empty --message='another' && make release")
    wait_for(lambda: "request_id" in run(LINES))
    run(f"{LINES} | aws s3 cp - s3://bucket/prefix/sample.jsonl")


def write_labels(project):
    """Write true labels for the rows of the sample."""
    with (project / "rows.csv").open() as file:
        rows = [*csv.DictReader(file)]
    lines = [f"{row['request_id']},{row['row']},Adelie" for row in rows]
    (project / "labels.csv").write_text("\n".join(["request_id,row,species", *lines]))


@pytest.fixture
def versions(tmp_path):
    """This template as a repository with two versions, at the address that the pages have."""
    # cookiecutter knows a repository of git by its address.
    copy = tmp_path / "git" / "ml-ecs-template"
    copy.mkdir(parents=True)
    copy_template(copy)
    git(copy, "init", "--quiet", "--initial-branch=main")
    for number, text in enumerate(("", "one line more\n"), start=1):
        with (copy / "{{cookiecutter.project_slug}}/AGENTS.md").open("a") as file:
            file.write(text)
        git(copy, "add", "--all")
        git(copy, "commit", "--quiet", "--message=x")
        git(copy, "tag", f"v0.{number}.0")
    return copy


# Pages whose commands begin in an empty folder.
FROM_NOTHING = ("README.md", "docs/tutorial.md", "docs/upgrading.md")


@pytest.mark.slow
@pytest.mark.parametrize("page", FROM_NOTHING)
def test_commands_of_the_template_generate_and_update_projects(page, home, versions, tmp_path):  # noqa: F811
    """Skip those of make and curl, which the pages of a project also show."""
    here = tmp_path / "work"
    here.mkdir()
    configuration = tmp_path / "home/.gitconfig"
    configuration.write_text("[user]\nname = x\nemail = x@example.com\n")
    environment = environment_with(GIT_CONFIG_GLOBAL=str(configuration))
    commands = [
        command
        for command in commands_of(ROOT / page)
        if not command.startswith(("make ", "curl ")) and not is_run_elsewhere(command)
    ]
    assert len(commands) >= 2
    for command in commands:
        # cruft leaves addresses to git, which does not know cookiecutter's abbreviations.
        address = f"{'https://github.com/' if 'cruft' in command else 'gh:'}org/ml-ecs-template"
        line = command.replace("pipx run ", "").replace(address, versions.as_uri())
        line = line.replace("OLD", "v0.1.0").replace("NEW", "v0.2.0")
        if line.startswith(("cruft create", "cookiecutter")):
            line += " --no-input"
        if line.startswith("cruft update"):
            line += " --skip-apply-ask"
        if line.startswith("git status"):
            git(here, "reset", "--quiet", "--hard")
        done = subprocess.run(
            ["bash", "-ec", f"{line}; pwd > {tmp_path}/folder"],
            cwd=here,
            env=environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, (line, done.stderr)
        here = Path((tmp_path / "folder").read_text().strip())
        if "git init" in line:
            # The branch whose tokens the pipeline's role trusts.
            assert (here / ".git" / "HEAD").read_text() == "ref: refs/heads/main\n"
        if "v0.2.0" in line:
            assert "one line more" in BakedProject(here).read("AGENTS.md")
        if line.startswith("git diff"):
            assert "+one line more" in done.stdout


def test_commands_that_take_minutes_have_a_test():
    assert all(map(is_run_elsewhere, ELSEWHERE))


def test_pages_of_the_template_show_the_commands_of_a_project(bake):
    project = bake(project_slug="ml-inference-service")
    shown = {command for page in PAGES for command in commands_of(project.path / page)}
    for page in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        for command in commands_of(page):
            if command.startswith(("make ", "curl ")):
                assert command in shown | ELSEWHERE.keys(), (page.name, command)


def test_pages_pin_the_newest_release():
    released = re.findall(r"^## (\d\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)[:1]
    for page in FROM_NOTHING[:2]:
        pinned = re.findall("--checkout v(.*)$", (ROOT / page).read_text(), re.MULTILINE)
        assert pinned == released
