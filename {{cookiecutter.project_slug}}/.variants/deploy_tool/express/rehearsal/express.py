"""ECS Express Mode on the embedded AWS: its four operations, and ``AWS::ECS::ExpressGatewayService``.

This emulates what AWS documents. A service has its own HTTPS address, a front that distributes requests, and a
canary: a release gets 5 % of the requests for three minutes, then all of them, and is rolled back if in two of three
minutes more than 1 % of the responses are 4xx or 5xx. A minute lasts a second. Load balancer, security groups and
scaling policies are not created, and the default network is the account's.
"""

import re
import socket
import threading
import uuid
from datetime import UTC, datetime
from typing import Any

from moto.cloudwatch.models import cloudwatch_backends
from moto.core.common_models import CloudFormationModel
from moto.core.exceptions import JsonRESTError
from moto.core.responses import ActionResult
from moto.core.utils import pascal_to_camelcase, remap_nested_keys
from moto.ec2.models import ec2_backends
from moto.ecs.models import Service, ecs_backends
from moto.ecs.responses import EC2ContainerServiceResponse

from rehearsal.balancer import Balancer
from rehearsal.deployments import SECONDS_PER_MINUTE
from rehearsal.stacks import let_stacks_make

PERCENT_THAT_MAY_FAIL = 1.0
CANARY = {
    "strategy": "CANARY",
    "canaryConfiguration": {"canaryPercent": 5, "canaryBakeTimeInMinutes": 3},
    "bakeTimeInMinutes": 3,
    "deploymentCircuitBreaker": {"enable": True, "rollback": True},
}
STATUS = re.compile(rb"HTTP/1\.[01] ([1-5])\d\d ")

Json = dict[str, Any]


class Meter:
    """Counts responses and failures per minute, and sets the alarm of a service accordingly."""

    def __init__(self, alarm: str, account: str, region: str) -> None:
        self._alarms = cloudwatch_backends[account][region]
        self._name = alarm
        self._minutes: list[tuple[int, int]] = []
        self._answers = self._failures = 0
        self._lock = threading.Lock()
        self._is_closed = threading.Event()
        self._alarms.put_metric_alarm(
            name=alarm,
            namespace="AWS/ApplicationELB",
            metric_name="",
            comparison_operator="GreaterThanThreshold",
            evaluation_periods=3,
            datapoints_to_alarm=2,
            period=60,
            threshold=PERCENT_THAT_MAY_FAIL,
            statistic="Sum",
            description="Answers of 4xx and 5xx, in percent",
            dimensions=[],
            alarm_actions=[],
        )
        threading.Thread(target=self._watch, daemon=True).start()

    def count(self, answer: bytes) -> None:
        """Count a response by its first bytes."""
        found = STATUS.match(answer)
        with self._lock:
            self._answers += 1
            self._failures += found is None or found[1] in b"45"

    def close(self) -> None:
        """Stop watching, and delete the alarm."""
        self._is_closed.set()
        self._alarms.delete_alarms([self._name])

    def _watch(self) -> None:
        while not self._is_closed.wait(SECONDS_PER_MINUTE):
            with self._lock:
                self._minutes = [*self._minutes[-2:], (self._answers, self._failures)]
                self._answers = self._failures = 0
            breaching = [
                answers > 0 and 100 * failures / answers > PERCENT_THAT_MAY_FAIL
                for answers, failures in self._minutes
            ]
            state = "ALARM" if sum(breaching) >= 2 else "OK"
            alarm = self._alarms.alarms.get(self._name)
            if alarm and alarm.state_value != state:
                self._alarms.set_alarm_state(self._name, "", "{}", state)


class Counted:
    """A client connection whose first response is counted."""

    def __init__(self, client: socket.socket, meter: Meter) -> None:
        self._client = client
        self._meter = meter
        self._is_new = True

    def sendall(self, data: bytes) -> None:
        """Send data, and count the response if it is the first."""
        if self._is_new:
            self._meter.count(data)
            self._is_new = False
        self._client.sendall(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)


class Gateway:
    """An Express Mode service and its front."""

    def __init__(self, scheduler: Any, backend: Any, given: Json) -> None:
        self.given = given
        self.created = datetime.now(UTC).replace(tzinfo=None)
        account, region = backend.account_id, backend.region_name
        service = backend.create_service(
            given.get("cluster", "default"),
            given["serviceName"],
            desired_count=int(given.get("scalingTarget", {}).get("minTaskCount", 1)),
            task_definition_str=given["taskDefinitionArn"],
            load_balancers=[],
            launch_type="FARGATE",
            network_configuration={"awsvpcConfiguration": network(given, account, region)},
        )
        self.service = service
        alarm = f"ecs-express-{service.name}-{uuid.uuid4().hex[:8]}-rollback"
        self.meter = Meter(alarm, account, region)
        alarms = {"alarmNames": [alarm], "enable": True, "rollback": True}
        service.deployment_configuration = {**CANARY, "alarms": alarms}
        self.host = f"{service.name}-{uuid.uuid4().hex[:12]}.ecs.{region}.on.aws"
        self._balancer = Balancer(scheduler, lambda: [(service, port_of(backend, service))])
        self._hosts = scheduler.hosts
        self._hosts[self.host] = self.answer

    def answer(self, client: Any) -> None:
        """Forward a client's connection to a task."""
        self._balancer.forward(Counted(client, self.meter))

    def close(self) -> None:
        """Remove the front of the service."""
        self.meter.close()
        self._hosts.pop(self.host, None)

    def described(self) -> Json:
        """Return the API's description of the service."""
        service = self.service
        configuration = {
            "serviceRevisionArn": service.arn.replace(":service/", ":service-revision/") + "/1",
            "taskDefinitionArn": service.task_definition,
            "healthCheckPath": self.given.get("healthCheckPath", "/ping"),
            "scalingTarget": self.given.get("scalingTarget", {}),
            "ingressPaths": [{"accessType": "PUBLIC", "endpoint": self.host}],
            "createdAt": self.created,
        }
        return {
            "cluster": service.cluster_name,
            "serviceName": service.name,
            "serviceArn": service.arn,
            "infrastructureRoleArn": self.given["infrastructureRoleArn"],
            "status": {"statusCode": service.status},
            "activeConfigurations": [configuration],
            "tags": self.given.get("tags", []),
            "createdAt": self.created,
            "updatedAt": self.created,
        }


def network(given: Json, account: str, region: str) -> Json:
    """Return the network of the tasks: the given subnets, or those of the default VPC."""
    backend = ec2_backends[account][region]
    chosen = given.get("networkConfiguration", {})
    default = backend.get_default_vpc()
    if not chosen.get("subnets") and default is None:
        refuse("No default VPC for this user")
    subnets = chosen.get("subnets") or [
        subnet.id for subnet in backend.describe_subnets() if subnet.vpc_id == default.id
    ]
    return {
        "subnets": subnets,
        "securityGroups": chosen.get("securityGroups", []),
        "assignPublicIp": "ENABLED",
    }


def port_of(backend: Any, service: Service) -> int:
    """Return the port of a service's container."""
    container = backend.describe_task_definition(service.task_definition).container_definitions[0]
    return int(container["portMappings"][0]["containerPort"])


def refuse(reason: str) -> None:
    """Raise the error for an invalid parameter."""
    raise JsonRESTError("InvalidParameterException", reason)


def check(backend: Any, given: Json) -> None:
    """Refuse a task definition that Express Mode does not accept, as documented by AWS."""
    if not given.get("taskDefinitionArn"):
        refuse("The embedded AWS supports only task definitions, not primaryContainer.")
    revision = backend.describe_task_definition(given["taskDefinitionArn"])
    containers = [each for each in revision.container_definitions if each["name"] == "Main"]
    if not containers:
        refuse("The task definition must have a container named Main.")
    mappings = containers[0].get("portMappings", [])
    if len(mappings) != 1 or not mappings[0].get("name") or mappings[0].get("protocol") == "udp":
        refuse("Main must have a single TCP port mapping with a container port and a name.")
    if "FARGATE" not in (revision.requires_compatibilities or []):
        refuse("The task definition must be compatible with FARGATE.")
    for name in ("primaryContainer", "executionRoleArn", "taskRoleArn", "cpu", "memory"):
        if given.get(name):
            refuse(f"With a task definition, {name} is not allowed.")


class Express:
    """The Express Mode services of all accounts, by ARN."""

    def __init__(self, scheduler: Any) -> None:
        self._scheduler = scheduler
        self.gateways: dict[str, Gateway] = {}

    def create(self, backend: Any, given: Json) -> Gateway:
        """Create a service; raises if its parameters are invalid."""
        check(backend, given)
        gateway = Gateway(self._scheduler, backend, given)
        self.gateways[gateway.service.arn] = gateway
        return gateway

    def update(self, backend: Any, arn: str, given: Json) -> Gateway:
        """Update a service: a new task definition starts a release."""
        gateway = self.find(arn, "ServiceNotFoundException")
        service = gateway.service
        merged = {**gateway.given, **given}
        check(backend, merged)
        gateway.given = merged
        scaling = merged.get("scalingTarget", {})
        least, most = (int(scaling.get(f"{end}TaskCount", 1)) for end in ("min", "max"))
        wanted = {
            "task_definition": merged["taskDefinitionArn"],
            "desired_count": max(least, min(service.desired_count, most)),
        }
        before = (service.task_definition, service.desired_count)
        if before != tuple(wanted.values()):
            names = {"cluster": service.cluster_name, "service": service.name}
            backend.update_service({**names, **wanted})
        return gateway

    def delete(self, backend: Any, arn: str) -> Gateway:
        """Delete a service and its front."""
        gateway = self.find(arn, "ServiceNotFoundException")
        gateway.close()
        del self.gateways[arn]
        backend.delete_service(gateway.service.cluster_name, gateway.service.name, force=True)
        return gateway

    def find(self, arn: str, error: str = "ResourceNotFoundException") -> Gateway:
        """Return the service with an ARN; raises if there is none."""
        if arn not in self.gateways:
            raise JsonRESTError(error, f"The service {arn} was not found.")
        return self.gateways[arn]


def in_camel_case(properties: Json) -> Json:
    """Rename the properties of a resource to their names in the API."""
    given: Json = remap_nested_keys(properties, pascal_to_camelcase)
    return given


def install(scheduler: Any) -> None:
    """Add Express Mode to moto's ECS and CloudFormation."""
    express = Express(scheduler)

    class ExpressGatewayService(CloudFormationModel):
        """The resource in a stack; once created, it is an ordinary ECS service."""

        @staticmethod
        def cloudformation_name_type() -> str:
            """Return the property that holds its name."""
            return "ServiceName"

        @staticmethod
        def cloudformation_type() -> str:
            """Return its type in templates."""
            return "AWS::ECS::ExpressGatewayService"

    let_stacks_make(
        ExpressGatewayService,
        lambda properties, backend: express.create(backend, in_camel_case(properties)).service,
        lambda service, properties, backend: (
            express.update(backend, service.arn, in_camel_case(properties)).service
        ),
        # The stack holds a Service, which deletes itself.
        lambda *_: None,
    )

    def given_to(response: Any) -> Json:
        given: Json = response._get_params()
        return {name: value for name, value in given.items() if name != "serviceArn"}

    def create_express_gateway_service(self: Any) -> ActionResult:
        gateway = express.create(self.ecs_backend, given_to(self))
        return ActionResult({"service": gateway.described()})

    def update_express_gateway_service(self: Any) -> ActionResult:
        arn = self._get_param("serviceArn")
        told = express.update(self.ecs_backend, arn, given_to(self)).described()
        told["targetConfiguration"] = told["activeConfigurations"][0]
        return ActionResult({"service": told})

    def describe_express_gateway_service(self: Any) -> ActionResult:
        return ActionResult({"service": express.find(self._get_param("serviceArn")).described()})

    def delete_express_gateway_service(self: Any) -> ActionResult:
        gateway = express.delete(self.ecs_backend, self._get_param("serviceArn"))
        return ActionResult({"service": gateway.described()})

    for operation in (
        create_express_gateway_service,
        update_express_gateway_service,
        describe_express_gateway_service,
        delete_express_gateway_service,
    ):
        setattr(EC2ContainerServiceResponse, operation.__name__, operation)

    delete = Service.delete
    attribute = Service.get_cfn_attribute

    def delete_with_gateway(self: Service, account: str, region: str) -> None:
        if self.arn in express.gateways:
            express.delete(ecs_backends[account][region], self.arn)
        else:
            delete(self, account, region)

    def get_cfn_attribute(self: Service, name: str) -> Any:
        if name == "Endpoint":
            return express.gateways[self.arn].host
        return attribute(self, name)

    Service.delete = delete_with_gateway
    Service.get_cfn_attribute = get_cfn_attribute
    Service.has_cfn_attr = classmethod(lambda _, name: name in ("Name", "Endpoint"))
