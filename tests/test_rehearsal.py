"""``make rehearse``: a whole deployment on an embedded AWS."""

import json
import re
import shutil
import subprocess

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


@pytest.fixture(scope="module")
def rehearsed(installed, registry, ecs_cli):
    """What a whole rehearsal in containers printed, and the actions that it called."""
    output = installed.check("make", "rehearse", ECS_CLI=ecs_cli, timeout=600)
    log = installed.read("rehearsal-aws.log")
    return output, set(re.findall(r"^\w+:[A-Z]\w+$", log, re.MULTILINE))


def test_whole_rehearsal_in_containers(rehearsed, docker, registry):
    output, _ = rehearsed
    steps = results(output)
    assert steps["release that cannot start"] == "failed, as it must"
    assert set(steps.values()) == {"ok", "failed, as it must"}
    assert len(steps) == 9
    assert "Not rehearsed" not in output
    assert "its last log lines:\n        broken, for the rehearsal" in output
    # Others may rehearse beside this one.
    images = set(re.findall(rf"pushed ({registry}/\S+)", output))
    assert len(images) == 3
    for listing in (
        ["ps", "--all", "--format={{.Image}}"],
        ["images", "--format={{.Repository}}:{{.Tag}}"],
    ):
        command = [docker, *listing]
        left = subprocess.run(command, capture_output=True, check=True, text=True).stdout.split()
        assert not images & set(left)


@pytest.mark.skipif(not shutil.which("ecs-cli"), reason="needs ecs-cli 1.21 on PATH")
def test_whole_rehearsal_was_with_the_real_ecs_cli(rehearsed, ecs_cli):
    assert ecs_cli == "ecs-cli"


def test_rehearsal_fails_where_a_step_does(installed):
    script = installed.path / "deploy" / "iam-role.sh"
    text = script.read_text()
    script.write_text(text.replace("require_account", "require_account; false"))
    try:
        result = installed.run("make", "rehearse", **NO_ENGINES)
    finally:
        script.write_text(text)
    assert result.returncode != 0
    assert results(result.stdout)["deploy"] == "FAILED"


def test_policy_of_the_deploying_user_allows_what_deploy_does_and_no_more(
    installed, rehearsed, ecs_cli
):
    _, called = rehearsed
    # What the rehearsal itself asks, and what needs no permission.
    called = called - {
        "cloudformation:ListStacks",
        "ec2:DescribeVpcs",
        "ecs:PutAccountSetting",
        "elbv2:DescribeLoadBalancers",
        "elbv2:DescribeTargetGroups",
        "iam:ListPolicies",
        "iam:ListRoles",
        "logs:DescribeLogGroups",
        "sts:GetCallerIdentity",
    }
    policy = installed.check("make", "--silent", "iam-policy")
    assert "${" not in policy
    allowed = {
        statement["Sid"]: set(statement["Action"]) for statement in json.loads(policy)["Statement"]
    }
    direct = set().union(*allowed.values()) - allowed["NetworkByTheStackOnly"]
    assert called <= direct
    by_docker = {
        "ecr:BatchCheckLayerAvailability",
        "ecr:BatchGetImage",
        "ecr:CompleteLayerUpload",
        "ecr:GetDownloadUrlForLayer",
        "ecr:InitiateLayerUpload",
        "ecr:PutImage",
        "ecr:UploadLayerPart",
    }
    not_rehearsed = {
        "ec2:RevokeSecurityGroupIngress",  # where the port or the network of callers has changed
        "iam:CreateServiceLinkedRole",  # by ECS, in the caller's name, once an account
        "iam:PassRole",  # a permission without an action
        "logs:FilterLogEvents",  # make logs
    }
    unused = direct - called - by_docker - not_rehearsed
    assert unused <= {"ecs:ListAccountSettings", "cloudformation:DescribeStackEvents"} | (
        {"cloudformation:DescribeStackResources"} if ecs_cli != "ecs-cli" else set()
    )
