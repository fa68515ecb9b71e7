"""``make rehearse``, and the deployment's steps against the embedded AWS."""

import re
import shutil

import pytest
from conftest import BakedProject, bake_with

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def installed(cookies_session):
    """A project with everything installed, its own and the embedded AWS's."""
    project = BakedProject(bake_with(cookies_session, {"aws_region": "eu-west-1"}).project_path)
    project.check("make", "setup", "train", "rehearsal/.venv/.complete")
    return project


def results(output):
    """The table at the end: each step with its result."""
    table = output.split("seconds  result\n")[1].split("\n\n")[0]
    return dict(re.findall(r"^(.+?) +[0-9.]+  (.+)$", table, re.MULTILINE))


def test_rehearsal_leaves_an_empty_account(installed):
    output = installed.check("make", "rehearse")
    steps = results(output)
    assert steps["deploy"] == steps["deploy again: nothing changes"] == "ok"
    assert steps["destroy"] == steps["the account is empty"] == "ok"


def test_rehearsal_names_what_it_leaves_out(installed):
    output = installed.check("make", "rehearse", DOCKER="no-docker", ECS_CLI="no-ecs-cli")
    left_out = output.split("Not rehearsed:\n")[1]
    assert "  docker-build: no Docker engine answers" in left_out
    assert "  docker-push: REHEARSAL_REGISTRY names no registry" in left_out
    assert "  service-up: ecs-cli is not on PATH" in left_out


@pytest.mark.skipif(not shutil.which("ecs-cli"), reason="needs ecs-cli 1.21 on PATH")
def test_rehearsal_with_ecs_cli_rolls_a_bad_release_back(installed):
    steps = results(installed.check("make", "rehearse"))
    assert steps["release that cannot start"] == "failed, as it must"
    assert set(steps.values()) == {"ok", "failed, as it must"}
    assert len(steps) == 9


def test_rehearsal_fails_where_a_step_does(installed):
    script = installed.path / "deploy" / "iam-role.sh"
    text = script.read_text()
    script.write_text(text.replace("require_account", "require_account; false"))
    try:
        result = installed.run("make", "rehearse")
    finally:
        script.write_text(text)
    assert result.returncode != 0
    assert results(result.stdout)["deploy"] == "FAILED"


def test_nothing_is_touched_without_valid_credentials(installed):
    for target in ("ecr-create", "iam-role", "cluster-up", "destroy"):
        result = installed.run(
            "make",
            target,
            "FORCE=1",
            PATH=f"{installed.path}/rehearsal/.venv/bin:/usr/bin:/bin",
            AWS_ACCESS_KEY_ID="nobody",
            AWS_SECRET_ACCESS_KEY="nothing",  # noqa: S106
            AWS_ENDPOINT_URL="http://127.0.0.1:1",
            AWS_MAX_ATTEMPTS="1",
        )
        assert result.returncode != 0
        assert "AWS does not accept the credentials: run 'aws configure'" in result.stderr
