"""The deployment steps on the embedded AWS: what each must do, and how each must handle a failure."""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from conftest import PROJECT_TEMPLATE
from denials import Denials
from test_project import PENGUIN, ask

pytestmark = pytest.mark.slow

SERVICE = "ml-inference-service"
ACCOUNT = "123456789012"
NETWORK = ("ecs-configure", "iam-role", "log-group", "cluster-up", "security-group")
STEPS = (*NETWORK, "service-up")
TOUCHING = (
    *("ecr-create", "iam-role", "log-group", "cluster-up", "security-group", "service-up"),
    *("rollback", "scale", "destroy", "image-scan", "ps", "logs", "smoke", "url", "releases"),
)

SET_UP = """
import json, sys
from rehearsal import stage
with stage.set_up(set(sys.argv[1:])) as scene:
    print(json.dumps([str(scene.copy), scene.environment]), flush=True)
    sys.stdin.read()
"""


# Variables that only count on make's command line.
GIVEN = ("ENV", "FOR", "FORCE", "IN", "N", "OUT", "PARTS", "TEST_URL")


class Account:
    """A project with an embedded AWS account."""

    def __init__(self, path, environment, cluster):
        self.path = path
        self.environment = environment
        self.cluster = cluster

    def beside(self, project):
        """Return another project with its own commit and the same account."""
        path = os.path.join(os.path.dirname(self.path), project.path.parent.name)
        shutil.copytree(project.path, path, symlinks=True)
        return Account(path, self.environment, self.cluster)

    def start(self, *targets, **variables):
        """Start making ``targets`` in their own process group."""
        given = [f"{name}={variables.pop(name)}" for name in GIVEN if name in variables]
        return subprocess.Popen(
            ["make", *targets, *given],
            cwd=self.path,
            env={**self.environment, **variables},
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def fails(self, *targets, **variables):
        """Make ``targets``, which must fail; return the output."""
        process = self.start(*targets, **variables)
        output, _ = process.communicate(timeout=1500)
        assert process.returncode != 0, output
        assert "Traceback" not in output
        return output

    def make(self, *targets, **variables):
        """Make ``targets``, which must succeed; return the output."""
        process = self.start(*targets, **variables)
        output, _ = process.communicate(timeout=1500)
        assert process.returncode == 0, output
        return output

    def aws(self, *arguments):
        """Return the parsed output of an AWS CLI command."""
        answer = subprocess.run(
            ["aws", *arguments, "--output", "json"],
            cwd=self.path,
            env=self.environment,
            check=True,
            stdout=subprocess.PIPE,
        )
        return json.loads(answer.stdout or "null")

    def service(self):
        """Return the service as ECS describes it."""
        answer = self.aws(
            "ecs", "describe-services", "--cluster", self.cluster, "--services", SERVICE
        )
        return answer["services"][0]

    def roles(self):
        """Return the names of the roles that AWS does not own."""
        roles = self.aws("iam", "list-roles")["Roles"]
        return [role["RoleName"] for role in roles if role["Path"] == "/"]

    def revisions(self):
        """Return the numbers of all active revisions."""
        arns = self.aws("ecs", "list-task-definitions")["taskDefinitionArns"]
        return [int(arn.rsplit(":", 1)[1]) for arn in arns]


def interrupt(process):
    """End ``process`` and its group as Ctrl-C does; return the remaining output."""
    os.killpg(process.pid, signal.SIGINT)
    try:
        return process.communicate(timeout=60)[0]
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        raise


@contextlib.contextmanager
def open_account(installed, *tools, cluster=SERVICE, **variables):
    """Yield an empty account with a copy of the project, ready to be deployed with these tools."""
    with subprocess.Popen(
        ["rehearsal/.venv/bin/python", "-c", SET_UP, *tools],
        cwd=installed.path,
        env={**os.environ, "DOCKER": "no-docker", **variables},
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as stage:
        path, environment = json.loads(stage.stdout.readline())
        yield Account(path, {**environment, "IMAGE_TAG": "first"}, cluster)
        stage.stdin.close()


@pytest.fixture
def account(installed, ecs_cli):
    with open_account(installed, "ecs-cli", ECS_CLI=ecs_cli) as account:
        yield account


@pytest.fixture(scope="module")
def empty(installed, ecs_cli):
    """An empty account; tests leave it empty."""
    with open_account(installed, "ecs-cli", ECS_CLI=ecs_cli) as account:
        yield account
        clusters = account.aws("ecs", "describe-clusters", "--clusters", SERVICE)["clusters"]
        assert "ACTIVE" not in [cluster["status"] for cluster in clusters]
        assert not account.roles()


@pytest.fixture(scope="module")
def deployed(installed, ecs_cli):
    """An account with a running service; tests leave it running."""
    with open_account(installed, "ecs-cli", ECS_CLI=ecs_cli) as account:
        account.make(*STEPS, "smoke")
        yield account


@contextlib.contextmanager
def canned_endpoint(answers):
    """Yield an endpoint that answers each action from ``answers``: its name to status and body, or to several in turn."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            name = self.headers.get("X-Amz-Target", body)
            answer = next(value for action, value in answers.items() if action in name)
            status, text = answer.pop(0) if isinstance(answer, list) else answer
            self.send_response(status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *arguments):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


IDENTITY = """<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
<GetCallerIdentityResult><Account>123456789012</Account></GetCallerIdentityResult>
</GetCallerIdentityResponse>"""
EXPIRED = """<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error>
<Type>Sender</Type><Code>ExpiredToken</Code>
<Message>The security token included in the request is expired</Message></Error></ErrorResponse>"""


def test_missing_credentials_are_named_before_anything_changes(deployed):
    nobody = {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}
    for target in TOUCHING:
        output = deployed.fails(target, "FORCE=1", "N=2", **nobody)
        assert "AWS does not accept the credentials in eu-west-1: run 'aws configure'" in output
        assert "Unable to locate credentials" in output
    assert deployed.service()["desiredCount"] == 1


def test_wrong_account_is_named_before_anything_changes(deployed):
    for target in TOUCHING:
        output = deployed.fails(target, "FORCE=1", "N=2", "AWS_ACCOUNT_ID=210987654321")
        expected = (
            "the credentials belong to account 123456789012, but the Makefile says 210987654321"
        )
        assert expected in output
    assert deployed.service()["desiredCount"] == 1


def test_expired_token_is_named(deployed):
    with canned_endpoint({"GetCallerIdentity": (403, EXPIRED)}) as endpoint:
        output = deployed.fails("iam-role", AWS_ENDPOINT_URL=endpoint)
    assert "run 'aws configure' or 'aws sso login'" in output
    assert "(ExpiredToken)" in output


def test_call_that_is_throttled_once_is_repeated(deployed, tmp_path):
    """Though the user has set that no call is."""
    (tmp_path / "config").write_text("[default]\nretry_mode = legacy\nmax_attempts = 1\n")
    throttled = EXPIRED.replace("ExpiredToken", "Throttling")
    answers = {"GetCallerIdentity": [(400, throttled), (200, IDENTITY)]}
    with canned_endpoint(answers) as endpoint:
        config = {"AWS_CONFIG_FILE": str(tmp_path / "config"), "AWS_ENDPOINT_URL": endpoint}
        deployed.make("account", **config)
    assert answers["GetCallerIdentity"] == []


def test_region_without_fargate_is_named(deployed):
    answers = {
        "GetCallerIdentity": (200, IDENTITY),
        "DescribeCapacityProviders": (200, '{"capacityProviders": [], "failures": []}'),
    }
    with canned_endpoint(answers) as endpoint:
        output = deployed.fails("doctor", AWS_ENDPOINT_URL=endpoint)
    assert "doctor: region eu-west-1 has no Fargate: generate the project again" in output


def test_missing_tools_are_named_all_at_once(deployed):
    output = deployed.fails("doctor", DOCKER="no-docker", ECS_CLI="no-ecs-cli")
    assert "doctor: no-docker is not installed: apt-get install docker.io" in output
    assert "doctor: no-ecs-cli is not installed: make ecs-cli" in output


def test_different_version_of_ecs_cli_is_named(deployed, tmp_path):
    other = tmp_path / "ecs-cli"
    other.write_text("#!/bin/sh\necho 'ecs-cli version 1.20.0 (7547c45)'\n")
    other.chmod(0o755)
    output = deployed.fails("doctor", ECS_CLI=str(other))
    assert "ecs-cli version 1.20.0 (7547c45) is not version 1.21.0: run 'make ecs-cli'" in output


def test_docker_that_is_not_running_is_named(deployed, docker):
    output = deployed.fails("doctor", DOCKER=docker, DOCKER_HOST="unix:///nowhere/docker.sock")
    assert f"doctor: {docker} does not answer: start it" in output


def test_port_that_compose_does_not_publish_is_named(deployed):
    output = deployed.fails("doctor", "SERVICE_PORT=8080")
    assert "docker-compose.yml does not publish port 8080, the one in the Makefile" in output


def test_account_and_region_that_differ_from_the_makefile_are_named(deployed):
    files = ("ecs-trust-policy.json has", "docker-compose.yml has")
    output = deployed.fails("doctor", DOCKER="no-docker")
    assert not any(file in output for file in files)
    output = deployed.fails("doctor", "AWS_ACCOUNT_ID=210987654321", "AWS_REGION=eu-west-3")
    for file, what, found, said in (
        ("ecs-trust-policy.json", "account", ACCOUNT, "210987654321"),
        ("ecs-trust-policy.json", "region", "eu-west-1", "eu-west-3"),
        ("docker-compose.yml", "region", "eu-west-1", "eu-west-3"),
    ):
        line = f"doctor: {file} has {what} {found}, but the Makefile says {said}: correct one of"
        assert output.count(line) == 1, output

    # One of the two places in the trust policy.
    def move(text):
        return text.replace(f'"aws:SourceAccount": "{ACCOUNT}"', '"aws:SourceAccount": "1"')

    with edited(deployed, "ecs-trust-policy.json", move):
        output = deployed.fails("doctor", DOCKER="no-docker")
    assert f"ecs-trust-policy.json has account 1, but the Makefile says {ACCOUNT}" in output


def test_staging_is_a_separate_service(deployed):
    deployed.make("ecr-create", *STEPS, ENV="staging")
    families = {SERVICE, f"{SERVICE}-staging"}
    arns = deployed.aws("ecs", "list-task-definitions")["taskDefinitionArns"]
    assert {re.search(r"/(.+):", arn)[1] for arn in arns} == families
    output = deployed.make("destroy", ENV="staging", FORCE="1")
    assert f"kept the images: {SERVICE} needs them" in output
    left = f"nothing else of {SERVICE}-staging is left: what was kept is listed above"
    assert left in output
    deployed.make("smoke")


def test_policy_of_the_pipeline_allows_exactly_what_a_release_does(account, installed):
    account.make(*STEPS)
    log = installed.path / "rehearsal-aws.log"
    before = len(log.read_text())
    account.make("promote", IMAGE_TAG="next")
    account.make("rollback")
    with broken_task(account):
        account.fails("service-up", IMAGE_TAG="broken")
    account.fails("image-scan")
    called = set(re.findall(r"^\w+:[A-Z]\w+$", log.read_text()[before:], re.MULTILINE))
    policy = json.loads(account.make("--silent", "iam-policy", FOR="release"))
    allowed = {action for statement in policy["Statement"] for action in statement["Action"]}
    assert called - allowed == {"sts:GetCallerIdentity"}  # needs no permission
    assert {action for action in allowed - called if not action.startswith("ecr:")} <= {
        "cloudformation:DescribeStacks",  # by the real ecs-cli, like the others without a comment
        "ecs:DescribeCapacityProviders",
        "ecs:DescribeClusters",
        "ecs:ListAccountSettings",
        "ecs:ListServices",
        "iam:PassRole",  # a permission without an action
        "inspector2:ListCoverage",  # by ECR, if Inspector scans the account's images; so is the next
        "inspector2:ListFindings",
    }
    whole = json.loads(account.make("--silent", "iam-policy"))["Statement"]
    for statement in policy["Statement"]:
        assert any(
            set(statement["Action"]) <= set(other["Action"])
            and statement["Resource"] == other["Resource"]
            and statement.get("Condition") == other.get("Condition")
            for other in whole
        ), statement["Sid"]


def test_uncommitted_changes_are_refused_in_ci(deployed):
    output = deployed.fails("doctor", CI="true", IMAGE_TAG="0123456789ab-dirty-76543210")
    assert "CI must not deploy uncommitted changes (0123456789ab-dirty-76543210)" in output


def test_doctor_passes_and_estimates_the_cost(deployed, docker):
    output = deployed.make("doctor", DOCKER=docker, DOCKER_HOST=os.environ.get("DOCKER_HOST", ""))
    # 730 hours of 0.25 x 0.04048 + 0.5 x 0.004445 + 0.005 dollars
    assert "idle, 1 task: about $12.66 a month: 1 task of 0.25 vCPU and 0.5 GB $9.01" in output
    assert "region eu-west-1, image tag first: ready" in output


def test_region_without_a_price_is_reported(deployed):
    output = subprocess.run(
        ["deploy/cost.sh"],
        cwd=deployed.path,
        env={
            **deployed.environment,
            "AWS_REGION": "cn-north-1",
            "CLUSTER": SERVICE,
            "PYTHON": "python3",
        },
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    ).stdout
    assert "(Fargate in us-east-1); deploy/prices.tsv has none for cn-north-1; all else" in output


def test_outdated_price_is_reported(deployed):
    def age(text):
        return re.sub(r"^(us-east-1.*)\t\S+$", r"\1\t2001-01", text, flags=re.MULTILINE)

    command = {"AWS_REGION": "us-east-1", "CLUSTER": SERVICE, "PYTHON": "python3"}

    def cost():
        return subprocess.run(
            ["deploy/cost.sh"],
            cwd=deployed.path,
            env={**deployed.environment, **command},
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        ).stdout

    assert "last confirmed" not in cost()
    with edited(deployed, "deploy/prices.tsv", age):
        assert "note: Fargate in us-east-1 was last confirmed in 2001-01" in cost()


def test_task_has_the_permissions_of_its_file_and_no_others(account):
    role = f"{SERVICE}-task"

    def names():
        return account.aws("iam", "list-role-policies", "--role-name", role)["PolicyNames"]

    def policy():
        (name,) = names()
        policy = ("get-role-policy", "--role-name", role, "--policy-name", name)
        return account.aws("iam", *policy)["PolicyDocument"]

    account.make("iam-role")
    assert names() == []
    file = os.path.join(account.path, "deploy/task-policy.json")
    allow = {"Effect": "Allow", "Action": "s3:GetObject"}
    bucket = {**allow, "Resource": "arn:aws:s3:::${SERVICE}/*"}
    document = {"Version": "2012-10-17", "Statement": [bucket]}
    with open(file, "w") as text:
        json.dump(document, text)
    for _ in range(2):
        assert f"{role} may do what deploy/task-policy.json allows" in account.make("iam-role")
    assert policy()["Statement"] == [{**allow, "Resource": f"arn:aws:s3:::{SERVICE}/*"}]
    os.remove(file)
    assert f"deleted the permissions of {role}" in account.make("iam-role")
    assert names() == []
    assert "deleted the permissions" not in account.make("iam-role")
    # Destroy deletes them with the role.
    with open(file, "w") as text:
        json.dump(document, text)
    account.make("iam-role")
    assert f"nothing of {SERVICE} is left" in account.make("destroy", "FORCE=1")
    assert not account.roles()


def test_repository_settings_are_corrected(account):
    tag = "Key=created-by,Value=make ecr-create"
    account.aws("ecr", "create-repository", "--repository-name", SERVICE, "--tags", tag)
    assert f"repository {SERVICE} exists" in account.make("ecr-create")
    (repository,) = account.aws("ecr", "describe-repositories")["repositories"]
    assert repository["imageTagMutability"] == "IMMUTABLE"
    assert repository["imageScanningConfiguration"] == {"scanOnPush": True}
    policy = account.aws("ecr", "get-lifecycle-policy", "--repository-name", SERVICE)
    assert json.loads(policy["lifecyclePolicyText"])["rules"]


def test_existing_repository_is_left_alone(account):
    account.aws("ecr", "create-repository", "--repository-name", SERVICE)
    before = account.aws("ecr", "describe-repositories")
    assert "its settings and images stay unchanged" in account.make("ecr-create")
    output = account.make("destroy", "FORCE=1")
    assert f"kept the images: 'make ecr-create' found repository {SERVICE}" in output
    assert account.aws("ecr", "describe-repositories") == before


def test_ecs_cli_gets_the_checked_credentials_and_no_profile(empty, tmp_path):
    home = tmp_path / "home"
    (home / ".aws").mkdir(parents=True)
    (home / ".aws" / "config").write_text("[profile other]\nregion = eu-west-1\n")
    tool = tmp_path / "ecs-cli"
    tool.write_text('#!/bin/sh\necho "profile ${AWS_PROFILE:-none} ${ECS_PROFILE:-none}"\nexit 1\n')
    tool.chmod(0o755)
    profiles = {"HOME": str(home), "AWS_PROFILE": "other", "ECS_PROFILE": "other"}
    for target in ("ps", "cluster-up"):
        assert "profile none none" in empty.fails(target, ECS_CLI=str(tool), **profiles)
    # The cluster is created before its network, with the tag by which destroy recognises it.
    assert "deleted the cluster" in empty.make("destroy", "FORCE=1")


@pytest.mark.parametrize("state", ["UPDATE_ROLLBACK_FAILED", "UPDATE_ROLLBACK_COMPLETE"])
def test_stack_that_may_work_is_not_deleted(empty, tmp_path, state):
    script = f"#!/bin/sh\ncase $1 in sts) echo {ACCOUNT} ;; *) echo {state} ;; esac\n"
    aws = tmp_path / "aws"
    aws.write_text(script)
    aws.chmod(0o755)
    path = f"{tmp_path}{os.pathsep}{empty.environment['PATH']}"
    output = empty.start("cluster-up", PATH=path).communicate(timeout=60)[0]
    expected = {
        "UPDATE_ROLLBACK_FAILED": "is UPDATE_ROLLBACK_FAILED: see CloudFormation's console",
        "UPDATE_ROLLBACK_COMPLETE": f"cluster {SERVICE} exists",
    }
    assert expected[state] in output
    assert "deleting" not in output


@pytest.mark.parametrize(
    ("target", "first"),
    [
        ("security-group", "cluster-up"),
        ("service-up", "cluster-up"),
        ("smoke", "deploy ENV=production"),
        ("url", "deploy ENV=production"),
        ("rollback", "deploy ENV=production"),
        ("scale", "deploy ENV=production"),
        ("logs", "deploy ENV=production"),
    ],
)
def test_step_out_of_order_says_which_comes_first(empty, target, first):
    assert f"'make {first}'" in empty.fails(target, "N=2")


def test_service_up_without_a_security_group_says_which_step_comes_first(account):
    account.make("cluster-up")
    assert "there is no security group yet: run 'make security-group' first" in account.fails(
        "service-up"
    )


STACK = f"amazon-ecs-cli-setup-{SERVICE}"


def test_incomplete_stack_is_recreated(account):
    # A change set that was never executed leaves such a stack; moto cannot simulate a failed one.
    change = ("--change-set-name", "x", "--change-set-type", "CREATE", "--template-body")
    template = json.dumps({"Resources": {"Topic": {"Type": "AWS::SNS::Topic"}}})
    account.aws("cloudformation", "create-change-set", "--stack-name", STACK, *change, template)
    output = account.make(*NETWORK)
    assert f"deleting stack {STACK}, which an earlier run left in REVIEW_IN_PROGRESS" in output
    assert f"created cluster {SERVICE}" in output


def test_stack_that_another_run_is_creating_is_left_alone(account):
    # moto stays in this state if a resource cannot be created.
    template = json.dumps({"Resources": {"Subnet": {"Type": "AWS::EC2::Subnet"}}})
    create = ("create-stack", "--stack-name", STACK, "--template-body", template)
    with pytest.raises(subprocess.CalledProcessError):
        account.aws("cloudformation", *create)
    output = account.fails("cluster-up", WAIT_SECONDS="1", POLL_SECONDS="0.2")
    assert f"stack {STACK} is CREATE_IN_PROGRESS, waiting for the other run to end" in output
    assert f"stack {STACK} is still CREATE_IN_PROGRESS" in output


def rules(account):
    """Return every ingress rule: ports and network."""
    answer = account.aws(
        "ec2", "describe-security-groups", "--filters", f"Name=group-name,Values={SERVICE}"
    )
    (group,) = answer["SecurityGroups"]
    return group["GroupId"], [
        (rule["FromPort"], rule["ToPort"], network["CidrIp"])
        for rule in group["IpPermissions"]
        for network in rule["IpRanges"]
    ]


def test_security_group_ends_with_exactly_one_rule(account):
    account.make(*NETWORK)
    group, before = rules(account)
    assert before == [(5000, 5000, "0.0.0.0/0")]
    for port, network in ((22, "0.0.0.0/0"), (5000, "10.0.0.0/8")):
        add = ("--group-id", group, "--protocol", "tcp", "--port", str(port), "--cidr", network)
        account.aws("ec2", "authorize-security-group-ingress", *add)
    output = account.make("security-group")
    assert "closed tcp 22 22 0.0.0.0/0" in output
    assert rules(account) == (group, before)
    account.make("security-group", "ALLOWED_CIDR=203.0.113.0/24")
    assert rules(account) == (group, [(5000, 5000, "203.0.113.0/24")])


@contextlib.contextmanager
def edited(account, name, edit):
    """Replace a file's text with the result of ``edit`` for the duration of the block."""
    path = os.path.join(account.path, name)
    with open(path) as file:
        text = file.read()
    with open(path, "w") as file:
        file.write(edit(text))
    try:
        yield
    finally:
        with open(path, "w") as file:
            file.write(text)


def task_variable(account, name, value):
    """Add an environment variable to new tasks."""
    line = f"environment:\n      {name}: {value}\n"
    return edited(account, "docker-compose.yml", lambda text: text.replace("environment:\n", line))


def broken_task(account):
    """Make new tasks look for a model that does not exist."""
    return task_variable(account, "MODEL_PATH", "missing")


def waiting_code(gate):
    """Return a line of Python that waits until a file exists."""
    return f"import os, time\nwhile not os.path.exists({str(gate)!r}): time.sleep(0.1)"


def held_task(account, gate):
    """Make new tasks wait for a file before they start, so that a rollout can be observed in progress."""
    folder = gate.parent / "held"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(waiting_code(gate))
    return task_variable(account, "PYTHONPATH", folder)


def wait_for_line(process, text):
    """Read the output of ``process`` until a line contains ``text``; fail if none does."""
    printed = ""
    for line in process.stdout:
        printed += line
        if text in line:
            return
    pytest.fail(f"no line says {text!r}:\n{printed}")


def finish(process):
    """Wait for ``process``, which must succeed; return the remaining output."""
    with process:
        output = process.stdout.read()
    assert process.returncode == 0, output
    return output


def test_first_task_that_never_starts_fails_with_its_reason_and_can_be_fixed(account):
    with broken_task(account):
        output = account.fails(*NETWORK, "service-up")
    assert "its state is FAILED" in output
    assert re.search(r"task \S+ stopped: Essential container in task exited with code 1", output)
    assert "Could not read the model: missing" in output
    assert account.service()["runningCount"] == 0
    assert f"runs {image(account, 'first')}" in account.make(*STEPS)


def put_image(account, tag):
    """Put an image with this tag into ECR."""
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
        "config": {"digest": f"sha256:{tag}"},
        "layers": [],
    }
    image = ("--image-tag", tag, "--image-manifest", json.dumps(manifest))
    account.aws("ecr", "put-image", "--repository-name", SERVICE, *image)


def image(account, tag):
    """Return the image's name in ECR."""
    return f"{ACCOUNT}.dkr.ecr.eu-west-1.amazonaws.com/{SERVICE}:{tag}"


def test_release_that_never_starts_keeps_the_previous_one_and_its_revisions(deployed):
    before = deployed.service()["taskDefinition"], deployed.revisions()
    with broken_task(deployed):
        output = deployed.fails("service-up", IMAGE_TAG="broken")
    assert f"the rollout of {image(deployed, 'broken')} failed" in output
    assert "so that a rollback never lands on it" in output
    assert (deployed.service()["taskDefinition"], deployed.revisions()) == before
    deployed.make("smoke")


def test_redeploying_replaces_no_task(deployed):
    def tasks():
        return deployed.aws("ecs", "list-tasks", "--cluster", SERVICE)["taskArns"]

    before = tasks(), deployed.revisions()
    deployed.make(*STEPS)
    assert (tasks(), deployed.revisions()) == before


def registered(account):
    """Return the container in the service's task definition."""
    revision = account.service()["taskDefinition"]
    answer = account.aws("ecs", "describe-task-definition", "--task-definition", revision)
    (container,) = answer["taskDefinition"]["containerDefinitions"]
    return container


def test_unread_log_blocks_no_response(deployed):
    options = registered(deployed)["logConfiguration"]["options"]
    assert (options["mode"], options["max-buffer-size"]) == ("non-blocking", "25m")


def test_env_file_does_not_leak_into_the_task(deployed):
    file = os.path.join(deployed.path, ".env")
    with open(file, "w") as env:
        env.write("IMAGE=evil\nIMAGE_TAG=evil\nSECRET=leaked\nWORKERS=9\n")
    with task_variable(deployed, "SEEN", "x${SECRET:-no}"):
        deployed.make("service-up", IMAGE_TAG="beside-env")
    os.remove(file)
    container = registered(deployed)
    environment = {item["name"]: item["value"] for item in container["environment"]}
    assert environment == {"SEEN": "xno", "WORKERS": "1"}
    assert container["image"] == image(deployed, "beside-env")


@pytest.mark.parametrize("line", ["creating cluster", "rolling out", "the rollout is IN_PROGRESS"])
def test_interrupted_deploy_is_completed_by_the_next(account, line, tmp_path):
    gate = tmp_path / "gate"
    with held_task(account, gate):
        process = account.start(*STEPS)
        wait_for_line(process, line)
        # Interrupt in the middle of the announced step, wherever that is.
        time.sleep(0.5)
        interrupt(process)
    assert process.returncode != 0
    gate.touch()
    assert f"runs {image(account, 'first')}" in account.make(*STEPS)
    assert account.service()["runningCount"] == 1


def test_concurrent_deploys_leave_one_service_that_the_next_deploy_accepts(account):
    account.make(*NETWORK)
    both = [account.start("service-up", IMAGE_TAG=tag) for tag in ("one", "two")]
    outputs = [process.communicate(timeout=1500)[0] for process in both]
    for process, output in zip(both, outputs, strict=True):
        assert "Traceback" not in output
        assert process.returncode == 0 or re.search(r"the rollout of \S+ failed|FATAL", output)
    assert any(process.returncode == 0 for process in both), outputs
    account.make("service-up", "smoke", IMAGE_TAG="three")
    service = account.service()
    assert service["runningCount"] == 1
    assert [deployment["rolloutState"] for deployment in service["deployments"]] == ["COMPLETED"]


def test_deploy_waits_for_a_rollout_in_progress(account, tmp_path):
    account.make(*STEPS)
    gate = tmp_path / "gate"
    with held_task(account, gate):
        other = account.start("service-up", IMAGE_TAG="other")
        wait_for_line(other, "the rollout is IN_PROGRESS")
    mine = account.start("service-up", IMAGE_TAG="mine")
    wait_for_line(mine, "a rollout is in progress, waiting for it to end")
    gate.touch()
    assert f"runs {image(account, 'mine')}" in finish(mine)
    other.communicate(timeout=1500)


def test_release_that_fails_before_registering_keeps_every_revision(account, tmp_path):
    account.make(*STEPS)
    account.make("service-up", IMAGE_TAG="second")
    before = account.service()["taskDefinition"], account.revisions()
    assert len(before[1]) == 2
    broken = tmp_path / "ecs-cli"
    broken.write_text("#!/bin/sh\necho 'could not reach ECS' >&2\nexit 1\n")
    broken.chmod(0o755)
    output = account.fails("service-up", ECS_CLI=str(broken), IMAGE_TAG="second")
    assert "could not reach ECS" in output
    assert (account.service()["taskDefinition"], account.revisions()) == before


def test_smoke_sends_the_key_that_the_service_requires(deployed):
    with task_variable(deployed, "API_KEY", "secret"):
        deployed.make("service-up")
    url = deployed.make("url").strip()
    assert ask(f"{url}/predict", {"instances": [PENGUIN]})[0] == 401
    assert f"{url} predicts" in deployed.make("smoke", API_KEY="secret")
    deployed.make("service-up")


def test_key_sent_in_clear_text_is_noted(deployed):
    key = ("--type", "SecureString", "--name", f"/{SERVICE}/api-key", "--value", "secret")
    deployed.aws("ssm", "put-parameter", *key)
    secret = f"      secrets:\n        - name: API_KEY\n          value_from: /{SERVICE}/api-key\n"

    def ask_for_key(text):
        return text.replace("      essential: true\n", f"      essential: true\n{secret}")

    with edited(deployed, "ecs-params.yml", ask_for_key):
        output = deployed.make("service-up", "smoke", API_KEY="secret")
        # The change of a key in docs/deployment.md: both, and new tasks.
        deployed.aws("ssm", "put-parameter", *key[:-1], "secret,next", "--overwrite")
        deployed.make("service-up", "smoke", IMAGE_TAG="next-key", API_KEY="next")
        deployed.make("smoke", API_KEY="secret")
    assert "this deploy tool serves HTTP: key and data travel in clear text" in output
    assert "in clear text" not in deployed.make("service-up")


ZONES = """<DescribeAvailabilityZonesResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/">
<availabilityZoneInfo>{}</availabilityZoneInfo></DescribeAvailabilityZonesResponse>"""
ZONE = "<item><zoneName>{}</zoneName><zoneId>{}</zoneId></item>"


def test_zones_without_fargate_are_not_used(deployed):
    # Zone names mean different zones in each account; zone ids do not.
    ids = {"a": "apne1-az3", "b": "apne1-az4", "c": "apne1-az1", "d": "apne1-az2"}

    def zones(*names):
        items = (ZONE.format(f"ap-northeast-1{name}", ids[name]) for name in names)
        answers = {"DescribeAvailabilityZones": (200, ZONES.format("".join(items)))}
        with canned_endpoint(answers) as endpoint:
            return subprocess.run(
                ["deploy/zones.sh"],
                cwd=deployed.path,
                env={
                    **deployed.environment,
                    "AWS_ENDPOINT_URL_EC2": endpoint,
                    "AWS_REGION": "ap-northeast-1",
                },
                capture_output=True,
                text=True,
            )

    assert zones("a", "b", "c", "d").stdout.split() == ["ap-northeast-1b", "ap-northeast-1c"]
    few = zones("a", "b")
    assert few.returncode != 0
    assert "fewer than two zones with Fargate for this account: ap-northeast-1b" in few.stderr


def test_smoke_reports_that_another_model_is_served(deployed, tmp_path):
    deployed.make("sample")
    with open(os.path.join(deployed.path, "sample.txt")) as file:
        lines = file.read().splitlines()
    sample = tmp_path / "sample.txt"
    sample.write_text("\n".join([*lines[:2], "0123456789ab", ""]))
    output = deployed.make("smoke", SAMPLE_COMMAND=f"cat {sample}")
    assert f"serves model {lines[2]}, the local image has 0123456789ab" in output
    assert "note:" not in deployed.make("smoke")


def test_rollback_goes_to_another_image_and_leaves_no_revision_to_return_to(deployed):
    deployed.make("service-up", IMAGE_TAG="good")
    deployed.make("service-up", IMAGE_TAG="bad")
    with task_variable(deployed, "SEEN", "again"):
        deployed.make("service-up", IMAGE_TAG="bad")
    left = deployed.service()["taskDefinition"]
    assert f"runs {image(deployed, 'good')}" in deployed.make("rollback")
    assert int(left.rsplit(":", 1)[1]) not in deployed.revisions()


def test_rollback_needs_an_earlier_release(deployed):
    output = deployed.fails("rollback", f"FAMILY={SERVICE}-without-revisions")
    assert f"there is no release before {SERVICE}:" in output


def test_releases_are_listed_and_the_running_one_is_marked(deployed):
    deployed.make("service-up", IMAGE_TAG="0123456789ab-000000000001")
    deployed.make("service-up", IMAGE_TAG="0123456789ab-dirty-ab12cd34-000000000002")
    title, *lines = [line[7:].split() for line in deployed.make("releases").splitlines()]
    assert title == ["released", "by", "commit", "model", "metrics"]
    newest, before = lines[:2]
    assert newest[2:5] == ["rehearsal", "0123456789ab-dirty-ab12cd34", "000000000002"]
    assert before[3:5] == ["0123456789ab", "000000000001"]
    assert newest[0] == time.strftime("%Y-%m-%d", time.gmtime())
    assert newest[5].startswith("accuracy=0.9")
    assert len(lines) > 2
    assert len(deployed.make("releases", RELEASES="1").splitlines()) == 2
    output = deployed.make("releases", RELEASES="2")
    assert [line.startswith("runs") for line in output.splitlines()] == [False, True, False]


def test_running_image_is_kept_by_the_registry(account):
    """The lifecycle policy recognises it by a tag."""
    account.make("ecr-create", *NETWORK)
    put_image(account, "abc-1")
    for _ in range(2):
        account.make("service-up", IMAGE_TAG="abc-1")
    images = ("ecr", "describe-images", "--repository-name", SERVICE)
    (image,) = account.aws(*images)["imageDetails"]
    assert set(image["imageTags"]) == {"abc-1", "production-abc-1"}
    policy = account.aws("ecr", "get-lifecycle-policy", "--repository-name", SERVICE)
    first, *_ = json.loads(policy["lifecyclePolicyText"])["rules"]
    assert first["selection"]["tagPrefixList"] == ["production-"]


def test_retrained_model_is_a_separate_release(installed, ecs_cli, docker, engine, registry):
    """At the same commit: code and model together are served and rolled back to."""
    host = {"DOCKER": docker, "DOCKER_HOST": engine["DOCKER_HOST"]}
    with open_account(
        installed, "ecs-cli", "docker", "registry", ECS_CLI=ecs_cli, **host
    ) as account:
        del account.environment["IMAGE_TAG"]
        release = ("docker-build", "docker-push", "service-up", "smoke")

        def served():
            """Return the image's tag and the model version that the service reports."""
            version = json.loads(ask(f"{account.make('url').strip()}/v2")[1])["version"]
            return registered(account)["image"].rpartition(":")[2], version

        account.make(*NETWORK, *release)
        before = served()
        # A model trained on another day is a different model, since its card holds the training time.
        account.make("train", SOURCE_DATE_EPOCH="86400")
        account.make(*release)
        after = served()
        assert after[1] != before[1]
        for tag, version in (before, after):
            assert tag == f"{before[0].rpartition('-')[0]}-{version}"
        account.make("rollback")
        assert served() == before
        account.make("destroy", "FORCE=1")


def test_scale_needs_a_number(deployed):
    assert "say how many: make scale N=3" in deployed.fails("scale")
    assert "say how many: make scale N=3" in deployed.fails("scale", "N=many")


def test_logs_follow_the_output_of_the_service(deployed):
    deployed.make("service-up", IMAGE_TAG="next")
    logs = deployed.start("logs")
    assert any("listening" in line.lower() for line in logs.stdout)
    interrupt(logs)


def test_ctrl_c_ends_the_logs_however_the_command_handles_it(empty, tmp_path):
    deaf = tmp_path / "aws"
    deaf.write_text(
        "#!/bin/sh\ntrap '' INT\n"
        f"case $1 in sts) echo {ACCOUNT} ;; *) echo asked && sleep 1 ;; esac\n"
    )
    deaf.chmod(0o755)
    path = f"{tmp_path}{os.pathsep}{empty.environment['PATH']}"
    logs = empty.start("logs", PATH=path)
    assert any("asked" in line for line in logs.stdout)
    assert "asked" not in interrupt(logs)


def test_destroy_asks_for_confirmation_by_name(deployed):
    for answer in ("", "yes\n", f"{SERVICE}2\n"):
        result = subprocess.run(
            ["make", "destroy"],
            cwd=deployed.path,
            env=deployed.environment,
            input=answer,
            capture_output=True,
            text=True,
        )
        assert result.returncode != 0
    assert deployed.service()["status"] == "ACTIVE"


def test_destroy_keeps_a_cluster_that_others_use(account, tmp_path):
    account.make(*STEPS)
    subnets = account.aws("ec2", "describe-subnets")["Subnets"]
    network = f"awsvpcConfiguration={{subnets=[{subnets[0]['SubnetId']}],securityGroups=[]}}"
    create = ("--service-name", "other", "--task-definition", SERVICE, "--desired-count", "0")
    place = ("--cluster", SERVICE, "--network-configuration", network)
    account.aws("ecs", "create-service", *place, *create, "--launch-type", "FARGATE")

    def others():
        answer = account.aws(
            "ecs", "describe-services", "--cluster", SERVICE, "--services", "other"
        )
        return [service["status"] for service in answer["services"]]

    denials = Denials(account, tmp_path)
    # A failed call must not count as 'none': that once deleted a cluster along with another project's service.
    for question in ("ecs list-services", "ecs list-tasks"):
        output = account.fails("destroy", "FORCE=1", **denials.variables(question))
        assert f"'aws {question}' failed (" in output
        assert others() == ["ACTIVE"]
    output = account.make("destroy", "FORCE=1")
    assert f"kept cluster {SERVICE} and its network, because other services or tasks" in output
    assert others() == ["ACTIVE"]
    assert account.aws("cloudformation", "describe-stacks")["Stacks"]
    # The last service takes the cluster with it.
    account.aws("ecs", "delete-service", "--cluster", SERVICE, "--service", "other")
    assert "deleted the cluster and its network" in account.make("destroy", "FORCE=1")


def test_destroy_keeps_a_cluster_that_existed_before(account):
    account.aws("ecs", "create-cluster", "--cluster-name", SERVICE, "--tags", "key=team,value=x")
    account.make(*STEPS)
    output = account.make("destroy", "FORCE=1")
    assert f"kept cluster {SERVICE}, which existed before" in output
    (cluster,) = account.aws("ecs", "describe-clusters", "--clusters", SERVICE)["clusters"]
    assert cluster["status"] == "ACTIVE"
    assert not account.aws("cloudformation", "describe-stacks")["Stacks"]


def test_no_query_discards_its_errors():
    """Check the source text, since a test can only deny the calls it knows."""
    for script in PROJECT_TEMPLATE.rglob("deploy/*.sh"):
        text = script.read_text().replace("\\\n", " ")
        assert "|| true" not in text, script
        for line in text.splitlines():
            is_question = re.search(r"^[^#]*\baws (?!configure )[a-z]", line)
            assert not (is_question and "2>/dev/null" in line), (script, line)


def test_number_of_tasks_has_an_upper_limit(deployed):
    assert "cost: 2 tasks, without requests: about $25.32 a month" in deployed.make("scale", N="2")
    # A number of tasks in the shell belongs to another program.
    settings = {"TASKS": "9", "AWS_REGION": "us-east-1", "CLUSTER": SERVICE, "PYTHON": "python3"}
    environment = {**deployed.environment, **settings}
    command = ["deploy/cost.sh"]
    estimate = subprocess.run(command, cwd=deployed.path, env=environment, capture_output=True)
    assert b"idle, 1 task: about $12.66 a month" in estimate.stdout
    deployed.make("scale", N="1")
    output = deployed.fails("scale", N="21")
    assert "21 tasks are more than 20: if you mean it, add MAX_TASKS=21" in output
    assert "say how many" in deployed.fails("scale", N="99999999")


def test_lost_network_is_not_reported_as_wrong_credentials(deployed):
    output = deployed.fails("account", AWS_ENDPOINT_URL="http://127.0.0.1:9", AWS_MAX_ATTEMPTS="1")
    assert "AWS cannot be reached: check the network" in output
    assert "aws configure" not in output


def test_destroy_of_nothing_and_of_a_partial_deployment_succeeds(account):
    assert f"nothing of {SERVICE} is left" in account.make("destroy", "FORCE=1")
    boundary = f"arn:aws:iam::{ACCOUNT}:policy/boundary"
    account.make("iam-role")
    # A role that exists gets it as well.
    account.make("iam-role", "cluster-up", PERMISSIONS_BOUNDARY=boundary)
    roles = [account.aws("iam", "get-role", "--role-name", name) for name in account.roles()]
    bounds = [role["Role"]["PermissionsBoundary"]["PermissionsBoundaryArn"] for role in roles]
    assert bounds == [boundary] * 2
    assert f"nothing of {SERVICE} is left" in account.make("destroy", "FORCE=1")
    assert not account.roles()
