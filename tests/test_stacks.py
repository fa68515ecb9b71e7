"""Deploying with CloudFormation on the embedded AWS: what each step does, and how it handles failures."""

import itertools
import json
import os
import re
import runpy
import subprocess
import sys

import pytest
from denials import Denials
from test_ask import server
from test_deploy import (
    canned_endpoint,
    edited,
    finish,
    interrupt,
    open_account,
    put_image,
    wait_for_line,
    waiting_code,
)
from test_project import PENGUIN, ask
from test_templates import (
    NETWORKS,
    SIGN_IN,
    STRATEGIES,
    Template,
    listed,
    look,
    statements,
)

pytestmark = pytest.mark.slow

SLUG = "ml-inference-service"
STACK = f"{SLUG}-staging"
REGION = "eu-west-1"
ACCOUNT = "123456789012"
STEPS = ("bootstrap", "service-up", "smoke")
CHECKOV = "checkov==3.3.30"


@pytest.fixture(scope="module")
def generated(train):
    """A trained project with all of its environments installed, including the embedded AWS."""
    return train(rehearses=True, deploy_tool="cloudformation", aws_region=REGION)


@pytest.fixture
def account(generated):
    with open_account(generated, cluster=STACK) as account:
        yield account


@pytest.fixture(scope="module")
def deployed(generated):
    """An account with a running service; tests leave it running."""
    with open_account(generated, cluster=STACK) as account:
        account.make(*STEPS)
        yield account


def parameters(account, **values):
    """Change the parameters of staging for the duration of the block."""

    def edit(text):
        return json.dumps({"Parameters": {**json.loads(text)["Parameters"], **values}})

    return edited(account, "deploy/staging.json", edit)


def stack(account, name=STACK):
    """Return a stack as CloudFormation describes it."""
    return account.aws("cloudformation", "describe-stacks", "--stack-name", name)["Stacks"][0]


def stacks(account):
    """Return the existing stacks with their status."""
    listed = account.aws("cloudformation", "describe-stacks")["Stacks"]
    return {item["StackName"]: item["StackStatus"] for item in listed}


def predict(account, name, **options):
    """Query the service of a stack through its load balancer."""
    outputs = {item["OutputKey"]: item["OutputValue"] for item in stack(account, name)["Outputs"]}
    url = f"http://{outputs['LoadBalancerName']}/predict"
    return ask(url, {"instances": [PENGUIN]}, **options)


def given(account, name=STACK):
    """Return the parameters of a stack."""
    return {
        item["ParameterKey"]: item["ParameterValue"] for item in stack(account, name)["Parameters"]
    }


@pytest.fixture(scope="module")
def combinations(generated, deployed):
    """Parameters by their purpose, as in the README; the resources that they name exist in the account."""
    aws = deployed.aws
    vpc = aws("ec2", "create-vpc", "--cidr-block", "10.9.0.0/16")["Vpc"]["VpcId"]
    gateway = aws("ec2", "create-internet-gateway")["InternetGateway"]["InternetGatewayId"]
    attach = ("--internet-gateway-id", gateway, "--vpc-id", vpc)
    aws("ec2", "attach-internet-gateway", *attach)
    subnets = [
        aws(
            *("ec2", "create-subnet", "--vpc-id", vpc, "--cidr-block", f"10.9.{number}.0/24"),
            *("--availability-zone", f"{REGION}{zone}"),
        )["Subnet"]["SubnetId"]
        for number, zone in enumerate("ab")
    ]
    domain = ("--domain-name", "model.example.com")
    certificate = aws("acm", "request-certificate", *domain)["CertificateArn"]
    zone = ("--name", "example.com", "--caller-reference", "once")
    hosted = aws("route53", "create-hosted-zone", *zone)["HostedZone"]["Id"].rpartition("/")[2]
    topic = aws("sns", "create-topic", "--name", "alarms")["TopicArn"]
    key = ("--type", "SecureString", "--name", "/ml/key", "--value", "secret")
    aws("ssm", "put-parameter", *key)
    secret = ("--name", "ml-key", "--secret-string", "secret")
    https = {"CertificateArn": certificate, "DomainName": "model.example.com"}
    return {
        "production": json.loads(generated.read("deploy/production.json"))["Parameters"],
        "size": {"Cpu": "1024", "Memory": "2048", "Architecture": "ARM64"},
        "spot": {"MinTasks": "2", "MaxTasks": "4", "SpotWeight": "3"},
        "https": https,
        "https-and-dns": {**https, "HostedZoneId": hosted},
        "network": {"VpcId": vpc, "SubnetIds": ",".join(subnets)},
        "private-network": {
            "VpcId": vpc,
            "SubnetIds": ",".join(subnets),
            "TaskSubnetIds": ",".join(subnets),
            "InternalLoadBalancer": "true",
        },
        "nat": {"Network": "NAT", "VpcCidr": "10.7.0.0/20", "Exec": "true"},
        "endpoints": {"Network": "ENDPOINTS", "Exec": "true"},
        "secluded": {"Network": "ENDPOINTS", "InternalLoadBalancer": "true"},
        "guarded": {
            **https,
            "WebAclArn": f"arn:aws:wafv2:{REGION}:{ACCOUNT}:regional/webacl/a/1",
            "AccessLogsBucket": "logs-of-all",
        },
        "sign-in": {
            **https,
            **SIGN_IN,
            "ApiKeyArn": f"arn:aws:ssm:{REGION}:{ACCOUNT}:parameter/ml/key",
        },
        "office-hours": {
            "OfficeHours": "true",
            "TimeZone": "Europe/Berlin",
            "OfficeDays": "MON-SAT",
        },
        "blue-green": {"DeploymentStrategy": "BLUE_GREEN", "BakeMinutes": "1"},
        "canary": {"DeploymentStrategy": "CANARY", "StepPercent": "5", "StepMinutes": "1"},
        "linear": {"DeploymentStrategy": "LINEAR", **https},
        "alarms": {"AlarmTopicArn": topic, "RollbackOnErrors": "false"},
        "key-in-parameter-store": {
            **https,
            "ApiKeyArn": f"arn:aws:ssm:{REGION}:{ACCOUNT}:parameter/ml/key",
        },
        "key-in-secrets-manager": {
            **https,
            "ApiKeyArn": aws("secretsmanager", "create-secret", *secret)["ARN"],
        },
        "scheduled": {
            "BatchSchedule": "cron(0 3 * * ? *)",
            "BatchInput": "s3://data/rows.csv",
            "BatchOutput": "s3://data/scores.csv",
            "AlarmTopicArn": topic,
        },
        "the-rest": {"Exec": "true", "LogDays": "7", "ContainerInsights": "enhanced"},
    }


# Combinations that go together, for one service.
TOGETHER = (
    ("production",),
    ("size", "spot", "network", "alarms"),
    ("private-network", "office-hours", "the-rest"),
    ("nat", "blue-green", "scheduled"),
    ("endpoints", "canary", "key-in-secrets-manager"),
    ("secluded", "linear"),
    ("https", "guarded", "https-and-dns", "key-in-parameter-store"),
    ("sign-in",),
)


@pytest.mark.parametrize("names", TOGETHER, ids="-".join)
def test_service_of_each_combination_answers(deployed, combinations, names):
    name, chosen = names[0], dict(itertools.chain(*(combinations[one].items() for one in names)))
    assert all(chosen.items() >= combinations[one].items() for one in names)
    with parameters(deployed, **chosen):
        # Set them on the command line, which overrides the Makefile's own.
        variables = [f"STACK={name}", f"CLUSTER={name}"]
        if chosen.get("Architecture") == "ARM64":
            variables.append("PLATFORM=linux/arm64")
        deployed.make("service-up", *variables)
    assert given(deployed, name).items() >= chosen.items()
    status, body = predict(deployed, name)
    if "ApiKeyArn" in chosen:
        assert status == 401
        status, body = predict(deployed, name, headers={"X-API-Key": "secret"})
    assert (status, json.loads(body)["predictions"]) == (200, ["Adelie"])


def test_combinations_are_linted(generated, combinations, tmp_path):
    """cfn-lint checks the template with each set of parameters, in all regions."""
    assert set(combinations) == set(itertools.chain(*TOGETHER))
    files = []
    products = {
        "-".join(names): {
            "DeploymentStrategy": names[0],
            "TestBeforeTraffic": "false" if names[0] == "ROLLING" else "true",
            **NETWORKS[names[1]],
            **combinations.get(names[2], {}),
        }
        for names in itertools.product(
            STRATEGIES, ("public", "nat", "endpoints", "internal"), ("http", "https")
        )
    }
    for name, chosen in (combinations | products).items():
        file = tmp_path / f"{name}.json"
        items = {"ImageTag": "abc", **chosen}.items()
        lists = ("SubnetIds", "TaskSubnetIds")
        items = [(key, value.split(",") if key in lists else value) for key, value in items]
        file.write_text(json.dumps([{"ParameterKey": k, "ParameterValue": v} for k, v in items]))
        files.append(str(file))
    lint = "rehearsal/.venv/bin/cfn-lint"
    generated.check(lint, "deploy/service.yml", "--parameter-files", *files)
    generated.check(
        lint, "--regions", "ALL_REGIONS", "--", "deploy/bootstrap.yml", "deploy/service.yml"
    )


def test_checkov_finds_nothing_without_a_reason(generated):
    assert scan_with_checkov(generated) > 40


def scan_with_checkov(generated):
    """Return how many Checkov checks a project's templates pass; none may fail, and skipped ones need a reason."""
    uv = os.path.join(os.path.dirname(sys.executable), "uv")
    scan = ("checkov", "--directory", "deploy", "--framework", "cloudformation", "--output", "json")
    offline = {"BC_SKIP_MAPPING": "TRUE"}
    output = generated.run(
        uv, "tool", "run", "--quiet", "--from", CHECKOV, *scan, "--skip-download", **offline
    )
    found = json.loads(output.stdout)["results"]
    assert not [check["check_id"] for check in found["failed_checks"]]
    for check in found["skipped_checks"]:
        assert len(check["check_result"]["suppress_comment"]) > 10, check["check_id"]
    return len(found["passed_checks"])


def test_redeploying_changes_nothing(deployed):
    before = deployed.revisions(), stack(deployed)
    output = deployed.make(*STEPS)
    assert output.count("is up to date, nothing to change") == 2
    assert (deployed.revisions(), stack(deployed)) == before


def test_diff_shows_pending_changes_and_changes_nothing(deployed):
    before = stack(deployed)
    with parameters(deployed, Cpu="512", Memory="1024"):
        output = deployed.make("diff")
    assert re.search(r"~ TaskDefinition \(AWS::ECS::TaskDefinition\)", output)
    assert stack(deployed) == before
    assert "nothing to change" in deployed.make("diff")


def test_diff_before_the_first_deploy_leaves_nothing_behind(deployed):
    output = deployed.make("diff", ENV="production")
    assert "+ LoadBalancer (AWS::ElasticLoadBalancingV2::LoadBalancer)" in output
    assert f"{SLUG}-production" not in stacks(deployed)


def test_release_changes_the_image_and_nothing_else(deployed):
    with parameters(deployed, Cpu="512", Memory="1024"):
        output = deployed.make("service-release", "smoke", IMAGE_TAG="next")
    assert given(deployed).items() >= {"ImageTag": "next", "Cpu": "256"}.items()
    assert "differs from the stack's template" not in output
    with edited(deployed, "deploy/service.yml", lambda text: f"{text}# changed\n"):
        output = deployed.make("service-release", IMAGE_TAG="first")
    assert "note: deploy/service.yml differs from the stack's template" in output
    assert "nothing to change" in deployed.make("service-up")


def test_rollback_goes_back_release_by_release(account):
    account.make("service-up", IMAGE_TAG="one")
    for tag in ("two", "three"):
        account.make("service-release", IMAGE_TAG=tag)
    assert "from three to two" in account.make("rollback")
    assert "from two to one" in account.make("rollback")
    assert "there is no release before one" in account.fails("rollback")


def test_scale_sets_the_number_of_tasks(deployed):
    assert "3 of at least 3 tasks are running" in deployed.make("scale", N="3")
    assert given(deployed).items() >= {"MinTasks": "3", "MaxTasks": "3"}.items()
    assert "say how many: make scale N=3" in deployed.fails("scale", N="many")
    output = deployed.fails("scale", N="21")
    assert "21 tasks are more than 20: if you mean it, add MAX_TASKS=21" in output
    # Autoscaling may need what is more.
    assert "3 of at least 2 tasks are running" in deployed.make("scale", N="2")
    assert deployed.make("ps").count(f"task-definition/{STACK}:") == 3


def test_parameters_are_applied_with_the_running_image(deployed):
    deployed.make("configure")
    assert "set Exec to true in deploy/staging.json" in deployed.fails("exec")
    before = given(deployed)
    with parameters(deployed, Exec="true"):
        deployed.make("configure", IMAGE_TAG="never", SAMPLE_COMMAND="false")
        assert given(deployed) == {**before, "Exec": "true"}
        assert "its session-manager-plugin" in deployed.fails("exec")
    deployed.make("configure")
    assert given(deployed) == before


@pytest.mark.parametrize("name", ["InternalLoadBalancer", "VpcCidr"])
def test_parameter_that_needs_another_load_balancer_is_refused(deployed, name):
    value = {"InternalLoadBalancer": "true", "VpcCidr": "10.9.0.0/16"}[name]
    with parameters(deployed, **{name: value}):
        for target in ("diff", "service-up"):
            assert f"{name} of {STACK} cannot change from" in deployed.fails(target)


FAULTS = {
    "certificate-of-another-region": (
        {
            "CertificateArn": f"arn:aws:acm:us-east-1:{ACCOUNT}:certificate/0a",
            "DomainName": "a.example.com",
        },
        f"a certificate of ACM in {REGION}, the region of the load balancer",
    ),
    "certificate-without-name": (
        {"CertificateArn": f"arn:aws:acm:{REGION}:{ACCOUNT}:certificate/0a"},
        "CertificateArn needs DomainName",
    ),
    "size-that-is-not-sold": (
        {"Cpu": "256", "Memory": "3072"},
        "With Cpu 256 the Memory must be 512, 1024 or 2048",
    ),
    "missing-parameter-of-ssm": (
        {"ApiKeyArn": f"arn:aws:ssm:{REGION}:{ACCOUNT}:parameter/missing"},
        "ApiKeyArn of deploy/staging.json names a secret that does not exist",
    ),
    "missing-secret": (
        {"ApiKeyArn": f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:missing-abcdef"},
        "ApiKeyArn of deploy/staging.json names a secret that does not exist",
    ),
    "unknown-parameter": ({"Taks": "2"}, "Parameters: [Taks] do not exist in the template"),
    "too-few-tasks": ({"MinTasks": "0"}, "'MinTasks' must be a number in its range"),
    "number": ({"MinTasks": 2}, "deploy/staging.json: MinTasks must be a string in quotes, not 2"),
    "more-tasks-than-most": (
        {"MinTasks": "9"},
        "deploy/staging.json: MinTasks is 9, more than MaxTasks, which is 2",
    ),
    "other-processor": (
        {"Architecture": "ARM64"},
        "Architecture is ARM64, but the image's PLATFORM is linux/amd64",
    ),
}


# Not again for each fault.
BOOTSTRAPPED = "--assume-old=bootstrap"


@pytest.mark.parametrize(("values", "message"), FAULTS.values(), ids=FAULTS)
def test_wrong_parameter_is_named_before_anything_is_created(generated, faulty, values, message):
    with parameters(faulty, **values):
        assert message in faulty.fails("service-up", BOOTSTRAPPED)
    assert STACK not in stacks(faulty)


@pytest.fixture(scope="module")
def faulty(generated):
    """An account in which nothing is created except what releases need."""
    with open_account(generated, cluster=STACK) as account:
        account.make("bootstrap")
        yield account


def test_secret_may_have_a_json_key(faulty):
    secret = ("--name", "keys", "--secret-string", '{"api_key": "secret"}')
    arn = faulty.aws("secretsmanager", "create-secret", *secret)["ARN"]
    with parameters(faulty, ApiKeyArn=f"{arn}:api_key::"):
        output = faulty.fails("service-up", BOOTSTRAPPED)
    # The secret was found; CloudFormation refuses the rest.
    assert "ApiKeyArn needs CertificateArn, or the key would travel in clear text" in output


def test_missing_resources_are_named(faulty):
    for target in ("service-release", "url", "smoke", "scale", "rollback", "ps", "exec"):
        assert "there is no service yet: run 'make deploy" in faulty.fails(target, N="2")
    output = faulty.fails("service-up", IMAGE_CHECK="deploy/image-pushed.sh", IMAGE_TAG="never")
    assert ":never is not in the registry: run 'make ecr-login docker-build docker-push'" in output
    with edited(faulty, "deploy/staging.json", lambda _: "{"):
        assert "deploy/staging.json is not" in faulty.fails("service-up")
    assert STACK not in stacks(faulty)


def test_image_in_the_registry_is_found(deployed):
    put_image(deployed, "there")
    deployed.make("service-release", IMAGE_CHECK="deploy/image-pushed.sh", IMAGE_TAG="there")
    images = deployed.aws("ecr", "describe-images", "--repository-name", SLUG)["imageDetails"]
    # The lifecycle policy recognises the image by this tag.
    assert ["there", "staging-there"] in [image["imageTags"] for image in images]


def test_image_scan_stops_findings_that_are_not_accepted(deployed):
    put_image(deployed, "scanned")
    start = ("--repository-name", SLUG, "--image-id", "imageTag=scanned")
    deployed.aws("ecr", "start-image-scan", *start)
    # moto reports the same findings for every image.
    output = deployed.make("image-scan", IMAGE_TAG="scanned")
    assert "found no unaccepted vulnerability of severity CRITICAL" in output
    strict = {"IMAGE_TAG": "scanned", "SCAN_SEVERITIES": "CRITICAL HIGH"}
    output = deployed.fails("image-scan", **strict)
    assert "image-scan: HIGH CVE-9999-9999 https://" in output
    assert "the image has 1 such vulnerabilities: build it on a newer base image" in output
    name = "deploy/accepted-vulnerabilities.txt"
    with edited(deployed, name, lambda text: f"{text}CVE-9999-9999 2999-12-31 made up\n"):
        assert "accepting CVE-9999-9999 until" in deployed.make("image-scan", **strict)
    with edited(deployed, name, lambda text: f"{text}CVE-9999-9999 made up\n"):
        expected = f"{name}: CVE-9999-9999 needs a last day and a reason"
        assert expected in deployed.fails("image-scan", **strict)
    assert "so the scan is skipped" in deployed.make("image-scan", SCAN_SEVERITIES="")


ENHANCED = {
    "imageScanStatus": {"status": "ACTIVE"},
    "imageScanFindings": {
        "enhancedFindings": [
            {"severity": "CRITICAL", "packageVulnerabilityDetails": {"vulnerabilityId": "CVE-1"}},
            {"severity": "LOW", "packageVulnerabilityDetails": {"vulnerabilityId": "CVE-2"}},
        ]
    },
}


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ((200, ENHANCED), "image-scan: CRITICAL CVE-1 "),
        (
            (200, {"imageScanStatus": {"status": "FAILED", "description": "no such system"}}),
            "ECR cannot scan this image: FAILED no such system; 'make SCAN_SEVERITIES= ...'",
        ),
        (
            (400, {"__type": "ImageNotFoundException", "message": "x"}),
            ":first is not in ECR: run 'make docker-push' first",
        ),
        (
            (400, {"__type": "AccessDeniedException", "message": "x"}),
            "could not query ECR (An error",
        ),
    ],
    ids=["enhanced", "failed", "no-image", "no-right"],
)
def test_scan_that_does_not_complete_stops_the_release(deployed, answer, message):
    status, body = answer
    answers = {"DescribeImageScanFindings": (status, json.dumps(body))}
    with canned_endpoint(answers) as endpoint:
        output = deployed.fails("image-scan", AWS_ENDPOINT_URL_ECR=endpoint)
    assert message in output
    assert "CVE-2" not in output


def test_credentials_of_another_account_change_nothing(faulty):
    before = stacks(faulty)
    for target in ("bootstrap", "diff", "service-up", "service-release", "scale", "destroy"):
        output = faulty.fails(target, "AWS_ACCOUNT_ID=999999999999", FORCE="1", N="2")
        assert "the credentials belong to account 123456789012" in output, target
    assert stacks(faulty) == before


# As version 2 of the AWS CLI writes an error with cli_error_format=json.
DOCUMENT = json.dumps({"Code": "AccessDenied", "Message": "not today"}, indent=4)


@pytest.mark.parametrize(
    ("target", "denied"),
    [("account", "sts get-caller-identity"), ("bootstrap", "cloudformation describe-stacks")],
)
def test_error_of_several_lines_is_told_as_a_whole(faulty, tmp_path, target, denied):
    output = faulty.fails(target, **Denials(faulty, tmp_path).variables(denied, DOCUMENT))
    assert '({ "Code": "AccessDenied", "Message": "not today" })' in output


DENIED = """<ErrorResponse xmlns="http://cloudformation.amazonaws.com/doc/2010-05-15/"><Error>
<Type>Sender</Type><Code>AccessDenied</Code><Message>Not authorized</Message></Error></ErrorResponse>"""


def test_destroy_without_read_permission_deletes_nothing(deployed):
    before = stacks(deployed)
    with canned_endpoint({"DescribeStacks": (403, DENIED)}) as endpoint:
        output = deployed.fails("destroy", "FORCE=1", AWS_ENDPOINT_URL_CLOUDFORMATION=endpoint)
    expected = "'aws cloudformation describe-stacks' failed (An error occurred (AccessDenied)"
    assert expected in output
    assert "deleted" not in output
    assert stacks(deployed) == before


def broken_code(account, line):
    """Make services started from now on begin with a line of Python."""
    return edited(account, "inference/__main__.py", lambda text: f"{line}\n{text}")


def test_failed_first_deploy_says_why_and_is_completed_by_the_next(account):
    with broken_code(account, 'raise SystemExit("no such luck")'):
        output = account.fails(*STEPS)
    assert "Service (AWS::ECS::Service): Error occurred during operation" in output
    assert re.search(r"task \S+ stopped: Essential container in task exited with code 1", output)
    assert "no such luck" in output
    assert stacks(account)[STACK] == "ROLLBACK_COMPLETE"
    assert "is ROLLBACK_COMPLETE: 'make deploy' deletes it and creates" in account.fails("diff")
    output = account.make(*STEPS)
    assert f"deleting {STACK}, which an earlier attempt left in ROLLBACK_COMPLETE" in output
    assert stacks(account)[STACK] == "CREATE_COMPLETE"


def protection(account, name):
    """Whether the load balancer of a stack has deletion protection."""
    answer = account.aws("cloudformation", "describe-stack-resources", "--stack-name", name)
    (arn,) = [
        one["PhysicalResourceId"]
        for one in answer["StackResources"]
        if one["LogicalResourceId"] == "LoadBalancer"
    ]
    found = account.aws("elbv2", "describe-load-balancer-attributes", "--load-balancer-arn", arn)
    values = {one["Key"]: one["Value"] for one in found["Attributes"]}
    return values["deletion_protection.enabled"]


def test_failed_first_production_deploy_can_be_deleted(account):
    """AWS refuses to delete a protected load balancer, and so does the embedded one."""
    name = f"{SLUG}-production"

    def from_the_first_second(text):
        return text.replace("is_there = stack.settle()", "is_there = True")

    with broken_code(account, "raise SystemExit"):
        account.fails("service-up", ENV="production")
        assert stacks(account)[name] == "ROLLBACK_COMPLETE"
        # Earlier versions did this.
        with edited(account, "deploy/stack.py", from_the_first_second):
            account.fails("service-up", ENV="production")
        assert stacks(account)[name] == "ROLLBACK_FAILED"
    account.make("service-up", ENV="production")
    # The stack is created first, and protected afterwards.
    assert stacks(account)[name] == "UPDATE_COMPLETE"
    assert protection(account, name) == "true"
    account.make("destroy", "FORCE=1", ENV="production")
    assert name not in stacks(account)


def test_traffic_stays_on_the_target_group_of_a_blue_green_release(account):
    with parameters(account, DeploymentStrategy="BLUE_GREEN"):
        account.make("service-up")
        assert given(account)["LiveTargetGroup"] == "PRIMARY"
        answer = account.aws("cloudformation", "describe-stack-resources", "--stack-name", STACK)
        ids = {
            one["LogicalResourceId"]: one.get("PhysicalResourceId")
            for one in answer["StackResources"]
        }
        # This is what ECS does during a release.
        weights = {"TargetGroup": 0, "AlternateTargetGroup": 100}
        groups = [
            {"TargetGroupArn": ids[name], "Weight": weight} for name, weight in weights.items()
        ]
        action = {"Type": "forward", "ForwardConfig": {"TargetGroups": groups}}
        rule = ("--rule-arn", ids["ListenerRule"], "--actions", json.dumps([action]))
        account.aws("elbv2", "modify-rule", *rule)
        account.make("service-up", IMAGE_TAG="next")
        assert given(account)["LiveTargetGroup"] == "ALTERNATE"
    # Back to rolling, the tasks stay where they were.
    account.make("service-up", IMAGE_TAG="next")
    assert given(account)["LiveTargetGroup"] == "ALTERNATE"


STEPS_OF = {
    "BLUE_GREEN": ["100"],
    "CANARY": ["20", "100"],
    "LINEAR": ["20", "40", "60", "80", "100"],
}


@pytest.mark.parametrize("strategy", STEPS_OF)
def test_release_shifts_the_traffic_in_steps(account, strategy):
    steps = {"StepPercent": "20", "StepMinutes": "5", "BakeMinutes": "5"}
    with parameters(account, DeploymentStrategy=strategy, **steps):
        account.make("service-up")
        output = account.make("service-release", IMAGE_TAG="next")
    assert re.findall(r"(\d+) % of the requests go to the new tasks", output) == STEPS_OF[strategy]
    assert given(account)["ImageTag"] == "next"
    assert predict(account, STACK)[0] == 200


def set_off(account, name):
    """Trigger an alarm."""
    state = ("--state-value", "ALARM", "--state-reason", "a test")
    account.aws("cloudwatch", "set-alarm-state", "--alarm-name", name, *state)


def test_canary_is_rolled_back_when_an_alarm_fires(account):
    with parameters(account, DeploymentStrategy="CANARY", StepPercent="30", StepMinutes="60"):
        account.make("service-up")
        revision = account.service()["taskDefinition"]
        release = account.start("service-release", IMAGE_TAG="next")
        wait_for_line(release, "30 % of the requests go to the new tasks")
        set_off(account, f"{STACK}-errors")
        output, _ = release.communicate(timeout=300)
    assert release.returncode != 0
    assert f"the release goes back: Alarm(s) detected: {STACK}-errors." in output
    assert f"{STACK} is UPDATE_ROLLBACK_COMPLETE" in output
    assert account.service()["taskDefinition"] == revision
    assert given(account)["ImageTag"] == "first"
    assert predict(account, STACK)[0] == 200


def test_embedded_load_balancer_gives_each_revision_its_share(generated):
    script = (
        "from rehearsal.balancer import choose\n"
        "print([choose({'new': 30, 'old': 70}, turn) for turn in range(200)].count('new'))"
    )
    assert generated.check("rehearsal/.venv/bin/python", "-c", script).strip() == "60"


def test_release_works_on_a_stack_of_an_earlier_version(account):
    """The pipeline's role may release, but cannot change the template."""

    def template(text):
        text = re.sub(r"  ModelMetrics:\n(    .*\n)+", "", text)
        return re.sub(r" +DockerLabels: .*\n", "", text)

    def without_metrics(text):
        return re.sub(r' +parameters\["ModelMetrics"\] = .*\n', "", text)

    with (
        edited(account, "deploy/service.yml", template),
        edited(account, "deploy/stack.py", without_metrics),
    ):
        account.make("service-up")
    assert "ModelMetrics" not in given(account)
    account.make("service-release", "releases", IMAGE_TAG="next")
    assert given(account)["ImageTag"] == "next"
    account.make("service-up", IMAGE_TAG="next")
    assert given(account)["ModelMetrics"].startswith("accuracy=")


def test_zones_of_a_network_do_not_change(account):
    account.make("service-up")
    before = {name: given(account)[name] for name in ("Zone1", "Zone2")}
    assert all(before.values())
    with edited(account, "deploy/zones.sh", lambda _: "#!/bin/sh\necho other\necho zones\n"):
        account.make("service-up", IMAGE_TAG="next")
    assert {name: given(account)[name] for name in before} == before


def test_interrupted_deploy_continues_and_the_next_waits_for_it(account, tmp_path):
    gate = tmp_path / "gate"
    with broken_code(account, waiting_code(gate)):
        process = account.start(*STEPS)
        wait_for_line(process, "CREATE_COMPLETE       LogGroup")
        interrupt(process)
    assert process.returncode != 0
    process = account.start("service-up", "smoke")
    wait_for_line(process, f"another run is changing {STACK} (CREATE_IN_PROGRESS), waiting for")
    gate.touch()
    finish(process)
    assert set(stacks(account).values()) == {"CREATE_COMPLETE"}


def test_destroy_of_one_environment_keeps_the_other_and_the_images(account):
    account.make(*STEPS)
    account.make("service-up", ENV="production")
    output = account.make("destroy", FORCE="1", ENV="production")
    assert f"kept the images and the pipeline's role: {STACK} needs them" in output
    account.make("smoke")
    assert "nothing of ml-inference-service is left" in account.make("destroy", FORCE="1")
    assert stacks(account) == {}
    assert "nothing of ml-inference-service is left" in account.make("destroy", FORCE="1")
    process = subprocess.run(
        ["make", "destroy"],
        cwd=account.path,
        env=account.environment,
        input="x\n",
        capture_output=True,
        text=True,
    )
    assert process.returncode != 0
    assert "nothing was deleted" in process.stderr


def test_deploy_works_in_another_partition(train):
    project = train(rehearses=True, deploy_tool="cloudformation", aws_region="cn-north-1")
    with open_account(project, cluster=STACK) as account:
        account.make("service-up", "smoke")
        account.make("destroy", "FORCE=1")
        assert stacks(account) == {}


def test_existing_gitlab_provider_is_kept(account):
    repository = ("--repository-name", SLUG)
    account.aws("ecr", "create-repository", *repository)
    account.fails("bootstrap")
    assert stacks(account) == {f"{SLUG}-bootstrap": "ROLLBACK_COMPLETE"}
    account.aws("ecr", "delete-repository", *repository)
    # As JSON: version 1 of the AWS CLI would fetch the URL.
    provider = {"Url": "https://gitlab.com", "ThumbprintList": ["0" * 40], "ClientIDList": ["x"]}
    create = ("iam", "create-open-id-connect-provider", "--cli-input-json", json.dumps(provider))
    arn = account.aws(*create)["OpenIDConnectProviderArn"]
    account.make("bootstrap")
    assert given(account, f"{SLUG}-bootstrap")["OidcProviderArn"] == arn
    assert "nothing to change" in account.make("bootstrap")


def test_cost_includes_the_load_balancer(generated, faulty):
    output = faulty.make("cost", "AWS_REGION=us-east-1", ENV="production")
    # Two tasks of 0.25 vCPU and 0.5 GB, a load balancer, and an address for each task and both zones.
    assert "idle, 2 tasks: about $52.95 a month: 2 tasks of 0.25 vCPU and 0.5 GB $18.02" in output
    assert "4 public addresses $14.60, load balancer $16.43, alarms $1.20, metrics $2.70" in output
    # Six tasks and eight addresses, load balancer units, and log volume.
    assert "busy, 6 tasks and 10 requests a second: about $115.18 a month" in output
    # Only Fargate's price is known for each region.
    output = faulty.make("cost")
    assert f"(Fargate in {REGION}); all else at those of us-east-1;" in output
    assert "load balancer $16.43" in output
    # The assumptions of the estimate.
    template = Template(generated.read("deploy/service.yml"))
    alarms = [
        look(template, name)
        for name, resource in template.raw["Resources"].items()
        if resource["Type"] == "AWS::CloudWatch::Alarm"
    ]
    metrics = [len([m for m in a.get("Metrics", [a]) if "Expression" not in m]) for a in alarms]
    # Each of the two autoscaling policies creates two.
    assert sum(metrics) + 4 == 12


# Allowed by the policy for CloudFormation, which acts in its caller's name, from the handlers of its schema.
BY_CLOUDFORMATION = {
    "ec2:DescribeAccountAttributes",
    "ec2:DescribeAddresses",
    "ec2:DescribeAvailabilityZones",
    "ec2:DescribeSubnets",
    "ecs:DeregisterTaskDefinition",
    "ecs:DescribeClusters",
    "ecs:DescribeServiceDeployments",
    "ecs:DescribeServiceRevisions",
    "ecs:ListServiceDeployments",
    "ecs:RegisterTaskDefinition",
    "ecs:TagResource",
    "ecs:UpdateService",
    "elasticloadbalancing:DescribeLoadBalancers",
    "elasticloadbalancing:DescribeTargetGroups",
    "iam:GetRole",
    "iam:PassRole",
    "logs:DescribeLogGroups",
}
BY_DOCKER = {
    "ecr:BatchCheckLayerAvailability",
    "ecr:CompleteLayerUpload",
    "ecr:GetAuthorizationToken",
    "ecr:GetDownloadUrlForLayer",
    "ecr:InitiateLayerUpload",
    "ecr:PutImage",
    "ecr:UploadLayerPart",
}
# In states that do not occur here.
RARE = {
    "cloudformation:ContinueUpdateRollback",
    "cloudformation:DeleteChangeSet",
    "ecs:ContinueServiceDeployment",  # with TestBeforeTraffic
    "inspector2:ListCoverage",  # by ECR, if Inspector scans the account's images; so is the next
    "inspector2:ListFindings",
}


def actions_in(log):
    """Return the actions named in a log of the embedded AWS."""
    return set(re.findall(r"^\w+:[A-Z]\w+$", log, re.MULTILINE))


def allowed_to_release(generated):
    """Return the actions that the pipeline's policy allows."""
    return {
        action
        for _, statement in statements(Template(generated.read("deploy/bootstrap.yml")))
        for action in listed(statement["Action"])
    }


def test_role_of_the_pipeline_allows_exactly_what_a_release_does(generated, account):
    account.make("bootstrap", "service-up")
    log = generated.path / "rehearsal-aws.log"
    before = len(log.read_text())
    account.make("image-scan", "promote", IMAGE_TAG="next")
    account.make("rollback")
    with broken_code(account, "raise SystemExit"):
        account.fails("service-release", IMAGE_TAG="broken")
    account.fails("service-release", IMAGE_CHECK="deploy/image-pushed.sh", IMAGE_TAG="missing")
    environment = {**account.environment, "DOCKER": "true", "ENV": "staging"}
    subprocess.run(["make", "doctor"], cwd=account.path, env=environment, check=True)
    called = actions_in(log.read_text()[before:])
    allowed = allowed_to_release(generated)
    assert called - allowed == {"sts:GetCallerIdentity"}  # needs no permission
    assert allowed - called == BY_CLOUDFORMATION | BY_DOCKER | RARE


TESTED = {"DeploymentStrategy": "CANARY", "StepPercent": "20", "TestBeforeTraffic": "true"}


def test_release_is_tried_before_any_client_reaches_it(account):
    with parameters(account, StepMinutes="2", BakeMinutes="1", **TESTED):
        account.make("service-up")
        output = account.make("promote", IMAGE_TAG="next")
    said = [
        "the new tasks will be compared with the running ones, before any client reaches them",
        "the new tasks are running, and no client reaches them yet: testing them",
        'predicts {"predictions":["Adelie"]',
        "0 of 69 answers differ, 0 %; 20 % are allowed",
        "the release goes on",
        "20 % of the requests go to the new tasks",
        "100 % of the requests go to the new tasks",
        f"{STACK} is UPDATE_COMPLETE",
    ]
    places = [output.find(text) for text in said]
    assert -1 not in places, (said[places.index(-1)], output)
    assert places == sorted(places)
    account.make("rollback")
    assert given(account)["ImageTag"] == "first"


def other_answers(account):
    """Make services started from now on predict something else for each penguin."""
    otherwise = runpy.run_path(os.path.join(account.path, "rehearsal/changes.py"))["OTHERWISE"]
    return edited(account, "inference/predictor.py", lambda text: text + otherwise)


def test_release_with_different_answers_reaches_no_client(account):
    with parameters(account, StepMinutes="2", BakeMinutes="1", **TESTED):
        account.make("service-up")
        revision = account.service()["taskDefinition"]
        with other_answers(account):
            release = account.start("promote", IMAGE_TAG="worse")
            answers = set()
            while release.poll() is None:
                answers.add(predict(account, STACK)[1])
            output, _ = release.communicate(timeout=300)
        assert release.returncode != 0
        assert len(answers) == 1, answers
        assert "69 of 69 answers differ, 100 %; 20 % are allowed" in output
        assert "more than 20 % of its answers differ (MAX_DIFFERENT)" in output
        assert "MODEL_GATE=off releases it anyway" in output
        assert "the release goes back: Service deployment rolled back because a" in output
        assert account.service()["taskDefinition"] == revision
        # With the gate off, it is released.
        with other_answers(account):
            output = account.make("promote", IMAGE_TAG="worse", MODEL_GATE="off")
        assert "MODEL_GATE is off: the model is not compared" in output
        assert given(account)["ImageTag"] == "worse"


def test_rolling_release_is_compared_before_it_begins(account):
    account.make("service-up")
    revisions = account.revisions()
    with other_answers(account):
        output = account.fails("promote", IMAGE_TAG="worse")
        assert "69 of 69 answers differ" in output
        assert account.revisions() == revisions
        output = account.make("promote", IMAGE_TAG="worse", MAX_DIFFERENT="100")
    assert "69 of 69 answers differ, 100 %; 100 % are allowed" in output
    assert "MODEL_GATE is no, and must be on or off" in account.fails("gate", MODEL_GATE="no")


def test_release_is_not_tried_without_running_tasks(account):
    with parameters(account, OfficeHours="true"):
        account.make("service-up")
        service = ("--cluster", STACK, "--service", SLUG)
        account.aws("ecs", "update-service", *service, "--desired-count", "0")
        output = account.fails("service-release", IMAGE_TAG="next")
    assert "no task is running outside of office hours" in output
    assert "'make scale N=1 ENV=staging'" in output


def test_office_hours_save_what_make_cost_says(faulty):
    with parameters(faulty, OfficeHours="true", MinTasks="2", MaxTasks="2"):
        output = faulty.make("cost", "AWS_REGION=us-east-1")
    # 60 of 168 hours a week: two tasks of $9.01 and their addresses of $3.65 cost 35.7 %.
    assert "office hours, 60 of 168 in a week, save about $16.28 a month of an idle" in output
    assert "2 tasks of 0.25 vCPU and 0.5 GB $6.44" in output
    with parameters(faulty, OfficeHours="true", OfficeDays="MON-SUN", TasksOutside="1"):
        output = faulty.make("cost", "AWS_REGION=us-east-1")
    # Nothing is saved for a single task.
    assert "84 of 168 in a week, save about $0.00 a month of an idle service, $6.33" in output


@pytest.mark.parametrize(
    ("network", "said"),
    [
        ({"Network": "NAT"}, ["3 public addresses $10.95", "NAT gateway $32.85"]),
        (
            {"Network": "ENDPOINTS", "Exec": "false"},
            ["2 public addresses $7.30", "3 endpoints $43.80"],
        ),
        ({"Network": "ENDPOINTS", "Exec": "true"}, ["4 endpoints $58.40"]),
        ({"InternalLoadBalancer": "true"}, ["1 public address $3.65"]),
    ],
)
def test_cost_includes_the_network(faulty, network, said):
    with parameters(faulty, **network):
        output = faulty.make("cost", "AWS_REGION=us-east-1")
    for text in said:
        assert text in output, output


def test_smoke_test_of_a_service_with_login_goes_as_far_as_a_program_can(deployed, combinations):
    with parameters(deployed, **combinations["https"], **SIGN_IN):
        deployed.make("service-up", "STACK=signed", "CLUSTER=signed")
    with server((302, "https://id.example.com/authorize")) as (url, _):
        output = deployed.make("smoke", "gate", "STACK=signed", "CLUSTER=signed", TEST_URL=url)
    assert f"smoke: {url} asks people to sign in, as it should" in output
    assert (
        "gate: the service asks people to sign in: its model cannot be compared without a key"
        in output
    )
    with server((200, "the page, to everybody")) as (url, _):
        output = deployed.fails("smoke", "STACK=signed", "CLUSTER=signed", TEST_URL=url)
    assert f"{url} does not ask people to sign in" in output
