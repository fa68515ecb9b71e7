"""The generated pipeline, run by gitlab-ci-local: what it does with a commit, and what stops it."""

import contextlib
import json
import os
import re
import secrets
import shutil
import subprocess
import sys
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import pytest
import yaml
from conftest import CHOICES, ROOT, BakedProject, bake_with, environment_with
from test_deploy import Account, canned_endpoint, open_account
from test_project import ask
from test_rehearsal import results
from test_stacks import REGION, SLUG, given, predict, stack

# gitlab-ci-local looks here for GitLab's own template before it downloads it.
TEMPLATE_OF_GITLAB = (
    ".gitlab-ci-local/includes/gitlab.com/gitlab-org/gitlab/-/raw/HEAD/lib/gitlab/ci/templates/Jobs"
    "/Secret-Detection.gitlab-ci.yml"
)
MERGE_REQUEST = ("--unset-variable=CI_COMMIT_BRANCH", "CI_PIPELINE_SOURCE=merge_request_event")
SCHEDULE = ("CI_PIPELINE_SOURCE=schedule",)


@dataclass
class Run:
    """The result of a pipeline."""

    succeeded: bool
    output: str

    @property
    def jobs(self):
        """The finished jobs, each with its result."""
        return {
            name: result
            for result, name in re.findall(r"^ (PASS|FAIL) +(\S+)", self.output, re.MULTILINE)
        }

    def of(self, job):
        """Return the output of a job."""
        return "\n".join(re.findall(rf"^{job} +> (.*)$", self.output, re.MULTILINE))


class Repository:
    """A project's repository, with a GitLab remote that is never contacted."""

    def __init__(self, path, environment, **variables):
        self.path = path
        self.environment = environment
        self.variables = variables
        if not (path / ".git").exists():
            self.git("init", "--quiet", "--initial-branch=main")
            self.commit("first")
        self.git("branch", "--move", "--force", "main")
        self.git("remote", "add", "origin", f"git@gitlab.com:group/{SLUG}.git")
        self.git("update-ref", "refs/remotes/origin/main", "HEAD")
        self.git("remote", "set-head", "origin", "main")
        for name in (".gitlab-ci-local*", "rehearsal/.venv"):
            (path / ".git/info").mkdir(exist_ok=True)
            with (path / ".git/info/exclude").open("a") as file:
                file.write(f"{name}\n")
        template = path / TEMPLATE_OF_GITLAB
        template.parent.mkdir(parents=True)
        template.write_text("secret_detection:\n  stage: test\n  script: ['true']\n")

    def git(self, *arguments):
        who = ("-c", "user.name=A", "-c", "user.email=a@example.com")
        command = ["git", *who, *arguments]
        return subprocess.run(
            command, cwd=self.path, check=True, text=True, stdout=subprocess.PIPE
        ).stdout.strip()

    def commit(self, message):
        self.git("add", ".")
        self.git("commit", "--quiet", f"--message={message}")

    @contextlib.contextmanager
    def changed(self, name, edit):
        """Commit a changed file, and revert it afterwards."""
        before = self.git("rev-parse", "HEAD")
        file = self.path / name
        file.write_text(edit(file.read_text()))
        self.commit(f"change {name}")
        try:
            yield self.head
        finally:
            self.git("reset", "--quiet", "--hard", before)

    @property
    def head(self):
        """The current commit, as it appears at the start of its image tag."""
        return self.git("rev-parse", "--short=12", "HEAD")

    def run(self, *arguments, event=(), timeout=1500, **variables):
        """Run the pipeline of the current commit, or the named jobs."""
        given = [f"{name}={value}" for name, value in {**self.variables, **variables}.items()]
        options = [item if item[0] == "-" else f"--variable={item}" for item in (*given, *event)]
        command = [
            ROOT / "tests/node_modules/.bin/gitlab-ci-local",
            *arguments,
            "--force-shell-executor",
            *options,
        ]
        done = subprocess.run(
            command,
            cwd=self.path,
            env=self.environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=timeout,
        )
        return Run(done.returncode == 0, done.stdout)


def leave_few_tests(repository):
    """Commit a project with only the tests of the model: test_project runs all of them."""
    repository.git("rm", "--quiet", "tests/test_[!m]*.py")
    repository.commit("few tests")


ALWAYS = {"secret_detection", "audit"}
ON_CHANGE = ALWAYS | {"lint", "test", "train"}
JOBS = {
    MERGE_REQUEST: ON_CHANGE | {"rehearse", "docker-build"},
    (): ON_CHANGE | {"docker-push", "staging", "production", "rollback"},
    SCHEDULE: ALWAYS | {"retrain"},
}


@pytest.fixture(scope="module", params=product(CHOICES["deploy_tool"], CHOICES["ci_credentials"]))
def unborn(request, cookies_session):
    """A repository of each deploy tool and kind of credentials, in which nothing can run."""
    answers = dict(zip(("deploy_tool", "ci_credentials"), request.param, strict=True))
    project = BakedProject(bake_with(cookies_session, answers).project_path)
    return Repository(project.path, environment_with())


@pytest.fixture(scope="module")
def jobs(unborn):
    """The jobs of each pipeline, as GitLab parses them."""
    jobs = {}
    for event in JOBS:
        lines = unborn.run("--list-json", event=event).output
        listed = json.loads(lines[lines.index("[\n") :])
        jobs[event] = {job["name"]: job for job in listed if job["when"] != "never"}
    return jobs


@pytest.mark.slow
@pytest.mark.parametrize("event", JOBS, ids=["merge-request", "default-branch", "schedule"])
def test_jobs_of_each_pipeline(jobs, event):
    assert jobs[event].keys() == JOBS[event]
    by_hand = {name for name, job in jobs[event].items() if job["when"] == "manual"}
    assert by_hand == JOBS[event] & {"production", "rollback"}


@pytest.mark.slow
def test_production_needs_every_check(jobs):
    needed, found = set(), ["production"]
    while found:
        new = {need["job"] for need in jobs[()][found.pop()].get("needs") or []} - needed
        needed |= new
        found += new
    assert needed == {"lint", "test", "train", "audit", "docker-push", "staging"}


def test_every_command_is_a_target(unborn):
    project = BakedProject(unborn.path)
    pipeline = yaml.safe_load(project.read(".gitlab-ci.yml"))
    scripts = [
        line
        for job in pipeline.values()
        if isinstance(job, dict)
        for part in ("before_script", "script", "after_script")
        for line in job.get(part, [])
    ]
    assert len(scripts) > 10
    for line in scripts:
        if line == "rehearsal/.venv/bin/python -E -m rehearsal":
            # `make rehearse` does the same, but would change the exit code.
            continue
        line = line.removesuffix(" || true")
        command, *words = re.sub(r'[A-Z_]+=("[^"]*"|\S*)', "", line).split()
        assert command == "make"
        assert set(words) <= set(project.targets), line


def test_nothing_that_is_released_comes_from_a_cache(unborn):
    """A merge request's pipeline, which anyone can change, may write to the cache."""
    jobs = yaml.safe_load(BakedProject(unborn.path).read(".gitlab-ci.yml"))

    def cache(name):
        parents = jobs[name].get("extends", [])
        parents = [parents] if isinstance(parents, str) else parents
        found = [cache(parent) for parent in parents if parent in jobs] + [jobs[name].get("cache")]
        return next((each for each in reversed(found) if each is not None), None)

    cached = {name for name, job in jobs.items() if "script" in job and cache(name) is None}
    assert cached == {"lint", "test", "audit", "rehearse"}


@pytest.fixture(scope="module")
def osv():
    """The address of a server that replaces OSV and knows no vulnerability."""
    with canned_endpoint({"": (200, "{}")}) as endpoint:
        yield endpoint


@pytest.fixture(scope="module")
def merge_request(runner, installed, tmp_path_factory, engine, registry, osv, ecs_cli):
    """The result of a merge request's pipeline, and where it ran.

    Each job has its own folder: jobs pass files to each other as artifacts.
    """
    path = tmp_path_factory.mktemp("merge-request") / "project"
    ignored = shutil.ignore_patterns(".venv", "model.*", ".*_cache", "*.log")
    shutil.copytree(installed.path, path, ignore=ignored)
    environment = environment_with(ECS_CLI=ecs_cli)
    # The jobs have no cache from an earlier pipeline, but this machine may have one.
    uv = Path(sys.executable).with_name("uv")
    cache = subprocess.run([uv, "cache", "dir"], check=True, text=True, stdout=subprocess.PIPE)
    variables = {"AUDIT_URL": osv, "UV_CACHE_DIR": cache.stdout.strip()}
    repository = Repository(path, environment, **engine, **variables)
    leave_few_tests(repository)
    return repository.run("--shell-isolation", event=MERGE_REQUEST), path


@pytest.mark.slow
def test_merge_request(merge_request):
    run, path = merge_request
    assert run.jobs == dict.fromkeys(JOBS[MERGE_REQUEST], "PASS"), run.output
    assert run.succeeded
    assert re.search(r"^TOTAL .* \d+%$", run.of("test"), re.MULTILINE)
    sbom = json.loads((path / "sbom.cdx.json").read_text())
    assert sbom["bomFormat"] == "CycloneDX"
    assert {"flask", "httptools"} < {component["name"] for component in sbom["components"]}


@pytest.mark.slow
def test_rehearsal_of_a_merge_request_is_complete(merge_request, docker, registry):
    run, _ = merge_request
    output = run.of("rehearse")
    steps = results(output)
    assert steps["release that cannot start"] == "failed, as expected"
    assert set(steps.values()) == {"ok", "failed, as expected"}
    assert len(steps) == 13
    assert "Skipped, because" not in output
    assert "its last log lines:\n        broken, for the rehearsal" in output
    # Another rehearsal may run at the same time.
    images = set(re.findall(rf"pushed ({registry}/\S+)", output))
    assert len(images) == 4
    for listing in (
        ["ps", "--all", "--format={{.Image}}"],
        ["images", "--format={{.Repository}}:{{.Tag}}"],
    ):
        command = [docker, *listing]
        left = subprocess.run(command, capture_output=True, check=True, text=True).stdout.split()
        assert not images & set(left)


@pytest.mark.slow
def test_rehearsal_without_ecs_cli_is_a_warning(runner, installed, tmp_path):
    path = tmp_path / "project"
    shutil.copytree(installed.path, path, ignore=shutil.ignore_patterns(".git", ".venv", "*.log"))
    for name in (".venv", "rehearsal/.venv"):
        (path / name).symlink_to(installed.path / name)
    environment = environment_with(DOCKER="no-docker", ECS_CLI="no-ecs-cli")
    nowhere = {"ECS_CLI_URL": "http://127.0.0.1:1"}
    run = Repository(path, environment).run("rehearse", event=MERGE_REQUEST, **nowhere)
    assert re.search(r"^ WARN +rehearse", run.output, re.MULTILINE), run.output
    assert run.jobs == {}
    assert run.succeeded
    assert re.search(r"^not rehearsed: .*service-up", run.of("rehearse"), re.MULTILINE)


@pytest.mark.skipif(not shutil.which("ecs-cli"), reason="needs ecs-cli 1.21 on PATH")
@pytest.mark.slow
def test_rehearsal_used_the_real_ecs_cli(merge_request, ecs_cli):
    assert ecs_cli == "ecs-cli"


@pytest.mark.slow
def test_policy_of_the_deploying_user_allows_exactly_what_deploy_does(installed, merge_request):
    _, path = merge_request
    log = (path / "rehearsal-aws.log").read_text()
    called = set(re.findall(r"^\w+:[A-Z]\w+$", log, re.MULTILINE))
    # Calls of the rehearsal itself, and calls that need no permission.
    called = called - {
        "batch:DescribeComputeEnvironments",
        "batch:DescribeJobQueues",
        "cloudformation:ListStacks",
        "cloudwatch:DescribeAlarms",
        "cloudwatch:ListDashboards",
        "ec2:DescribeVpcs",
        "elbv2:DescribeLoadBalancers",
        "elbv2:DescribeTargetGroups",
        "iam:ListPolicies",
        "iam:ListRoles",
        "sts:GetCallerIdentity",
    }
    # Also the task that scores a file, by its own role.
    called = {action for action in called if not action.startswith("s3:")}
    policies = [
        installed.check("make", "--silent", "iam-policy", *arguments)
        for arguments in ([], ["FOR=batch"])
    ]
    assert "${" not in "".join(policies)
    statements = [each for policy in policies for each in json.loads(policy)["Statement"]]
    direct = {
        action
        for statement in statements
        if "aws:CalledVia" not in json.dumps(statement)
        for action in statement["Action"]
    }
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
        "ec2:CreateTags",  # for creating a security group with tags, like the next four
        "ecr:DescribeImages",  # of ECR, which another registry replaces here
        "ecr:TagResource",
        "ecs:TagResource",
        "iam:TagRole",
        "logs:TagResource",
        "ec2:RevokeSecurityGroupIngress",  # if the port or the network of callers has changed
        "iam:PassRole",  # a permission without an action
        "iam:PutRolePermissionsBoundary",  # of a role that exists, with PERMISSIONS_BOUNDARY
        "inspector2:ListCoverage",  # by ECR, if Inspector scans the account's images; so is the next
        "inspector2:ListFindings",
        "logs:FilterLogEvents",  # make logs
        "batch:ListJobs",  # if a part is unfinished
        "cloudformation:GetTemplateSummary",  # by some versions of the AWS CLI
        "cloudformation:TagResource",  # for creating a stack with tags
    }
    unused = direct - called - by_docker - not_rehearsed
    assert unused <= {"ecs:ListAccountSettings", "cloudformation:DescribeStackEvents"}


@dataclass
class Released:
    """A repository, and an account in which both environments run a manual release."""

    repository: Repository
    account: Account
    first: str

    def tag(self, environment):
        """Return the image tag that an environment runs."""
        return given(self.account, f"{SLUG}-{environment}")["ImageTag"]

    def commit(self, environment):
        """Return the commit that an environment runs."""
        return self.tag(environment).rpartition("-")[0]

    def model(self, environment):
        """Return the model version that an environment serves."""
        outputs = stack(self.account, f"{SLUG}-{environment}")["Outputs"]
        (name,) = [i["OutputValue"] for i in outputs if i["OutputKey"] == "LoadBalancerName"]
        return json.loads(ask(f"http://{name}/v2")[1])["version"]

    def answers(self, environment):
        """Whether an environment predicts."""
        status, body = predict(self.account, f"{SLUG}-{environment}")
        return (status, json.loads(body).get("predictions")) == (200, ["Adelie"])


TOKEN = "a.token.of.gitlab"  # noqa: S105


@pytest.fixture(scope="module")
def released(runner, train, registry, docker, engine, osv):
    with released_by("cloudformation", train, docker, engine, osv) as released:
        yield released


# The steps that set up both environments before their first release by the pipeline.
MADE = {
    "ecs-cli": (
        *("ecs-configure", "iam-role", "log-group", "cluster-up", "security-group", "service-up"),
    ),
    "cloudformation": ("service-up",),
    "express": ("service-up",),
}


@contextlib.contextmanager
def released_by(tool, train, docker, engine, osv, **variables):
    """Yield a project whose two environments run a first release, with its pipeline."""
    project = train(rehearses=True, deploy_tool=tool, aws_region=REGION)
    host = {"DOCKER": docker, "DOCKER_HOST": engine["DOCKER_HOST"], **variables}
    first = f"first-{secrets.token_hex(4)}"
    with open_account(project, "docker", "registry", tool, **host) as account:
        once = "ecr-create" if tool == "ecs-cli" else "bootstrap"
        steps = (once, "docker-build", "docker-push", *MADE[tool])
        account.make(*steps, ENV="staging", IMAGE_TAG=first)
        account.make(*MADE[tool], ENV="production", IMAGE_TAG=first)
        # The pipeline assumes its role with the job's token.
        mine = {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "IMAGE_TAG"}
        environment = {k: v for k, v in account.environment.items() if k not in mine}
        path = f"{environment['PATH']}{os.pathsep}{Path(sys.executable).parent}"
        environment |= {"PATH": path, "AWS_ID_TOKEN": TOKEN}
        role = f"arn:aws:iam::123456789012:role/{SLUG}-release"
        repository = Repository(
            Path(account.path), environment, **engine, AUDIT_URL=osv, AWS_ROLE_ARN=role
        )
        (repository.path / "rehearsal/.venv").symlink_to(project.path / "rehearsal/.venv")
        leave_few_tests(repository)
        yield Released(repository, account, first)


@pytest.mark.slow
def test_default_branch_is_released_step_by_step(released):
    repository = released.repository
    run = repository.run()
    expected = ON_CHANGE | {"docker-push", "staging"}
    assert run.jobs == dict.fromkeys(expected, "PASS"), run.output
    assert "https" not in run.of("staging")
    assert TOKEN not in run.output
    assert released.commit("staging") == repository.head
    assert released.tag("staging").endswith(f"-{released.model('staging')}")
    assert (repository.path / "service.env").read_text().startswith("SERVICE_URL=http://")
    # Production waits for manual approval.
    assert released.tag("production") == released.first
    run = repository.run("production")
    assert run.jobs == {"production": "PASS"}, run.output
    assert "predicts" in run.of("production")
    assert released.commit("production") == repository.head
    assert released.answers("production")

    run = repository.run("rollback")
    assert run.jobs == {"rollback": "PASS"}, run.output
    assert re.search(rf"from {repository.head}-\w+ to {released.first}", run.of("rollback"))
    assert released.first in run.of("rollback")
    assert released.tag("production") == released.first
    assert released.answers("production")


@pytest.mark.slow
def test_express_mode_is_released_by_the_same_jobs(runner, train, registry, docker, engine, osv):
    with released_by("express", train, docker, engine, osv) as released:
        repository = released.repository
        run = repository.run("train", *RELEASE, "production")
        expected = dict.fromkeys(("train", *RELEASE, "production"), "PASS")
        assert run.jobs == expected, run.output
        assert re.search(r"5 % of the requests .*100 % of the requests", run.of("staging"), re.S)
        service_env = (repository.path / "service.env").read_text()
        assert re.fullmatch(r"SERVICE_URL=https://\S+\.on\.aws\n", service_env)
        assert released.commit("staging") == released.commit("production") == repository.head
        run = repository.run("rollback")
        assert run.jobs == {"rollback": "PASS"}, run.output
        assert released.tag("production") == released.first


@pytest.mark.slow
def test_ecs_cli_is_released_by_the_same_jobs(
    runner, train, registry, docker, engine, osv, ecs_cli
):
    with released_by("ecs-cli", train, docker, engine, osv, ECS_CLI=ecs_cli) as released:
        repository = released.repository
        run = repository.run("train", *RELEASE, "production")
        expected = dict.fromkeys(("train", *RELEASE, "production"), "PASS")
        assert run.jobs == expected, run.output
        for environment in ("staging", "production"):
            assert "0 of 69 answers differ" in run.of(environment)
            assert "predicts" in run.of(environment)
        assert (repository.path / "service.env").read_text().startswith("SERVICE_URL=http://")
        run = repository.run("rollback")
        assert run.jobs == {"rollback": "PASS"}, run.output
        assert f"ml-inference-service:{released.first}" in run.of("rollback")


@pytest.mark.slow
def test_retrained_model_is_a_separate_release(released):
    """At the same commit: code and model together are served and rolled back to."""
    repository = released.repository
    run = repository.run("train", *RELEASE)
    assert run.succeeded, run.output
    before = released.tag("staging")
    # A model trained on another day is a different model, since its card holds the training time.
    run = repository.run("train", *RELEASE, SOURCE_DATE_EPOCH="86400")
    assert run.succeeded, run.output
    after = released.tag("staging")
    assert after != before
    assert released.commit("staging") == before.rpartition("-")[0] == repository.head
    assert after.endswith(f"-{released.model('staging')}")
    run = released.account.make("rollback", ENV="staging")
    assert f"from {after} to {before}" in run
    assert released.tag("staging") == before
    assert before.endswith(f"-{released.model('staging')}")
    listed = released.account.make("releases", ENV="staging")
    (runs,) = [line.split() for line in listed.splitlines() if line.startswith("runs")]
    assert "-".join(runs[4:6]) == before
    assert runs[6].startswith("accuracy=0.9")


def stopped(released, job, *jobs, **variables):
    """Run the pipeline, or some of its jobs, which must stop at ``job``; return the result."""
    before = released.tag("production")
    run = released.repository.run(*(jobs or ["--manual=production"]), **variables)
    failed = {name for name, result in run.jobs.items() if result == "FAIL"}
    assert failed == {job}, run.output
    assert not run.succeeded
    assert "production" not in run.jobs
    assert released.tag("production") == before
    assert TOKEN not in run.output
    return run


# The jobs that follow the checks of a commit, up to the one that waits for manual approval.
RELEASE = ("docker-push", "staging")
BROKEN = '"""A service that ends at once."""\n\nraise SystemExit("broken on purpose")\n'


@pytest.mark.slow
def test_commit_whose_service_cannot_start_keeps_the_old_one_serving(released):
    before = released.tag("staging")
    with released.repository.changed("inference/__main__.py", lambda _: BROKEN):
        run = stopped(released, "staging", *RELEASE)
    assert "broken on purpose" in run.of("staging")
    assert released.tag("staging") == before
    assert released.answers("staging")
    assert released.answers("production")


@pytest.mark.slow
def test_failing_test_stops_the_pipeline(released):
    fault = "\n\ndef test_fails():\n    assert not __name__\n"
    with released.repository.changed("tests/test_model.py", lambda text: text + fault):
        run = stopped(released, "test")
    assert "docker-push" not in run.jobs


VULNERABLE = {
    "id": "GHSA-0000-0000-0000",
    "aliases": ["CVE-2030-0001"],
    "details": "made up",
    "affected": [
        {
            "package": {"ecosystem": "PyPI", "name": "flask"},
            "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "999"}]}],
        }
    ],
}


@pytest.mark.slow
def test_vulnerability_stops_the_pipeline_until_it_is_accepted(released):
    answers = {'"flask"': (200, json.dumps({"vulns": [VULNERABLE]})), "": (200, "{}")}
    with canned_endpoint(answers) as osv:
        run = stopped(released, "audit", "audit", AUDIT_URL=osv)
        assert re.search(r"flask +\S+ +CVE-2030-0001", run.of("audit"))
        accepted = "CVE-2030-0001 2999-12-31 made up\n"
        name = "deploy/accepted-vulnerabilities.txt"
        with released.repository.changed(name, lambda text: text + accepted):
            run = released.repository.run("audit", AUDIT_URL=osv)
        assert run.jobs == {"audit": "PASS"}
        assert "accepting CVE-2030-0001 until 2999-12-31: made up" in run.of("audit")
        outdated = "CVE-2030-0001 2020-01-01 made up\n"
        with released.repository.changed(name, lambda text: text + outdated):
            run = released.repository.run("audit", AUDIT_URL=osv)
        assert run.jobs == {"audit": "FAIL"}
        assert "is no longer accepted: its last day was 2020-01-01" in run.of("audit")


@pytest.mark.slow
def test_failed_smoke_test_stops_the_pipeline(released):
    def lie(text):
        lied = 'responses[0].text.replace("Adelie", "tulip"))'
        return text.replace("responses[0].text)", lied)

    with released.repository.changed("inference/expected.py", lie) as head:
        run = stopped(released, "staging", *RELEASE)
        assert released.commit("staging") == head
    assert re.search(r"smoke: http://\S+ answers .*Adelie.* instead of .*tulip", run.of("staging"))


DENIED = """<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error>
<Type>Sender</Type><Code>AccessDenied</Code>
<Message>Not authorized to perform sts:AssumeRoleWithWebIdentity</Message></Error></ErrorResponse>"""


@pytest.mark.slow
def test_missing_role_stops_the_pipeline(released):
    run = stopped(released, "docker-push", "docker-push", AWS_ROLE_ARN="")
    expected = "set the CI/CD variable AWS_ROLE_ARN to the role that trusts this project"
    assert f"pipeline-credentials: {expected}" in run.of("docker-push")


@pytest.mark.slow
def test_role_that_does_not_trust_this_branch_stops_the_pipeline(released):
    with canned_endpoint({"AssumeRoleWithWebIdentity": (403, DENIED)}) as endpoint:
        run = stopped(released, "docker-push", AWS_ENDPOINT_URL_STS=endpoint)
    expected = "check the CI/CD variables, see docs/pipeline.md (An error occurred (AccessDenied)"
    assert f"{REGION}: {expected}" in run.of("docker-push")


@pytest.mark.parametrize("missing", ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"])
def test_missing_key_is_named(bake, missing):
    project = bake(ci_credentials="access-keys")
    keys = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", missing: ""}
    result = project.run("make", "pipeline-credentials", **keys)
    assert result.returncode != 0
    assert f"set the CI/CD variable {missing}, masked" in result.stderr


@pytest.mark.parametrize(
    ("folder", "message"),
    [
        (
            "missing",
            "this job sees no certificates of Docker-in-Docker: the runner must share /certs",
        ),
        ("", "Docker does not answer at tcp://docker:2376: the runner must be privileged"),
    ],
)
def test_docker_failure_is_reported_in_its_own_words(bake, tmp_path, folder, message):
    docker = tmp_path / "docker"
    docker.write_text("#!/bin/sh\necho 'could not read CA certificate: no such file' >&2\nexit 1\n")
    docker.chmod(0o755)
    given = {
        "DOCKER_HOST": "tcp://docker:2376",
        "DOCKER_CERT_PATH": folder and str(tmp_path / folder),
    }
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    result = bake().run("make", "ci-tools", "TOOLS=docker", WAIT_SECONDS="0", PATH=path, **given)
    assert result.returncode != 0
    assert message in result.stderr
    assert "(could not read CA certificate: no such file)" in result.stderr


@pytest.mark.slow
def test_retrained_model_must_be_as_good_as_the_deployed_one(released):
    repository = released.repository
    run = repository.run("retrain", event=SCHEDULE)
    assert run.jobs == {"retrain": "PASS"}, run.output
    assert re.search(r"^accuracy +(\S+) +\1$", run.of("retrain"), re.MULTILINE)

    def spoil(text):
        return text.replace("random_state=SEED", "random_state=SEED, C=1e-6")

    with repository.changed("training/train.py", spoil):
        run = repository.run("retrain", event=SCHEDULE)
    assert run.jobs == {"retrain": "FAIL"}
    assert re.search(r"^accuracy .* worse$", run.of("retrain"), re.MULTILINE)
