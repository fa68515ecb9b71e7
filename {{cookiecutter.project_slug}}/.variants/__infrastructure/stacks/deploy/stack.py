"""Manage CloudFormation stacks by change sets, using only the AWS CLI.

``stack.py VERB``, with its settings in environment variables, which the Makefile sets:

- ``bootstrap``: apply deploy/bootstrap.yml with deploy/bootstrap.json
- ``deploy``: apply deploy/service.yml with deploy/ENV.json and the image IMAGE_TAG
- ``diff``: show what ``deploy`` would change, without changing it
- ``release [METRICS]``: change only the image to IMAGE_TAG; without METRICS read them from the image
- ``wait``: wait until no other run changes the stack
- ``scale N``: change only the number of tasks, to at least N
- ``delete STACK``: delete a stack, after turning off its load balancer's deletion protection
- ``size``: print the resources of ENV, for the cost estimate
- ``parameter NAME``: print a parameter of ENV
"""

import hashlib
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

FOLDER = Path(__file__).parent
POLL_SECONDS = float(os.environ.get("POLL_SECONDS", "3"))
# The size limit of a template that is passed to CloudFormation without a bucket.
MOST_BYTES = 51_200
# Only deleting fixes these: nothing ever ran in such a stack.
DEAD = {"CREATE_FAILED", "ROLLBACK_COMPLETE", "ROLLBACK_FAILED"}
ABSENT = {"", "DELETE_COMPLETE", "REVIEW_IN_PROGRESS"}
# Consequences of another resource's failure.
CONSEQUENCE = re.compile(r"Resource (creation|update) cancelled|following resource\(s\) failed")
UNCHANGED = re.compile(r"didn't contain changes|No updates are to be performed")
SERVICES = {"AWS::ECS::Service", "AWS::ECS::ExpressGatewayService"}
SIGNS = {"Add": "+", "Modify": "~", "Remove": "-", "Import": "+"}

Json = dict[str, Any]


class AwsError(Exception):
    """A call to AWS failed; the text is the reason."""


def say(text: str) -> None:
    """Print progress."""
    print(f"stack: {text}", flush=True)


def fail(text: str) -> NoReturn:
    """Print an error and its remedy, and exit with 1."""
    print(f"stack: {text}", file=sys.stderr, flush=True)
    sys.exit(1)


def aws(*command: str) -> Json:
    """Return the output of the AWS CLI; raise AwsError if it fails."""
    done = subprocess.run(["aws", *command, "--output", "json"], capture_output=True, text=True)
    if done.returncode:
        raise AwsError(" ".join(done.stderr.split()))
    answer: Json = json.loads(done.stdout or "{}")
    return answer


def parameters_of(name: str) -> dict[str, str]:
    """Return the parameters in a file in deploy/."""
    path = FOLDER / f"{name}.json"
    try:
        parameters: dict[str, str] = json.loads(path.read_text())["Parameters"]
    except FileNotFoundError:
        fail(f"there is no deploy/{name}.json")
    except (ValueError, KeyError, TypeError) as error:
        fail(f'deploy/{name}.json is not {{"Parameters": {{"Name": "value"}}}}: {error}')
    for key, value in parameters.items():
        if not isinstance(value, str):
            fail(f"deploy/{name}.json: {key} must be a string in quotes, not {json.dumps(value)}")
    # A rule of CloudFormation cannot compare numbers: the update would fail halfway.
    given = defaults() | parameters
    least, most = given["MinTasks"], given["MaxTasks"]
    if least.isdigit() and most.isdigit() and int(least) > int(most):
        fail(f"deploy/{name}.json: MinTasks is {least}, more than MaxTasks, which is {most}")
    return parameters


class Rollout:
    """A release whose requests move to the new tasks in steps, as reported by ECS.

    If it pauses for a test of the new tasks, ``attempt`` decides whether it goes on or back.
    """

    def __init__(self, attempt: Callable[[], bool]) -> None:
        self._before = {item["serviceDeploymentArn"] for item in self._list()}
        self._arn = ""
        self._told = ""
        self._attempt = attempt
        self._tried: set[str] = set()

    def _list(self) -> list[Json]:
        """Return the service's deployments; none if the service does not exist."""
        service = ("--cluster", os.environ["CLUSTER"], "--service", os.environ["SERVICE"])
        try:
            answer = aws("ecs", "list-service-deployments", *service)
        except AwsError as error:
            if re.search("ServiceNotFound|ClusterNotFound", str(error)):
                return []
            raise
        found: list[Json] = answer["serviceDeployments"]
        return found

    def show(self) -> None:
        """Print the share of requests on the new tasks, or why they go back, if it has changed."""
        if not self._arn:
            new = [one for one in self._list() if one["serviceDeploymentArn"] not in self._before]
            if not new:
                return
            # A rollback by CloudFormation is another deployment: the first one is the release.
            first = min(new, key=lambda one: str(one["createdAt"]))
            self._arn = first["serviceDeploymentArn"]
        answer = aws("ecs", "describe-service-deployments", "--service-deployment-arns", self._arn)
        (release,) = answer["serviceDeployments"]
        for hook in release.get("lifecycleHookDetails", []):
            if hook["status"] == "AWAITING_ACTION" and hook["hookId"] not in self._tried:
                self._try(hook["hookId"])
        share = release.get("targetServiceRevision", {}).get("requestedProductionTrafficWeight", 0)
        text = f"{share:g} % of the requests go to the new tasks"
        if re.search("ROLLBACK|STOP", release["status"]):
            text = f"the release goes back: {release.get('statusReason') or release['status']}"
        if text != self._told:
            say(text)
        self._told = text

    def _try(self, hook: str) -> None:
        """Test the new tasks, and let the release continue or roll back."""
        self._tried.add(hook)
        say("the new tasks are running, and no client reaches them yet: testing them")
        action = "CONTINUE" if self._attempt() else "ROLLBACK"
        say("the release goes on" if action == "CONTINUE" else "the release must go back")
        release = ("--service-deployment-arn", self._arn, "--hook-id", hook)
        aws("ecs", "continue-service-deployment", *release, "--action", action)


class Stack:
    """A stack in the account; if it has a service, ``rollout`` reports its releases."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.rollout: Rollout | None = None
        self._told: set[str] = set()

    def describe(self) -> Json:
        """Return its description from AWS; empty if it does not exist."""
        try:
            answer = aws("cloudformation", "describe-stacks", "--stack-name", self.name)
        except AwsError as error:
            if "does not exist" in str(error):
                return {}
            raise AwsError(f"could not query CloudFormation about {self.name} ({error})") from error
        stack: Json = answer["Stacks"][0]
        return stack

    def standing(self) -> Json:
        """Return its description; empty if an update is impossible, because nothing ever ran in it."""
        described = self.describe()
        status = described.get("StackStatus", "")
        self.require_whole(status)
        return {} if status in DEAD | ABSENT else described

    def require_whole(self, status: str) -> None:
        """Fail if a part of it is deleted."""
        if status == "DELETE_FAILED":
            finish = f"make destroy ENV={os.environ['ENV']}"
            fail(f"{self.name} is DELETE_FAILED: finish it with '{finish}'")

    def outputs(self) -> dict[str, str]:
        """Return its outputs by name; empty if it does not exist."""
        listed = self.describe().get("Outputs", [])
        return {item["OutputKey"]: item["OutputValue"] for item in listed}

    def status(self) -> str:
        """Return its status; empty if it does not exist."""
        return str(self.describe().get("StackStatus", ""))

    def events(self) -> list[Json]:
        """Return its events since the last call, oldest first."""
        try:
            newest = ("--stack-name", self.name, "--max-items", "300")
            answer = aws("cloudformation", "describe-stack-events", *newest)
        except AwsError as error:
            if "does not exist" not in str(error):
                raise
            return []
        new = [event for event in answer["StackEvents"] if event["EventId"] not in self._told]
        self._told |= {event["EventId"] for event in new}
        return sorted(new, key=lambda event: str(event["Timestamp"]))

    def follow(self) -> tuple[str, list[Json]]:
        """Show events until the stack is stable; return its status and the failures."""
        try:
            return self._follow()
        except (AwsError, KeyboardInterrupt):
            say(f"CloudFormation goes on with {self.name} by itself; the next run waits for it")
            raise

    def _follow(self) -> tuple[str, list[Json]]:
        failures = []
        while True:
            status = self.status()
            if self.rollout:
                self.rollout.show()
            for event in self.events():
                show(event)
                if event["ResourceStatus"].endswith("_FAILED"):
                    failures.append(event)
                    if event["ResourceType"] in SERVICES and len(failures) == 1:
                        # At once, because a rollback deletes the tasks and the log.
                        subprocess.run([FOLDER / "explain.sh"])
            if not status.endswith("_IN_PROGRESS") or status == "REVIEW_IN_PROGRESS":
                return status, failures
            time.sleep(POLL_SECONDS)

    def resources(self) -> dict[str, str]:
        """Return the physical ids of its resources by logical name; empty if it does not exist."""
        try:
            answer = aws("cloudformation", "describe-stack-resources", "--stack-name", self.name)
        except AwsError as error:
            if "does not exist" not in str(error):
                raise
            return {}
        return {
            item["LogicalResourceId"]: item["PhysicalResourceId"]
            for item in answer["StackResources"]
            if item.get("PhysicalResourceId") and item["ResourceStatus"] != "DELETE_COMPLETE"
        }

    def settle(self) -> bool:
        """Wait for other runs, delete a stack that cannot be fixed; return whether there is one left."""
        status = self.wait()
        if status in DEAD:
            say(f"deleting {self.name}, which an earlier attempt left in {status}")
            self.delete()
            return False
        return status not in ABSENT

    def wait(self) -> str:
        """Wait for other runs, finish a rollback that failed; return the status."""
        self.events()
        status = self.status()
        if status.endswith("_IN_PROGRESS") and status != "REVIEW_IN_PROGRESS":
            say(f"another run is changing {self.name} ({status}), waiting for it to end ...")
            status, _ = self.follow()
        if status == "UPDATE_ROLLBACK_FAILED":
            say(f"{self.name} is {status}, rolling it back again")
            aws("cloudformation", "continue-update-rollback", "--stack-name", self.name)
            status, failures = self.follow()
            if status != "UPDATE_ROLLBACK_COMPLETE":
                explain(self.name, status, failures)
        self.require_whole(status)
        return status

    def delete(self) -> None:
        """Delete the stack, and wait until it is gone."""
        self.events()
        # AWS refuses to delete a protected load balancer, even in a stack that was never completed.
        if balancer := self.resources().get("LoadBalancer"):
            off = ["--attributes", "Key=deletion_protection.enabled,Value=false"]
            arn = ("--load-balancer-arn", balancer)
            try:
                aws("elbv2", "modify-load-balancer-attributes", *arn, *off)
            except AwsError as error:
                # Another user may have deleted it.
                if "LoadBalancerNotFound" not in str(error):
                    raise
        aws("cloudformation", "delete-stack", "--stack-name", self.name)
        status, failures = self.follow()
        if status not in {"", "DELETE_COMPLETE"}:
            explain(self.name, status, failures)

    def change(self, arguments: list[str], execute: bool = True) -> None:
        """Show the changes and, with ``execute``, apply them."""
        kind = "UPDATE" if self.settle() else "CREATE"
        change_set = ["--stack-name", self.name, "--change-set-name", f"make-{time.time_ns()}"]
        capabilities = ["--change-set-type", kind, "--capabilities", "CAPABILITY_NAMED_IAM"]
        try:
            aws("cloudformation", "create-change-set", *change_set, *capabilities, *arguments)
        except AwsError as error:
            fail(f"CloudFormation refuses the change of {self.name}: {error}")
        is_executed = False
        try:
            found = self._wait_for(change_set)
            is_possible = found["Status"] == "CREATE_COMPLETE"
            if is_possible:
                for change in found.get("Changes", []):
                    show_change(change["ResourceChange"])
            if is_possible and execute:
                say(f"{'creating' if kind == 'CREATE' else 'updating'} {self.name}")
                self._execute(change_set)
                is_executed = True
        finally:
            # Also after a call that failed.
            if not is_executed:
                self._discard(kind, change_set)
        reason = found.get("StatusReason") or ""
        if is_executed:
            status, failures = self.follow()
            if status != f"{kind}_COMPLETE":
                explain(self.name, status, failures)
            say(f"{self.name} is {status}")
        elif UNCHANGED.search(reason):
            say(f"{self.name} is up to date, nothing to change")
        elif not is_possible:
            fail(f"CloudFormation cannot change {self.name}: {reason}")

    def _wait_for(self, change_set: list[str]) -> Json:
        """Wait until a change set is created, and return it."""
        while True:
            found = aws("cloudformation", "describe-change-set", *change_set)
            if found["Status"] not in {"CREATE_PENDING", "CREATE_IN_PROGRESS"}:
                return found
            time.sleep(POLL_SECONDS)

    def _execute(self, change_set: list[str]) -> None:
        try:
            aws("cloudformation", "execute-change-set", *change_set)
        except AwsError as error:
            if "OBSOLETE" not in str(error):
                raise
            fail(f"another run began to change {self.name} first: repeat the command ({error})")

    def _discard(self, kind: str, change_set: list[str]) -> None:
        """Delete a change set and, unless another run has begun or plans to create the stack, an empty stack."""
        aws("cloudformation", "delete-change-set", *change_set)
        if kind == "CREATE" and self.status() == "REVIEW_IN_PROGRESS":
            planned = aws("cloudformation", "list-change-sets", "--stack-name", self.name)
            if self.name not in [each["StackName"] for each in planned["Summaries"]]:
                aws("cloudformation", "delete-stack", "--stack-name", self.name)


def show(event: Json) -> None:
    """Print one event of a stack on a line."""
    moment = re.sub(r".*T([0-9:]{8}).*", r"\1", str(event["Timestamp"]))
    reason = event.get("ResourceStatusReason", "")
    name = event["LogicalResourceId"]
    print(f"  {moment}  {event['ResourceStatus']:<20}  {name}  {reason}".rstrip(), flush=True)


def show_change(change: Json) -> None:
    """Print one change of a change set on a line."""
    note = ", replaced" if change.get("Replacement") == "True" else ""
    name, kind = change["LogicalResourceId"], change["ResourceType"]
    print(f"  {SIGNS.get(change['Action'], '?')} {name} ({kind}){note}", flush=True)


def explain(stack: str, status: str, failures: list[Json]) -> NoReturn:
    """Print the first cause, and exit with 1."""
    causes = [
        event
        for event in failures
        if not CONSEQUENCE.search(event.get("ResourceStatusReason", ""))
        and event["LogicalResourceId"] != stack
    ]
    if not causes:
        fail(f"{stack} is {status or 'gone'}, and CloudFormation names no cause: see its events")
    first = causes[0]
    print(f"stack: {stack} is {status or 'gone'}. The first cause:", file=sys.stderr)
    reason = first.get("ResourceStatusReason", "no reason given")
    print(f"  {first['LogicalResourceId']} ({first['ResourceType']}): {reason}", file=sys.stderr)
    if status == "UPDATE_ROLLBACK_FAILED":
        skip = f"--stack-name {stack} --resources-to-skip {first['LogicalResourceId']}"
        region = os.environ["AWS_REGION"]
        fail(
            "fix it and repeat the command, or give up on this resource: 'aws cloudformation "
            f"continue-update-rollback --region {region} {skip}'"
        )
    sys.exit(1)


def parameters_in(described: Json) -> dict[str, str]:
    """Return the parameters of a described stack."""
    listed = described.get("Parameters", [])
    return {item["ParameterKey"]: item["ParameterValue"] for item in listed}


def listed(parameters: dict[str, str], previous: tuple[str, ...] = ()) -> list[str]:
    """Return the AWS CLI's arguments for parameters; those in ``previous`` keep their values."""
    items: list[Json] = [
        {"ParameterKey": name, "ParameterValue": value} for name, value in parameters.items()
    ]
    items += [
        {"ParameterKey": name, "UsePreviousValue": True}
        for name in previous
        if name not in parameters
    ]
    return ["--parameters", json.dumps(items)]


def template(name: str) -> list[str]:
    """Return the AWS CLI's arguments for a template in deploy/, and for the tag of its resources."""
    tags = ["--tags", f"Key=project,Value={os.environ['SERVICE']}"]
    path = FOLDER / name
    if path.stat().st_size <= MOST_BYTES:
        return ["--template-body", f"file://{path}", *tags]
    bucket = Stack(os.environ["BOOTSTRAP_STACK"]).outputs().get("TemplatesBucket")
    if not bucket:
        fail(f"there is no bucket for {name} yet: run 'make bootstrap' first")
    key = f"{os.environ['STACK']}/{hashlib.sha256(path.read_bytes()).hexdigest()}.yml"
    aws("s3api", "put-object", "--bucket", bucket, "--key", key, "--body", str(path))
    suffix = "amazonaws.com.cn" if os.environ["AWS_PARTITION"] == "aws-cn" else "amazonaws.com"
    url = f"https://{bucket}.s3.{os.environ['AWS_REGION']}.{suffix}/{key}"
    return ["--template-url", url, *tags]


def check_image(parameters: dict[str, str]) -> None:
    """Fail if the image is not in the registry or is for another processor."""
    platform = os.environ["PLATFORM"]
    architecture = parameters.get("Architecture", "X86_64")
    if {"X86_64": "linux/amd64", "ARM64": "linux/arm64"}.get(architecture, platform) != platform:
        fail(f"Architecture is {architecture}, but the image's PLATFORM is {platform}")
    found = subprocess.run(os.environ["IMAGE_CHECK"].split()).returncode
    if found > 1:
        # The check has printed why it failed.
        sys.exit(found)
    if found:
        image = os.environ["IMAGE"]
        fail(f"{image} is not in the registry: run 'make ecr-login docker-build docker-push' first")


def keep_image() -> None:
    """Have the registry keep the image for as long as it may run."""
    if code := subprocess.run([FOLDER / "image-keep.sh"]).returncode:
        sys.exit(code)


def model_metrics() -> str:
    """Return the metrics of the image's model."""
    command = os.environ["SAMPLE_COMMAND"]
    sample = subprocess.run(command.split(), stdout=subprocess.PIPE, text=True)
    if sample.returncode:
        fail(f"'{command}' gave no sample request")
    return (*sample.stdout.splitlines(), "", "", "", "")[3]


def check_secret(arn: str) -> None:
    """Fail if the API key's secret does not exist."""
    if not arn:
        return
    named = (
        f"ApiKeyArn of deploy/{os.environ['ENV']}.json names a secret that does not exist: {arn}"
    )
    if ":ssm:" in arn:
        name = arn.partition(":parameter")[2]
        only = f"Key=Name,Values={name},{name.removeprefix('/')}"
        if not aws("ssm", "describe-parameters", "--parameter-filters", only)["Parameters"]:
            fail(named)
        return
    # A JSON key, stage and version may follow.
    secret = ":".join(arn.split(":")[:7])
    try:
        aws("secretsmanager", "describe-secret", "--secret-id", secret)
    except AwsError as error:
        if "ResourceNotFoundException" in str(error):
            fail(named)
        fail(f"could not query the secret {arn} ({error})")


def place(stack: Stack, described: Json, parameters: dict[str, str]) -> dict[str, str]:
    """Return the zones and live target group: chosen for a new stack, unchanged for a ``described`` one."""
    if not described:
        if parameters.get("VpcId") or "Zone1" not in defaults():
            return {}
        zones = subprocess.run([FOLDER / "zones.sh"], stdout=subprocess.PIPE, text=True)
        if zones.returncode:
            sys.exit(zones.returncode)
        return dict(zip(("Zone1", "Zone2"), zones.stdout.split(), strict=True))
    before = parameters_in(described)
    kept = {name: before[name] for name in ("Zone1", "Zone2", "ModelMetrics") if before.get(name)}
    resources = stack.resources()
    if alternate := resources.get("AlternateTargetGroup"):
        answer = aws("elbv2", "describe-rules", "--rule-arns", resources["ListenerRule"])
        # With sign-in, another action precedes it.
        (forward,) = (each for each in answer["Rules"][0]["Actions"] if each["Type"] == "forward")
        weights = {
            group["TargetGroupArn"]: group.get("Weight", 0)
            for group in forward["ForwardConfig"]["TargetGroups"]
        }
        is_alternate = weights.get(alternate, 0) > sum(weights.values()) / 2
        kept["LiveTargetGroup"] = "ALTERNATE" if is_alternate else "PRIMARY"
    return kept


def configure() -> None:
    """Make the stack match the files, but keep its image."""
    before = living(Stack(os.environ["STACK"]))
    tag, repository = before["ImageTag"], before["ImageRepository"]
    os.environ |= {"IMAGE_TAG": tag, "IMAGE": f"{repository}:{tag}"}
    deploy(execute=True, metrics=before.get("ModelMetrics", ""))


def deploy(execute: bool, metrics: str | None = None) -> None:
    """Make the stack match the files, or only show the changes; without ``metrics``, the image's model has them."""
    stack = Stack(os.environ["STACK"])
    parameters = {
        **parameters_of(os.environ["ENV"]),
        "ImageTag": os.environ["IMAGE_TAG"],
        "ImageRepository": os.environ["IMAGE"].removesuffix(f":{os.environ['IMAGE_TAG']}"),
        "ClusterName": os.environ["CLUSTER"],
    }
    if execute:
        say(f"deploying {stack.name}: deploy/service.yml with deploy/{os.environ['ENV']}.json")
        check_image(parameters)
        check_secret(parameters.get("ApiKeyArn", ""))
        keep_image()
        parameters["ModelMetrics"] = model_metrics() if metrics is None else metrics
        is_there = stack.settle()
    else:
        say(f"what 'make deploy' would change in {stack.name}:")
        if (status := stack.status()) in DEAD:
            fail(f"{stack.name} is {status}: 'make deploy' deletes it and creates all of it again")
        is_there = True
    described = stack.standing()
    placed, before = place(stack, described, parameters), parameters_in(described)
    check_fixed(stack, before, parameters)
    live = placed.get("LiveTargetGroup")
    if execute and live and live != before.get("LiveTargetGroup", live):
        # By itself: a rollback of the other changes must not send the requests to the group without tasks.
        keep(stack, {"LiveTargetGroup": live}, before)
    parameters = {**placed, **parameters}
    if not is_there and parameters.get("DeletionProtection") == "true":
        # Protect it only once it is complete: after a failure, it must be deletable.
        unprotected = {**parameters, "DeletionProtection": "false"}
        stack.change([*template("service.yml"), *listed(unprotected)])
    if execute:
        follow_requests(stack, parameters)
    stack.change([*template("service.yml"), *listed(parameters)], execute)


def check_fixed(stack: Stack, before: dict[str, str], parameters: dict[str, str]) -> None:
    """Fail if a parameter changes whose new load balancer could not take over the target groups of the old one."""
    now = {**defaults(), **parameters}
    for name in ("InternalLoadBalancer", "VpcId", "VpcCidr"):
        if name in before and before[name] != now.get(name):
            fail(
                f"{name} of {stack.name} cannot change from {before[name] or 'nothing'} to {now.get(name) or 'nothing'}: "
                f"run 'make destroy ENV={os.environ['ENV']}' first, or change it back"
            )


def try_tasks(stack: Stack) -> bool:
    """Whether the new tasks of a release pass their test."""
    url = stack.outputs().get("TestUrl")
    if not url:
        say("note: the stack has no test listener yet: tasks are tested from the next release on")
        return True
    environment = {**os.environ, "TEST_URL": url}
    return subprocess.run([FOLDER / "try.sh"], env=environment).returncode == 0


def follow_requests(stack: Stack, parameters: dict[str, str]) -> None:
    """Report where the requests go while they move in steps, and test the tasks before."""
    # Express Mode always moves the requests in steps.
    if {**defaults(), **parameters}.get("DeploymentStrategy") == "ROLLING":
        return
    if parameters.get("TestBeforeTraffic") == "true":
        require_hooks()
    try:
        stack.rollout = Rollout(lambda: try_tasks(stack))
    except AwsError as error:
        # Debian's AWS CLI is older than this command.
        if "nvalid choice" not in str(error):
            raise
        say("note: this AWS CLI is too old to show how the requests move")


def require_hooks() -> None:
    """Fail if the AWS CLI is older than releases that pause."""
    # Without arguments, it complains that they are missing, or that it does not know the command.
    try:
        aws("ecs", "continue-service-deployment")
    except AwsError as error:
        if "nvalid choice" in str(error):
            fail(
                "TestBeforeTraffic needs a newer AWS CLI, which has 'ecs continue-service-deployment': run 'make "
                "aws-cli', or install one"
            )


def require_tasks(parameters: dict[str, str]) -> None:
    """Fail if no task is running outside of office hours: a release could not be tested."""
    if parameters.get("OfficeHours") != "true":
        return
    service = ("--cluster", os.environ["CLUSTER"], "--services", os.environ["SERVICE"])
    found = aws("ecs", "describe-services", *service)["services"]
    if found and found[0]["desiredCount"] == 0:
        fail(
            "no task is running outside of office hours, so this release could not be tested: run it in office hours, "
            f"or start a task with 'make scale N=1 ENV={os.environ['ENV']}'"
        )


def release(metrics: str | None = None) -> None:
    """Change only the image of the stack, and the metrics of its model."""
    stack = Stack(os.environ["STACK"])
    say(f"releasing {os.environ['IMAGE']} to {stack.name}")
    parameters = living(stack)
    require_tasks(parameters)
    check_image(parameters)
    keep_image()
    body = aws("cloudformation", "get-template", "--stack-name", stack.name)["TemplateBody"]
    if body != (FOLDER / "service.yml").read_text():
        say("note: deploy/service.yml differs from the stack's template; 'make deploy' applies it")
    image = {"ImageTag": os.environ["IMAGE_TAG"]}
    # A stack of an earlier version has no such parameter until the next deploy.
    if "ModelMetrics" in parameters:
        image["ModelMetrics"] = model_metrics() if metrics is None else metrics
    follow_requests(stack, parameters)
    keep(stack, image, parameters)


def scale(tasks: str) -> None:
    """Change only the minimum number of tasks of the stack."""
    stack = Stack(os.environ["STACK"])
    parameters = living(stack)
    most = max(int(tasks), int(parameters["MaxTasks"]))
    keep(stack, {"MinTasks": tasks, "MaxTasks": str(most)}, parameters)


def living(stack: Stack) -> dict[str, str]:
    """Return the parameters of a stack that has a service, after other runs."""
    stack.wait()
    described = stack.standing()
    if not described:
        fail(f"there is no service yet: run 'make deploy ENV={os.environ['ENV']}' first")
    return parameters_in(described)


def keep(stack: Stack, changed: dict[str, str], parameters: dict[str, str]) -> None:
    """Change only the given parameters."""
    stack.change(["--use-previous-template", *listed(changed, tuple(parameters))])


def bootstrap() -> None:
    """Create or update the stack that releases need."""
    stack = Stack(os.environ["BOOTSTRAP_STACK"])
    say(f"deploying {stack.name}: deploy/bootstrap.yml with deploy/bootstrap.json")
    parameters = parameters_of("bootstrap")
    if not parameters.get("OidcProviderArn"):
        before = parameters_in(stack.standing()).get("OidcProviderArn")
        host = parameters.get("GitLabHost", "gitlab.com")
        # An account has one provider for each host: this stack's own, or one that existed before it.
        parameters["OidcProviderArn"] = provider(host) if before is None else before
    stack.change([*template("bootstrap.yml"), *listed(parameters)])
    outputs = stack.outputs()
    for name in ("ReleaseRoleArn", "ReleasePolicyArn"):
        if name in outputs:
            say(f"{name}: {outputs[name]}")


def provider(host: str) -> str:
    """Return the account's identity provider for a host, or an empty string."""
    answer = aws("iam", "list-open-id-connect-providers")
    arns = [str(item["Arn"]) for item in answer["OpenIDConnectProviderList"]]
    return next((arn for arn in arns if arn.endswith(f":oidc-provider/{host}")), "")


def defaults() -> dict[str, str]:
    """Return the parameters' defaults in deploy/service.yml, empty for those without one."""
    head, _, _ = (FOLDER / "service.yml").read_text().partition("\nRules:\n")
    _, _, parameters = head.partition("\nParameters:\n")
    found = re.findall(
        r'^  (\w+):\n    Type: \w+\n(?:    Default: "?([^"\n]*))?', parameters, re.MULTILINE
    )
    return dict(found)


def size() -> None:
    """Print the input of the cost estimate that follows from the parameters; cost.sh explains the names."""
    given = defaults() | parameters_of(os.environ["ENV"])
    facts = {
        "cpu": given["Cpu"],
        "memory": given["Memory"],
        "least": given["MinTasks"],
        "most": given["MaxTasks"],
        **(size_of_network(given) if "Network" in given else {"addresses-of-tasks": 1}),
    }
    if given.get("OfficeHours") == "true":
        days = {"MON-FRI": 5, "MON-SAT": 6, "MON-SUN": 7}[given["OfficeDays"]]
        facts["open"] = days * (int(given["OfficeCloses"]) - int(given["OfficeOpens"]))
        facts["outside"] = given["TasksOutside"]
    for name, value in facts.items():
        print(name, value)


def size_of_network(given: dict[str, str]) -> Json:
    """Return the sizes of the network that follow from the parameters."""
    is_own = not given["VpcId"]
    is_public = given["Network"] == "PUBLIC" if is_own else not given["TaskSubnetIds"]
    has_nat = is_own and given["Network"] == "NAT"
    # Two for ECR and one for the log, then one for the key and one for the shell.
    endpoints = 3 + bool(given["ApiKeyArn"]) + (given["Exec"] == "true")
    return {
        "addresses-of-tasks": int(is_public),
        # A public load balancer has one address in each of two zones.
        "addresses": (0 if given["InternalLoadBalancer"] == "true" else 2) + has_nat,
        "nat-gateways": int(has_nat),
        "endpoints": endpoints if is_own and given["Network"] == "ENDPOINTS" else 0,
    }


def main(verb: str, *arguments: str) -> None:
    """Run a verb."""
    try:
        match verb:
            case "bootstrap":
                bootstrap()
            case "deploy" | "diff":
                deploy(execute=verb == "deploy")
            case "configure":
                configure()
            case "release":
                release(*arguments)
            case "scale":
                scale(*arguments)
            case "wait":
                Stack(os.environ["STACK"]).wait()
            case "delete":
                Stack(*arguments).delete()
            case "size":
                size()
            case "parameter":
                print((defaults() | parameters_of(os.environ["ENV"])).get(arguments[0], ""))
            case _:
                fail(f"there is no {verb}")
    except AwsError as error:
        fail(str(error))
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main(*sys.argv[1:])
