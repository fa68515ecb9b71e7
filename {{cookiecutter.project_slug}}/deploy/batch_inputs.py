"""Print requests of batch-aws.sh to AWS, as documents for ``--cli-input-json``.

``batch_inputs.py task IN OUT`` prints one for ``aws ecs run-task``, ``batch_inputs.py job IN OUT N`` one for ``aws batch
register-job-definition``. Stdin holds two documents, the service and its task definition, as ECS describes them. CPU and
MEMORY override the size of the service's tasks.
"""

import json
import os
import sys
from typing import Any

# Exit code 1 means that some rows have no answer; a retry would give the same result.
RETRIES = {
    "attempts": 3,
    "evaluateOnExit": [
        {"onExitCode": "1", "action": "EXIT"},
        {"onReason": "*", "action": "RETRY"},
    ],
}


def cpu_of(definition: dict[str, Any]) -> int:
    """Return the CPU units of a task."""
    return int(os.getenv("CPU") or definition["cpu"])


def workers(definition: dict[str, Any]) -> dict[str, str]:
    """Return one process for each whole vCPU, since a task may see more processors than it has."""
    return {"name": "WORKERS", "value": str(max(1, cpu_of(definition) // 1024))}


def task(service: dict[str, Any], definition: dict[str, Any], command: list[str]) -> dict[str, Any]:
    """Return a task like those of the service, with another command."""
    size = {name: os.environ[name.upper()] for name in ("cpu", "memory") if os.getenv(name.upper())}
    container = {
        "name": definition["containerDefinitions"][0]["name"],
        "command": command,
        "environment": [workers(definition)],
    }
    return {
        "cluster": service["clusterArn"],
        "taskDefinition": definition["taskDefinitionArn"],
        "launchType": "FARGATE",
        "startedBy": "batch",
        "networkConfiguration": service["networkConfiguration"],
        "overrides": {**size, "containerOverrides": [container]},
    }


def job(service: dict[str, Any], definition: dict[str, Any], command: list[str]) -> dict[str, Any]:
    """Return a job definition with the image, roles and environment of the service's tasks."""
    container = definition["containerDefinitions"][0]
    processes = workers(definition)
    others = [each for each in container["environment"] if each["name"] != processes["name"]]
    log = container["logConfiguration"]
    properties = {
        "command": command,
        "environment": [*others, processes],
        "resourceRequirements": [
            {"type": "VCPU", "value": f"{cpu_of(definition) / 1024:g}"},
            {"type": "MEMORY", "value": os.getenv("MEMORY") or definition["memory"]},
        ],
        "logConfiguration": {
            "logDriver": log["logDriver"],
            "options": log["options"] | {"awslogs-stream-prefix": "batch"},
        },
        "networkConfiguration": {
            "assignPublicIp": service["networkConfiguration"]["awsvpcConfiguration"][
                "assignPublicIp"
            ]
        },
        "linuxParameters": {"initProcessEnabled": True},
        "executionRoleArn": definition["executionRoleArn"],
    }
    if "taskRoleArn" in definition:
        properties["jobRoleArn"] = definition["taskRoleArn"]
    for name in ("image", "secrets", "user", "readonlyRootFilesystem"):
        if name in container:
            properties[name] = container[name]
    for name in ("runtimePlatform", "ephemeralStorage"):
        if name in definition:
            properties[name] = definition[name]
    return {
        "jobDefinitionName": f"{definition['family']}-batch",
        "type": "container",
        "platformCapabilities": ["FARGATE"],
        "retryStrategy": RETRIES,
        "containerProperties": properties,
    }


if __name__ == "__main__":
    kind, *arguments = sys.argv[1:]
    service, definition = (json.loads(text) for text in sys.stdin.read().split("\0"))
    make = {"task": task, "job": job}[kind]
    print(json.dumps(make(service, definition, ["batch", *arguments])))
