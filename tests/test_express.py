"""Deploying with ECS Express Mode on the embedded AWS."""

import json
import re
import subprocess

import pytest
from test_deploy import open_account, wait_for_line
from test_stacks import (
    ACCOUNT,
    BY_DOCKER,
    RARE,
    REGION,
    SLUG,
    STACK,
    STEPS,
    actions_in,
    allowed_to_release,
    given,
    parameters,
    scan_with_checkov,
    set_off,
    stacks,
)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def generated(train):
    """A trained project with all of its environments installed, including the embedded AWS."""
    return train(rehearses=True, deploy_tool="express", aws_region=REGION)


@pytest.fixture(scope="module")
def deployed(generated):
    """An account with a running service; tests leave it running."""
    with open_account(generated, cluster=STACK) as account:
        account.make(*STEPS)
        yield account


@pytest.fixture
def account(generated):
    with open_account(generated, cluster=STACK) as account:
        yield account


def alarm_of(account):
    """Return the alarm that ECS manages for the service's releases."""
    alarms = account.aws("cloudwatch", "describe-alarms")["MetricAlarms"]
    ours = {f"{STACK}-errors", f"{STACK}-drift"}
    (name,) = {alarm["AlarmName"] for alarm in alarms} - ours
    return name


def test_rehearsal_does_every_step_and_leaves_nothing_behind(generated):
    output = generated.check("make", "rehearse")
    assert "rehearsed: every step ended as expected" in output
    for step in (
        "deploy again: nothing changes .* ok",
        "release that cannot start .* failed, as expected",
        "release with different answers .* failed, as expected",
        "canary whose requests fail .* failed, as expected",
        "the account is empty .* ok",
    ):
        assert re.search(step, output), step
    log = generated.read("rehearsal.log")
    assert re.search(r"the release goes back: Alarm\(s\) detected: ecs-express-\S+-rollback", log)


def test_templates_are_linted(generated):
    lint = ("rehearsal/.venv/bin/cfn-lint", "--regions", "ALL_REGIONS", "--")
    generated.check(*lint, "deploy/bootstrap.yml", "deploy/service.yml")
    assert scan_with_checkov(generated) > 20


def test_address_is_https_on_an_aws_domain(deployed):
    url = deployed.make("url").split()[-1]
    assert re.fullmatch(rf"https://{SLUG}-[0-9a-f]+\.ecs\.{REGION}\.on\.aws", url)
    assert deployed.make("smoke").count(f"smoke: {url} predicts") == 1


def test_redeploying_changes_nothing(deployed):
    before = deployed.revisions()
    assert deployed.make(*STEPS).count("is up to date, nothing to change") == 2
    assert deployed.revisions() == before


def test_release_gets_a_share_of_the_requests_first(deployed):
    output = deployed.make("promote", IMAGE_TAG="next")
    shares = re.findall(r"(\d+) % of the requests go to the new tasks", output)
    assert shares == ["5", "100"]
    assert given(deployed)["ImageTag"] == "next"


def test_release_is_rolled_back_when_the_alarm_fires(deployed):
    revision = deployed.service()["taskDefinition"]
    alarm = alarm_of(deployed)
    release = deployed.start("service-release", IMAGE_TAG="alarming")
    wait_for_line(release, "5 % of the requests go to the new tasks")
    # Without traffic, ECS would reset the alarm within a minute.
    while release.poll() is None and deployed.service()["taskDefinition"] != revision:
        set_off(deployed, alarm)
    output, _ = release.communicate(timeout=300)
    assert release.returncode != 0
    assert f"the release goes back: Alarm(s) detected: {alarm}." in output
    assert deployed.service()["taskDefinition"] == revision


def test_operations_respond_according_to_their_shapes(deployed):
    """The AWS CLI would reject a response that does not fit."""
    service = deployed.service()
    described = deployed.aws(
        "ecs", "describe-express-gateway-service", "--service-arn", service["serviceArn"]
    )["service"]
    assert described["status"] == {"statusCode": "ACTIVE"}
    (configuration,) = described["activeConfigurations"]
    assert configuration["healthCheckPath"] == "/v2/health/ready"
    assert configuration["taskDefinitionArn"] == service["taskDefinition"]
    (path,) = configuration["ingressPaths"]
    assert path["accessType"] == "PUBLIC"
    assert f"https://{path['endpoint']}" in deployed.make("url")


@pytest.mark.parametrize(
    ("name", "port", "message"),
    [
        ("service", {"containerPort": 5000, "name": "http"}, "must have a container named Main"),
        ("Main", {"containerPort": 5000}, "a single TCP port mapping with a container port and a"),
    ],
)
def test_task_definition_that_express_mode_rejects_is_refused(deployed, name, port, message):
    container = {"name": name, "image": "x", "portMappings": [port]}
    revision = deployed.aws(
        *("ecs", "register-task-definition", "--family", "other", "--cpu", "256"),
        *("--memory", "512", "--network-mode", "awsvpc", "--requires-compatibilities", "FARGATE"),
        *("--container-definitions", json.dumps([container])),
    )["taskDefinition"]["taskDefinitionArn"]
    create = {
        "serviceName": "other",
        "cluster": STACK,
        "infrastructureRoleArn": f"arn:aws:iam::{ACCOUNT}:role/{STACK}-infrastructure",
        "taskDefinitionArn": revision,
    }
    done = subprocess.run(
        ["aws", "ecs", "create-express-gateway-service", "--cli-input-json", json.dumps(create)],
        cwd=deployed.path,
        env=deployed.environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode != 0
    assert message in done.stderr
    deployed.aws("ecs", "deregister-task-definition", "--task-definition", revision)


def test_operations_create_change_and_delete_a_service(deployed):
    service = deployed.service()
    create = {
        "serviceName": "second",
        "cluster": STACK,
        "infrastructureRoleArn": f"arn:aws:iam::{ACCOUNT}:role/{STACK}-infrastructure",
        "taskDefinitionArn": service["taskDefinition"],
        "scalingTarget": {"minTaskCount": 1, "maxTaskCount": 2},
    }

    def ask(operation, **request):
        command = ("ecs", f"{operation}-express-gateway-service")
        return deployed.aws(*command, "--cli-input-json", json.dumps(request))["service"]

    arn = ask("create", **create)["serviceArn"]
    scaling = {"minTaskCount": 2, "maxTaskCount": 3}
    told = ask("update", serviceArn=arn, scalingTarget=scaling)
    assert told["targetConfiguration"]["scalingTarget"] == scaling
    services = deployed.aws("ecs", "describe-services", "--cluster", STACK, "--services", arn)
    assert services["services"][0]["desiredCount"] == 2
    assert ask("delete", serviceArn=arn)["status"]["statusCode"] != "ACTIVE"
    command = ["aws", "ecs", "describe-express-gateway-service", "--service-arn", arn]
    done = subprocess.run(
        command, cwd=deployed.path, env=deployed.environment, capture_output=True, text=True
    )
    assert "ResourceNotFoundException" in done.stderr


def test_region_without_a_default_network_is_named(account):
    for vpc in account.aws("ec2", "describe-vpcs")["Vpcs"]:
        for subnet in account.aws("ec2", "describe-subnets")["Subnets"]:
            account.aws("ec2", "delete-subnet", "--subnet-id", subnet["SubnetId"])
        account.aws("ec2", "delete-vpc", "--vpc-id", vpc["VpcId"])
    environment = {**account.environment, "DOCKER": "true", "ENV": "staging"}
    command = ["make", "doctor"]
    run = {"cwd": account.path, "env": environment, "capture_output": True, "text": True}
    done = subprocess.run(command, **run)
    assert done.returncode != 0
    assert f"region {REGION} has no default network: 'aws ec2 create-default-vpc'" in done.stderr
    with parameters(account, SubnetIds="subnet-1,subnet-2"):
        assert "has no default network" not in subprocess.run(command, **run).stderr


def test_cost_includes_the_load_balancer_and_its_addresses(deployed):
    output = deployed.make("cost", AWS_REGION="us-east-1")
    assert "idle, 1 task: about $43.64 a month" in output
    assert "4 public addresses $14.60, load balancer $16.43, alarms $0.60, metrics $3.00" in output


# Allowed by the policy for CloudFormation, which acts in its caller's name, from the handlers of its schema.
BY_CLOUDFORMATION = {
    "ec2:DescribeAccountAttributes",
    "ec2:DescribeAvailabilityZones",
    "ec2:DescribeSubnets",
    "ecs:DeregisterTaskDefinition",
    "ecs:DescribeExpressGatewayService",
    "ecs:DescribeServiceRevisions",
    "ecs:RegisterTaskDefinition",
    "ecs:TagResource",
    "ecs:UpdateExpressGatewayService",
    "elasticloadbalancing:DescribeLoadBalancers",
    "elasticloadbalancing:DescribeTargetGroups",
    "iam:GetRole",
    "iam:PassRole",
    "logs:DescribeLogGroups",
}


def test_role_of_the_pipeline_allows_exactly_what_a_release_does(generated, account):
    account.make("bootstrap", "service-up")
    log = generated.path / "rehearsal-aws.log"
    before = len(log.read_text())
    account.make("image-scan", "promote", IMAGE_TAG="next")
    account.make("rollback")
    account.fails("service-release", IMAGE_CHECK="deploy/image-pushed.sh", IMAGE_TAG="missing")
    called = actions_in(log.read_text()[before:])
    allowed = allowed_to_release(generated)
    assert "ecs:ContinueServiceDeployment" not in allowed
    assert called - allowed == {"sts:GetCallerIdentity"}  # needs no permission
    unused = allowed - called - BY_CLOUDFORMATION - BY_DOCKER - RARE
    # For doctor, and for the reason why a task does not start.
    assert unused <= {
        "ecs:DescribeCapacityProviders",
        "ecs:DescribeTasks",
        "ecs:ListTasks",
        "logs:GetLogEvents",
    }


def test_destroy_leaves_nothing_behind(account):
    account.make(*STEPS)
    assert "nothing of ml-inference-service is left" in account.make("destroy", FORCE="1")
    assert stacks(account) == {}
    assert account.aws("cloudwatch", "describe-alarms")["MetricAlarms"] == []
    assert account.roles() == []
