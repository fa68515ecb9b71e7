"""A stand-in for ecs-cli 1.21 on machines without it: the commands and flags that the deployment uses.

The tests run the real one if it is on PATH. Like it, this one reads the compose file of schema 3 and
ecs-params.yml, fails if a stack already exists, and reuses a revision that has not changed.
"""

import argparse
import json
import os
import re
import sys

import boto3
import yaml
from botocore.exceptions import ClientError

NETWORK = {
    "Vpc": {"Type": "AWS::EC2::VPC", "Properties": {"CidrBlock": "10.0.0.0/16"}},
    **{
        f"PubSubnetAz{number}": {
            "Type": "AWS::EC2::Subnet",
            "Properties": {"VpcId": {"Ref": "Vpc"}, "CidrBlock": f"10.0.{number}.0/24"},
        }
        for number in (1, 2)
    },
}


def parse(arguments):
    """Parse the command line, as far as the Makefile uses it."""
    parser = argparse.ArgumentParser(prog="ecs-cli")
    parser.add_argument("--version", action="version", version="ecs-cli version 1.21.0 (stand-in)")
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("configure", "up", "down", "ps", "compose"):
        command = commands.add_parser(name)
        command.add_argument("--cluster", required=True)
        command.add_argument("--region", required=True)
        if name == "configure":
            command.add_argument("--config-name", required=True)
            command.add_argument("--default-launch-type", required=True)
        if name == "up":
            command.add_argument("--launch-type", required=True)
            command.add_argument("--azs", required=True)
        if name == "down":
            command.add_argument("--force", action="store_true", required=True)
        if name == "compose":
            command.add_argument("--project-name", required=True)
            command.add_argument("--file", required=True)
            command.add_argument("--ecs-params", required=True)
            command.add_argument("service", choices=["service"])
            command.add_argument("verb", choices=["create", "up"])
            command.add_argument("--launch-type", required=True)
            command.add_argument("--tags", default="")
            command.add_argument("--force-deployment", action="store_true")
            command.add_argument("--deployment-min-healthy-percent", type=int)
            command.add_argument("--deployment-max-percent", type=int)
            command.add_argument("--timeout", type=float)
    return parser.parse_args(arguments)


def up(options):
    """Create the cluster and its network stack."""
    stack = f"amazon-ecs-cli-setup-{options.cluster}"
    cloudformation = boto3.client("cloudformation", options.region)
    try:
        cloudformation.describe_stacks(StackName=stack)
        sys.exit(
            f"FATAL A CloudFormation stack already exists for the cluster '{options.cluster}'."
        )
    except ClientError:
        boto3.client("ecs", options.region).create_cluster(clusterName=options.cluster)
    zones = options.azs.split(",")
    network = json.loads(json.dumps(NETWORK))
    for subnet, zone in zip(("PubSubnetAz1", "PubSubnetAz2"), zones, strict=True):
        network[subnet]["Properties"]["AvailabilityZone"] = zone
    cloudformation.create_stack(StackName=stack, TemplateBody=json.dumps({"Resources": network}))


def down(options):
    """Delete the stack and the cluster."""
    stack = f"amazon-ecs-cli-setup-{options.cluster}"
    boto3.client("cloudformation", options.region).delete_stack(StackName=stack)
    boto3.client("ecs", options.region).delete_cluster(cluster=options.cluster)


def read_compose(path):
    """Return the only service of a compose file; variables come from the environment and from ./.env."""
    variables = dict(os.environ)
    if os.path.exists(".env"):
        with open(".env") as file:
            pairs = [line.strip().split("=", 1) for line in file if "=" in line]
        variables = dict(pairs) | variables

    def value(match):
        return variables.get(match[1]) or (match[2] or "")

    with open(path) as file:
        text = re.sub(r"\$\{(\w+)(?::-([^}]*))?\}", value, file.read())
    compose = yaml.safe_load(text)
    if compose["version"] != "3":
        sys.exit(f"FATAL version {compose['version']!r} of {path}")
    ((name, service),) = compose["services"].items()
    return name, service


def container(name, service, parameters):
    """Return a container definition from the compose file's service and its section of ecs-params.yml."""
    seconds = {key: int(service["healthcheck"][key].rstrip("s")) for key in ("interval", "timeout")}
    return {
        "name": name,
        "image": service["image"],
        "essential": True,
        "dockerLabels": service["labels"],
        "user": service["user"],
        "readonlyRootFilesystem": service["read_only"],
        "stopTimeout": int(service["stop_grace_period"].rstrip("s")),
        "environment": [
            {"name": key, "value": str(value)} for key, value in service["environment"].items()
        ],
        "portMappings": [
            dict(zip(("hostPort", "containerPort"), map(int, port.split(":")), strict=True))
            for port in service["ports"]
        ],
        "linuxParameters": {
            "capabilities": {"drop": service["cap_drop"]},
            "initProcessEnabled": parameters["init_process_enabled"],
        },
        "healthCheck": {"command": service["healthcheck"]["test"], **seconds},
        "logConfiguration": {
            "logDriver": service["logging"]["driver"],
            "options": service["logging"]["options"],
        },
    }


def register(ecs, family, definition):
    """Register a revision unless the latest one is the same; return its ARN."""
    for arn in ecs.list_task_definitions(familyPrefix=family)["taskDefinitionArns"][-1:]:
        latest = ecs.describe_task_definition(taskDefinition=arn)["taskDefinition"]
        if contains(latest, definition):
            return arn
    answer = ecs.register_task_definition(family=family, **definition)
    return answer["taskDefinition"]["taskDefinitionArn"]


def contains(whole, part):
    """Whether ``whole`` contains everything in ``part``."""
    if isinstance(part, dict):
        return all(contains(whole.get(key), value) for key, value in part.items())
    if isinstance(part, list):
        return len(whole) == len(part) and all(map(contains, whole, part))
    return whole == part


def compose(options):
    """Create or update the service."""
    name, service = read_compose(options.file)
    with open(options.ecs_params) as file:
        parameters = yaml.safe_load(os.path.expandvars(file.read()))
    task = parameters["task_definition"]
    ecs = boto3.client("ecs", options.region)
    definition = {
        "containerDefinitions": [container(name, service, task["services"][name])],
        "networkMode": task["ecs_network_mode"],
        "executionRoleArn": task["task_execution_role"],
        "taskRoleArn": task["task_role_arn"],
        "cpu": task["task_size"]["cpu_limit"],
        "memory": task["task_size"]["mem_limit"],
        "requiresCompatibilities": [options.launch_type],
    }
    revision = register(ecs, options.project_name, definition)
    place = {"cluster": options.cluster}
    if options.verb == "create":
        network = parameters["run_params"]["network_configuration"]["awsvpc_configuration"]
        ecs.create_service(
            **place,
            serviceName=options.project_name,
            taskDefinition=revision,
            desiredCount=0,
            launchType=options.launch_type,
            tags=[
                dict(zip(("key", "value"), tag.split("="), strict=True))
                for tag in options.tags.split(",")
                if tag
            ],
            networkConfiguration={
                "awsvpcConfiguration": {
                    "subnets": network["subnets"],
                    "securityGroups": network["security_groups"],
                    "assignPublicIp": network["assign_public_ip"],
                }
            },
        )
    else:
        found = ecs.describe_services(**place, services=[options.project_name])["services"]
        count = max(1, found[0]["desiredCount"])
        ecs.update_service(
            **place,
            service=options.project_name,
            taskDefinition=revision,
            desiredCount=count,
            forceNewDeployment=options.force_deployment,
        )


def ps(options):
    """Print the tasks with their state and revision."""
    ecs = boto3.client("ecs", options.region)
    arns = ecs.list_tasks(cluster=options.cluster)["taskArns"]
    for task in ecs.describe_tasks(cluster=options.cluster, tasks=arns)["tasks"]:
        print(task["taskArn"], task["lastStatus"], task["taskDefinitionArn"].split("/")[-1])


def main():
    """Run one command."""
    options = parse(sys.argv[1:])
    commands = {"up": up, "down": down, "ps": ps, "compose": compose}
    try:
        if options.command in commands:
            commands[options.command](options)
    except ClientError as error:
        sys.exit(f"FATAL {error}")


if __name__ == "__main__":
    main()
