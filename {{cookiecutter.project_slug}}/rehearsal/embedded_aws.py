"""An embedded AWS account: moto behind a proxy, with ECS services that run real tasks.

``python -m rehearsal.embedded_aws FOLDER`` writes the certificate that clients must trust to
FOLDER/ca.crt, prints the proxy's port, and serves until its stdin ends. Clients reach it through
HTTPS_PROXY and AWS_CA_BUNDLE, which also work for tools without an endpoint setting.
"""

import copy
import itertools
import os
import secrets
import sys
import threading
import time
import traceback
import uuid
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

from botocore.session import get_session
from moto.cloudformation.models import Stack
from moto.core.responses import BaseResponse
from moto.ec2.models.elastic_network_interfaces import NetworkInterface
from moto.ec2.models.vpcs import VPCBackend
from moto.ecr.exceptions import ImageNotFoundException, ScanNotFoundException
from moto.ecr.models import ECRBackend
from moto.ecs.models import CapacityProvider, EC2ContainerServiceBackend, Service, Task
from moto.iam.models import SERVICE_NAME_CONVERSION
from moto.moto_api import state_manager
from moto.moto_proxy import proxy3

from rehearsal import batch, tool
from rehearsal.certificates import Authority
from rehearsal.tasks import (
    Container,
    Launched,
    LaunchError,
    Process,
    answers,
    interface_id,
    interfaces,
    keep_log,
    wait_until_ready,
)

Backend = EC2ContainerServiceBackend


class Scheduler:
    """Runs the tasks of every service like ECS's rolling update, including its circuit breaker.

    As in ECS, a rollout runs in the background: the previous deployment stays listed as ACTIVE
    until the PRIMARY one is COMPLETED.
    """

    def __init__(self, launch: type[Container] | type[Process]) -> None:
        # For each host, the handler of its HTTPS connections once they are decrypted.
        self.hosts: dict[str, Callable[[Any], None]] = {}
        self._launch = launch
        self._launched: dict[str, Launched] = {}
        # As on Fargate, every task has its own address. The random part avoids clashes with other rehearsals here.
        self._network = f"127.{1 + secrets.randbelow(254)}.{secrets.randbelow(256)}"
        self._numbers = itertools.count(1)
        self._rollouts = threading.Lock()
        self._state = threading.RLock()
        self._is_closing = False

    def shift(
        self, service: Service, before: str, after: str, is_current: Callable[[], bool]
    ) -> str | None:
        """Shift requests between the running tasks of two revisions; return the reason if that fails."""
        return None

    def roll_out(self, backend: Backend, service: Service) -> None:
        """Begin to replace all tasks with the desired number of tasks of the service's revision."""
        revision = backend.describe_task_definition(service.task_definition)
        service.task_definition = revision.arn
        before = service.deployments[0]
        if before["taskDefinition"] != revision.arn:
            primary = {**before, "id": f"ecs-svc/{uuid.uuid4().int >> 64}"}
            service.deployments = [primary, {**before, "status": "ACTIVE"}]
        self._report(service, len(self.running(backend, service)), "IN_PROGRESS", "in progress")
        work = threading.Thread(
            target=self._replace_tasks, args=(backend, service, revision), daemon=True
        )
        work.start()

    def running(self, backend: Backend, service: Service) -> list[Task]:
        """Return the running tasks of a service; mark those that exited by themselves as stopped."""
        with self._state:
            tasks = [
                task
                for task in backend.tasks.get(service.cluster_name, {}).values()
                if task.group == f"service:{service.name}" and task.last_status == "RUNNING"
            ]
            for task in tasks:
                code = self._launched[task.id].exit_code()
                if code is not None:
                    self._stop(task, f"Essential container in task exited with code {code}")
            return [task for task in tasks if task.last_status == "RUNNING"]

    def _replace_tasks(self, backend: Backend, service: Service, revision: Any) -> None:
        with self._rollouts:
            tasks = self.running(backend, service)
            kept = [task for task in tasks if task.task_definition_arn == revision.arn]
            kept = kept[: service.desired_count]
            while len(kept) < service.desired_count and self._is_current(service, revision):
                task, reason = self._start(backend, service, revision)
                if reason:
                    self._fail(backend, service, revision, tasks, reason)
                    return
                kept.append(task)
            if not self._is_current(service, revision):
                return
            replaced = [task for task in tasks if task.task_definition_arn != revision.arn]
            if replaced and kept:
                before = replaced[0].task_definition_arn
                is_current = partial(self._is_current, service, revision)
                if reason := self.shift(service, before, revision.arn, is_current):
                    self._fail(backend, service, revision, replaced, reason)
                    return
                if not is_current():
                    return
            for task in tasks:
                if task not in kept:
                    self._stop(task, f"Scaling activity initiated by {service.name}")
            self._report(service, len(kept), "COMPLETED", "completed")

    def _is_current(self, service: Service, revision: Any) -> bool:
        """Whether no other change was requested since a rollout began."""
        return service.task_definition == revision.arn and not self._is_closing

    def _report(self, service: Service, running: int, state: str, reason: str) -> None:
        """Update the rollout state shown by ``describe-services``."""
        now = datetime.now(UTC).replace(tzinfo=None)
        service.running_count = running
        service.pending_count = service.desired_count - running
        primary = service.deployments[0]
        primary |= {
            "taskDefinition": service.task_definition,
            "desiredCount": service.desired_count,
            "runningCount": running,
            "pendingCount": service.pending_count,
            "rolloutState": state,
            "rolloutStateReason": f"ECS deployment {primary['id']} {reason}.",
            "updatedAt": now,
        }
        if state != "IN_PROGRESS":
            service.deployments, service.shares = [primary], {}
        event = {"id": str(len(service.events)), "createdAt": now}
        service.events.insert(0, {**event, "message": f"(service {service.name}) {reason}"})

    def _start(self, backend: Backend, service: Service, revision: Any) -> tuple[Task, str | None]:
        """Start a task and wait until it responds; also return the reason if it does not."""
        task = Task(
            cluster=backend.clusters[service.cluster_name],
            task_definition=revision,
            container_instance_arn=None,
            resource_requirements=None,
            backend=backend,
            group=f"service:{service.name}",
            launch_type="FARGATE",
            networking_configuration=service.network_configuration,
        )
        task.last_status, task.desired_status = "PENDING", "RUNNING"
        port = revision.container_definitions[0]["portMappings"][0]["containerPort"]
        address = self._next_address()
        while answers(address, port):
            address = self._next_address()
        interfaces(task)[interface_id(task)].public_ip = address
        backend.tasks.setdefault(service.cluster_name, {})[task.task_arn] = task
        try:
            launched = self._begin(revision, address, port)
        except LaunchError as error:
            self._mark_stopped(task, str(error))
            return task, str(error)
        self._launched[task.id] = launched
        reason = wait_until_ready(launched, address, port, lambda: self._is_closing)
        if reason:
            self._stop(task, reason)
        else:
            task.last_status = "RUNNING"
        return task, reason

    def _begin(
        self, revision: Any, address: str, port: int, command: Sequence[str] = ()
    ) -> Launched:
        """Launch a task; raise LaunchError for any failure, so that callers waiting for the task see it end."""
        try:
            return self._launch(revision, address, port, command)
        except LaunchError:
            raise
        except Exception as error:
            traceback.print_exc()
            raise LaunchError(f"The embedded AWS failed: {error!r}") from error

    def _next_address(self) -> str:
        """Return an address that no other task has; children of an array job start in threads at once."""
        return f"{self._network}.{next(self._numbers)}"

    def run_alone(self, name: str, revision: Any) -> int:
        """Run a task that ends by itself, and keep its output; return its exit code. Raises LaunchError."""
        command = revision.container_definitions[0]["command"]
        launched = self._begin(revision, self._next_address(), 80, command)
        self._launched[name] = launched
        while (code := launched.exit_code()) is None:
            time.sleep(0.1)
        self._end(name, revision)
        return code

    def run_task(self, task: Task, revision: Any, override: dict[str, Any]) -> None:
        """Run a task without a service in the background."""
        task.last_status = task.desired_status = "RUNNING"
        given = {each["name"]: each["value"] for each in override.get("environment", [])}
        container = revision.container_definitions[0]
        others = [each for each in container["environment"] if each["name"] not in given]
        changed = copy.copy(revision)
        environment = [*others, *override.get("environment", [])]
        changed.container_definitions = [container | override | {"environment": environment}]

        def run() -> None:
            try:
                code = self.run_alone(task.id, changed)
            except LaunchError as error:
                self._mark_stopped(task, str(error))
                return
            for each in task.containers:
                each.exitCode = code
            self._mark_stopped(task, "Essential container in task exited")

        threading.Thread(target=run, daemon=True).start()

    def _fail(
        self, backend: Backend, service: Service, revision: Any, before: list[Task], reason: str
    ) -> None:
        """Stop the new tasks; with a circuit breaker, return to the previous revision."""
        for task in self.running(backend, service):
            if task not in before:
                self._stop(task, "Rollout failed")
        if not self._is_current(service, revision):
            return
        configuration = getattr(service, "deployment_configuration", None) or {}
        breaker = configuration.get("deploymentCircuitBreaker", {})
        if breaker.get("enable") and breaker.get("rollback") and before:
            service.task_definition = before[0].task_definition_arn
            self._report(service, len(before), "COMPLETED", f"rolled back: {reason}")
        elif breaker.get("enable"):
            self._report(service, len(before), "FAILED", reason)
        else:
            self._report(service, len(before), "IN_PROGRESS", reason)

    def _stop(self, task: Task, reason: str) -> None:
        with self._state:
            revision = task._backend.describe_task_definition(task.task_definition_arn)
            self._end(task.id, revision)
            self._mark_stopped(task, reason)

    def _end(self, name: str, revision: Any) -> None:
        """Remove a task and keep its output."""
        with self._state:
            launched = self._launched.pop(name)
            keep_log(revision, name, launched.log())
            launched.stop()

    def _mark_stopped(self, task: Task, reason: str) -> None:
        task.last_status = task.desired_status = "STOPPED"
        task.stopped_reason = reason
        interfaces(task).pop(interface_id(task))
        for container in task.containers:
            container.last_status = "STOPPED"

    def stop_all(self) -> None:
        """Stop all tasks, including those of a rollout in progress."""
        self._is_closing = True
        with self._rollouts:
            # A task that ends removes itself meanwhile.
            for launched in list(self._launched.values()):
                launched.stop()


def mend_moto() -> None:
    """Make moto 5.2 describe, use and delete a network created by a stack."""
    # The role is AWSServiceRoleForECS, not ...ForEcs.
    SERVICE_NAME_CONVERSION["ecs"] = "ECS"
    # moto sets this only in networks with DNS host names, but reads it in all.
    NetworkInterface.private_dns_name = ""
    Stack.stack_resources = property(
        lambda self: [resource for resource in self.resource_map.values() if resource]
    )
    delete = VPCBackend.delete_vpc

    def delete_vpc(self: Any, vpc_id: str) -> Any:
        for table in self.describe_route_tables(filters={"vpc-id": vpc_id}):
            del self.route_tables[table.id]
        return delete(self, vpc_id)

    VPCBackend.delete_vpc = delete_vpc
    providers = Backend.describe_capacity_providers
    describe = Backend.describe_task_definition

    def describe_capacity_providers(self: Backend, names: list[str]) -> Any:
        if names != ["FARGATE"]:
            return providers(self, names)
        return [CapacityProvider(self.account_id, self.region_name, "FARGATE", {}, [])], []

    def describe_task_definition(self: Backend, name: str) -> Any:
        # A family name without revision means its latest active revision.
        active = [
            revision
            for revision in self.task_definitions.get(name, {}).values()
            if revision.status == "ACTIVE"
        ]
        return active[-1] if active else describe(self, name)

    register = Backend.register_task_definition

    def register_task_definition(self: Backend, *arguments: Any, **options: Any) -> Any:
        definition = register(self, *arguments, **options)
        definition.registered_at = datetime.now(UTC).replace(tzinfo=None)
        definition.registered_by = f"arn:aws:iam::{self.account_id}:user/rehearsal"
        return definition

    Backend.register_task_definition = register_task_definition
    findings = ECRBackend.describe_image_scan_findings

    def describe_image_scan_findings(self: Any, *arguments: Any, **options: Any) -> Any:
        try:
            return findings(self, *arguments, **options)
        except (ImageNotFoundException, ScanNotFoundException):
            # The image is in the registry that stands in for ECR, which has no scanner.
            return {"imageScanStatus": {"status": "COMPLETE"}, "imageScanFindings": {}}

    ECRBackend.describe_image_scan_findings = describe_image_scan_findings
    settings = Backend.list_account_settings

    def list_account_settings(self: Backend, *arguments: Any) -> Any:
        # As in every real account; some tools check it.
        for kind in ("service", "task", "containerInstance"):
            self.put_account_setting(f"{kind}LongArnFormat", "enabled")
        return settings(self, *arguments)

    # On Fargate the task has a size, and containers need none.
    Backend._calculate_task_resource_requirements = lambda self, definition: None
    Backend.list_account_settings = list_account_settings
    Backend.enable_long_arn_for_name = lambda self, name: True
    Backend.describe_capacity_providers = describe_capacity_providers
    Backend.describe_task_definition = describe_task_definition


def install(scheduler: Scheduler) -> None:
    """Make moto's services run their tasks."""
    create, update, delete = Backend.create_service, Backend.update_service, Backend.delete_service
    describe, listed = Backend.describe_services, Backend.list_tasks
    list_all, make_cluster = Backend.list_services, Backend.create_cluster

    def create_service(self: Backend, *arguments: Any, **options: Any) -> Service:
        service = create(self, *arguments, **options)
        scheduler.roll_out(self, service)
        return service

    def update_service(self: Backend, properties: dict[str, Any]) -> Service:
        # Settings that an update does not mention stay, such as the circuit breaker.
        service = self._get_service(properties["cluster"], properties["service"])
        given = properties.get("deployment_configuration") or {}
        kept = getattr(service, "deployment_configuration", None) or {}
        properties["deployment_configuration"] = kept | given
        service = update(self, properties)
        scheduler.roll_out(self, service)
        return service

    def delete_service(self: Backend, *arguments: Any, **options: Any) -> Service:
        service = delete(self, *arguments, **options)
        service.desired_count = 0
        scheduler.roll_out(self, service)
        return service

    def describe_services(self: Backend, *arguments: Any, **options: Any) -> Any:
        services, failures = describe(self, *arguments, **options)
        for service in services:
            service.running_count = len(scheduler.running(self, service))
        return services, failures

    def create_cluster(self: Backend, cluster_name: str, *arguments: Any, **options: Any) -> Any:
        # An existing cluster stays as it is.
        found = self.clusters.get(cluster_name)
        if found is not None and found.status == "ACTIVE":
            return found
        return make_cluster(self, cluster_name, *arguments, **options)

    def list_services(self: Backend, *arguments: Any, **options: Any) -> list[str]:
        # Deleted services are not listed.
        active = {service.arn for service in self.services.values() if service.status == "ACTIVE"}
        return [arn for arn in list_all(self, *arguments, **options) if arn in active]

    def list_tasks(self: Backend, *arguments: Any, **options: Any) -> list[Task]:
        for service in self.services.values():
            scheduler.running(self, service)
        tasks = listed(self, *arguments, **options)
        name = (options.get("service_name") or (arguments[4:5] or [None])[0] or "").split("/")[-1]
        wanted = options.get("desiredStatus") or (arguments[5:6] or [None])[0] or "RUNNING"
        return [
            task
            for task in tasks
            if name in {"", task.group.removeprefix("service:")} and task.desired_status == wanted
        ]

    run = Backend.run_task

    def run_task(self: Backend, *arguments: Any, **options: Any) -> list[Task]:
        tasks = run(self, *arguments, **options)
        overrides = options.get("overrides") or arguments[3]
        for task in tasks:
            revision = self.describe_task_definition(task.task_definition_arn)
            scheduler.run_task(task, revision, overrides["containerOverrides"][0])
        return tasks

    Backend.run_task = run_task
    Backend.create_service = create_service
    Backend.update_service = update_service
    Backend.delete_service = delete_service
    Backend.describe_services = describe_services
    Backend.create_cluster = create_cluster
    Backend.list_services = list_services
    Backend.list_tasks = list_tasks


def record_actions() -> None:
    """Log every called action by its name in IAM policies."""
    call = BaseResponse.call_action
    # moto derives Batch's actions from their paths, which are in lower case.
    names = {
        name.lower(): name for name in get_session().get_service_model("batch").operation_names
    }

    def call_action(self: Any) -> Any:
        action = self._get_action()
        action = names.get(action, action)
        print(f"{self.service_name}:{action}", file=sys.stderr, flush=True)
        return call(self)

    BaseResponse.call_action = call_action


class RequestHandler(proxy3.ProxyRequestHandler):
    """moto's proxy, with a header that announces the closing of each connection: Go clients rely on it."""

    authority: Authority
    hosts: dict[str, Callable[[Any], None]]

    def do_CONNECT(self) -> None:  # noqa: N802
        """Respond as the requested host; moto would call openssl and write to its own folder."""
        self.wfile.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        host = self.path.rpartition(":")[0]
        context = self.authority.context(host)
        self.connection = context.wrap_socket(self.connection, server_side=True)
        if host in self.hosts:
            self.hosts[host](self.connection)
            self.close_connection = True
            return
        self.rfile = self.connection.makefile("rb", self.rbufsize)
        self.wfile = self.connection.makefile("wb", self.wbufsize)
        self.close_connection = False

    def end_headers(self) -> None:
        """Add the header that moto omits."""
        self.send_header("Connection", "close")
        super().end_headers()

    def log_message(self, format: str, *arguments: Any) -> None:
        """Log nothing."""


def main(folder: str, containers: str = "") -> None:
    """Serve until stdin ends."""
    # Describing a task must not advance it to STOPPED.
    state_manager.set_transition("ecs::task", {"progression": "manual", "times": sys.maxsize})
    scheduler = Scheduler(Container if containers else Process)
    install(scheduler)
    mend_moto()
    batch.install(scheduler)
    tool.install(scheduler)
    record_actions()
    proxy3.error = traceback.print_exception
    os.environ["TEST_PROXY_MODE"] = "true"
    RequestHandler.authority = Authority(Path(folder))
    RequestHandler.hosts = scheduler.hosts
    server = ThreadingHTTPServer(("127.0.0.1", 0), RequestHandler)
    os.environ["MOTO_PORT"] = str(server.server_port)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(server.server_port, flush=True)
    # The parent reads only the port: moto's output for each request would fill the pipe and block every response.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.stdin.read()
    scheduler.stop_all()
    os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
