"""``make rehearse``: a whole deployment on an embedded AWS."""

import re

import pytest

pytestmark = pytest.mark.slow

NO_ENGINES = {"DOCKER": "no-docker", "ECS_CLI": "no-ecs-cli"}


def results(output):
    """The table at the end: each step with its result."""
    table = output.split("seconds  result\n")[1].split("\n\n")[0]
    return dict(re.findall(r"^(.+?) +[0-9.]+  (.+)$", table, re.MULTILINE))


def test_rehearsal_names_what_it_leaves_out(installed):
    output = installed.check("make", "rehearse", **NO_ENGINES)
    steps = results(output)
    assert set(steps.values()) == {"ok"}
    assert steps["the account is empty"] == "ok"
    left_out = output.split("Not rehearsed:\n")[1]
    assert "  docker-build: no Docker engine answers" in left_out
    assert "  docker-push: REHEARSAL_REGISTRY names no registry" in left_out
    assert "  service-up: ecs-cli is not on PATH" in left_out


def test_rehearsal_fails_where_a_step_does(installed):
    script = installed.path / "deploy" / "iam-role.sh"
    text = script.read_text()
    script.write_text(text + "false\n")
    try:
        result = installed.run("make", "rehearse", **NO_ENGINES)
    finally:
        script.write_text(text)
    assert result.returncode != 0
    assert results(result.stdout)["deploy"] == "FAILED"
