"""AWS Batch on the embedded AWS: the children of an array job really run, like tasks."""

import threading
import uuid
from types import SimpleNamespace
from typing import Any

from moto.batch.models import BatchBackend, ComputeEnvironment, Job, JobQueue, batch_backends
from moto.iam.models import iam_backends

from rehearsal.tasks import LaunchError

ENDED = ("SUCCEEDED", "FAILED")


def install(scheduler: Any) -> None:
    """Make moto's Batch run its jobs, and its stacks create and delete Batch resources."""
    describe = Job.describe

    def describe_job(self: Any) -> dict[str, Any]:
        described: dict[str, Any] = describe(self)
        children = self._child_jobs or []
        if children and all(child.status in ENDED for child in children):
            failed = any(child.status == "FAILED" for child in children)
            described["status"] = self.status = "FAILED" if failed else "SUCCEEDED"
        return described

    def start(self: Any) -> None:
        self.status = "RUNNABLE"
        threading.Thread(target=run, args=(scheduler, self), daemon=True).start()

    Job.start = start
    Job.describe = describe_job
    make = ComputeEnvironment.create_from_cloudformation_json.__func__

    def make_environment(
        cls: Any, name: str, document: Any, account: str, region: str, **others: Any
    ) -> Any:
        properties = document["Properties"] | {"ServiceRole": role_of_batch(account)}
        return make(cls, name, document | {"Properties": properties}, account, region, **others)

    def delete_environment(self: Any, account: str, region: str) -> None:
        batch_backends[account][region].delete_compute_environment(self.name)

    def delete_queue(self: Any, account: str, region: str) -> None:
        batch_backends[account][region].delete_job_queue(self.name)

    # moto does not know the security groups that ECS creates in Express Mode.
    BatchBackend._validate_compute_resources = lambda self, resources: None
    ComputeEnvironment.create_from_cloudformation_json = classmethod(make_environment)
    ComputeEnvironment.delete = delete_environment
    JobQueue.delete = delete_queue


def role_of_batch(account: str) -> str:
    """Return the ARN of Batch's service-linked role, created with the first environment of an account."""
    backend = iam_backends[account]["aws"]
    for role in backend.roles.values():
        if "/batch.amazonaws.com/" in role.path:
            return str(role.arn)
    return str(backend.create_service_linked_role("batch.amazonaws.com", "", "").arn)


def run(scheduler: Any, job: Any) -> None:
    """Run a child job until it ends, and retry it as its definition says."""
    definition = job.job_definition
    container = {**definition.container_properties, "name": "default"}
    index = str(job.array_properties["index"])
    given = {"name": "AWS_BATCH_JOB_ARRAY_INDEX", "value": index}
    container["environment"] = [*container["environment"], given]
    size = {each["type"]: float(each["value"]) for each in container["resourceRequirements"]}
    revision = SimpleNamespace(
        arn=definition.arn,
        cpu=size["VCPU"] * 1024,
        memory=int(size["MEMORY"]),
        container_definitions=[container],
    )
    rules = definition.retry_strategy
    last = {int(rule["onExitCode"]) for rule in rules["evaluateOnExit"] if rule["action"] == "exit"}
    for _ in range(int(rules["attempts"])):
        job.status = "RUNNING"
        try:
            job.exit_code = scheduler.run_alone(uuid.uuid4().hex, revision)
        except LaunchError as error:
            job.job_stopped_reason = str(error)
        if job.exit_code == 0 or job.exit_code in last:
            break
    job._mark_stopped(success=job.exit_code == 0)
