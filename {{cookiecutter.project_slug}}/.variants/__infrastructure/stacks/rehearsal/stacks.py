"""CloudFormation on the embedded AWS, as realistic as a release needs.

moto creates the resources. Added here: parameters and rules are checked before a change set is created;
a stack changes in the background, with events; a change succeeds only if the rollout of its service does,
and is rolled back otherwise; the load balancer forwards to the tasks. An update changes only the task
definition and the service.
"""

import ipaddress
import itertools
import json
import re
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from functools import partial
from typing import Any

import yaml
from moto.cloudformation import parsing, responses
from moto.cloudformation.exceptions import ValidationError
from moto.cloudformation.models import Change, ChangeSet, CloudFormationBackend, Event, Stack
from moto.cloudformation.utils import yaml_tag_constructor
from moto.core.utils import pascal_to_camelcase, remap_nested_keys
from moto.ec2.models import ec2_backends
from moto.ecs.models import Cluster, Service, TaskDefinition, ecs_backends
from moto.elbv2.models import FakeLoadBalancer, FakeTargetGroup, elbv2_backends
from moto.iam.models import ManagedPolicy, iam_backends
from moto.utilities.utils import get_partition

from rehearsal.balancer import Balancer, behind

# Resource types that an update changes.
CHANGEABLE = {"AWS::ECS::TaskDefinition", "AWS::ECS::Service", "AWS::ECS::ExpressGatewayService"}
# How long a rollback waits for a client that follows the stack.
SECONDS_TO_ASK = 30
BREAKER = (
    "Error occurred during operation 'ECS Deployment Circuit Breaker was triggered'. "
    "(HandlerErrorCode: GeneralServiceException)"
)

Json = dict[str, Any]


def find_faults(template: Json, parameters: dict[str, str]) -> Iterator[str]:
    """Yield CloudFormation's error messages for invalid parameters."""
    slots = template.get("Parameters", {})
    for name in parameters.keys() - slots.keys():
        yield f"Parameters: [{name}] do not exist in the template"
    values = {name: slot.get("Default") for name, slot in slots.items()} | parameters
    for name, slot in slots.items():
        value = values[name]
        allowed = [str(one) for one in slot.get("AllowedValues", [])]
        pattern = slot.get("AllowedPattern", ".*")
        if value is None:
            yield f"Parameters: [{name}] must have values"
        elif allowed and str(value) not in allowed:
            yield f"Parameter '{name}' must be one of AllowedValues"
        elif not re.fullmatch(pattern, str(value)):
            told = slot.get("ConstraintDescription", f"must match pattern {pattern}")
            yield f"Parameter {name} failed to satisfy constraint: {told}"
        elif slot["Type"] == "Number" and not in_range(slot, str(value)):
            yield f"Parameter '{name}' must be a number in its range"
    for rule in template.get("Rules", {}).values():
        if "RuleCondition" in rule and not holds(rule["RuleCondition"], values):
            continue
        for assertion in rule["Assertions"]:
            if not holds(assertion["Assert"], values):
                yield f"Template error: {assertion['AssertDescription']}"


def in_range(slot: Json, value: str) -> bool:
    """Whether a value is a number between the parameter's minimum and maximum."""
    try:
        return (
            slot.get("MinValue", float("-inf"))
            <= float(value)
            <= slot.get("MaxValue", float("inf"))
        )
    except ValueError:
        return False


def holds(expression: Json, values: Json) -> bool:
    """Evaluate the condition of a rule, which may refer only to parameters."""

    def value(operand: Any) -> str:
        return str(values[operand["Ref"]] if isinstance(operand, dict) else operand)

    ((function, operands),) = expression.items()
    match function:
        case "Fn::Equals":
            return value(operands[0]) == value(operands[1])
        case "Fn::Contains":
            return value(operands[1]) in map(value, operands[0])
        case "Fn::Not":
            return not holds(operands[0], values)
        case "Fn::And":
            return all(holds(operand, values) for operand in operands)
        case "Fn::Or":
            return any(holds(operand, values) for operand in operands)
    raise ValueError(f"{function} is no condition")


def touched(template: Json, before: dict[str, str], after: dict[str, str]) -> set[str]:
    """Return the resources affected by changed parameter values."""
    changed = [name for name in after if before.get(name) != after[name]]
    names = {
        resource
        for resource, description in template["Resources"].items()
        for name in changed
        if re.search(rf'"Ref": "{name}"|\$\{{{name}\}}', json.dumps(description))
    }
    return names | ({"Service"} if "TaskDefinition" in names else set())


class Changes:
    """Executes change sets."""

    def __init__(self, scheduler: Any) -> None:
        self._scheduler = scheduler
        # For each stack, the number of events at each time they were requested.
        self.events_seen: dict[str, list[int]] = defaultdict(list)

    def execute(self, backend: CloudFormationBackend, name: str) -> None:
        """Start changing a stack."""
        change_set: Any = backend.describe_change_set(name)
        stack = backend.stacks[change_set.stack_id]
        if stack.status.endswith("_IN_PROGRESS") and stack.status != "REVIEW_IN_PROGRESS":
            message = f"ChangeSet [{name}] cannot be executed in its current status of [OBSOLETE]"
            raise ValidationError(name, message)
        change_set.execution_status = "EXECUTE_IN_PROGRESS"
        tell(stack, f"{change_set.change_set_type}_IN_PROGRESS", "User Initiated")
        threading.Thread(target=self._apply, args=(stack, change_set), daemon=True).start()

    def _apply(self, stack: Stack, change_set: ChangeSet) -> None:
        kind = change_set.change_set_type
        try:
            (self._create if kind == "CREATE" else self._update)(stack, change_set)
        except Exception as error:
            tell(stack, f"{kind}_FAILED", f"The embedded AWS cannot do this: {error!r}")
            raise

    def _create(self, stack: Stack, change_set: ChangeSet) -> None:
        stack.template, stack.parameters = change_set.template, change_set.parameters
        stack._parse_template()
        stack.resource_map = stack._create_resource_map()
        failure = self._make(stack)
        if failure:
            tell(stack, "CREATE_FAILED", failure[1], failure[0])
            tell(stack, "ROLLBACK_IN_PROGRESS", "The following resource(s) failed to create")
            self._wait_for_questions(stack)
            try:
                stack.resource_map.delete()
            except Exception as error:
                tell(stack, "DELETE_FAILED", protection_of(stack, error), "LoadBalancer")
                tell(stack, "ROLLBACK_FAILED")
            else:
                # Otherwise, deleting the stack later would create its resources again.
                stack.resource_map._resource_json_map = {}
                tell(stack, "ROLLBACK_COMPLETE")
        else:
            tell(stack, "CREATE_COMPLETE")

    def _make(self, stack: Stack) -> tuple[str, str] | None:
        """Create all resources; return the one that failed, and the reason."""
        resources = stack.template_dict["Resources"]
        for name in dependencies_first(resources):
            try:
                made = stack.resource_map[name]
            except Exception as error:
                return name, str(error)
            if made is not None:
                if isinstance(made, FakeLoadBalancer):
                    set_attributes(stack)
                if isinstance(made, Service) and not self._is_rolled_out(stack):
                    return name, BREAKER
                tell(stack, "CREATE_COMPLETE", None, name)
        stack.output_map = stack._create_output_map()
        return None

    def _update(self, stack: Stack, change_set: ChangeSet) -> None:
        before = stack.template, stack.parameters, dict(stack.resource_map._parsed_resources)
        self._load(stack, change_set.template, change_set.parameters)
        changed = []
        for name, resource in stack.template_dict["Resources"].items():
            if resource["Type"] in CHANGEABLE:
                made = parsing.parse_and_update_resource(
                    name, resource, stack.resource_map, stack.account_id, stack.region_name
                )
                stack.resource_map._parsed_resources[name] = made
                changed.append(name)
        set_attributes(stack)
        stack.output_map = stack._create_output_map()
        if self._is_rolled_out(stack):
            for name in changed:
                tell(stack, "UPDATE_COMPLETE", None, name)
            tell(stack, "UPDATE_COMPLETE")
            return
        tell(stack, "UPDATE_FAILED", BREAKER, "Service")
        tell(stack, "UPDATE_ROLLBACK_IN_PROGRESS", "The following resource(s) failed to update")
        self._wait_for_questions(stack)
        failed = revision_of(stack)
        template, parameters, resources = before
        self._load(stack, template, parameters)
        stack.resource_map._parsed_resources.update(resources)
        backend = ecs_backends[stack.account_id][stack.region_name]
        if failed is not revision_of(stack):
            backend.deregister_task_definition(failed.arn)
        service = service_of(stack)
        if service.task_definition != revision_of(stack).arn:
            run_revision(stack, service)
        self._is_rolled_out(stack)
        tell(stack, "UPDATE_ROLLBACK_COMPLETE")

    def _wait_for_questions(self, stack: Stack) -> None:
        """Keep what failed until the client that follows the stack has seen the failure and requests events again.

        A rollback removes tasks and log; in a real account it takes minutes.
        """
        told = len(stack.events)
        deadline = time.monotonic() + SECONDS_TO_ASK
        while time.monotonic() < deadline:
            if sum(seen >= told for seen in self.events_seen[stack.stack_id]) > 1:
                break
            time.sleep(0.1)

    def _load(self, stack: Stack, template: str, parameters: dict[str, str]) -> None:
        """Switch a stack to this template."""
        stack.template, stack.parameters = template, parameters
        stack._parse_template()
        resources = stack.resource_map
        resources._template = stack.template_dict
        resources._resource_json_map = stack.template_dict["Resources"]
        resources.input_parameters = parameters
        resources.load_mapping()
        resources.load_parameters()
        resources.load_conditions()

    def _is_rolled_out(self, stack: Stack) -> bool:
        """Wait for the rollout of a stack's service, if it has one; return whether it succeeded."""
        service = service_of(stack)
        if service is None:
            return True
        while service.deployments[0]["rolloutState"] == "IN_PROGRESS":
            time.sleep(0.2)
        went_well = service.deployments[0]["rolloutState"] == "COMPLETED"
        return went_well and service.task_definition == revision_of(stack).arn


def tell(stack: Stack, status: str, reason: str | None = None, resource: str = "") -> None:
    """Add an event for a resource, or for the stack, whose status is then updated."""
    kind = stack.template_dict.get("Resources", {}).get(resource, {}).get("Type")
    event = Event(
        stack_id=stack.stack_id,
        stack_name=stack.name,
        logical_resource_id=resource or stack.name,
        physical_resource_id=resource or stack.stack_id,
        resource_type=kind or "AWS::CloudFormation::Stack",
        resource_status=status,
        resource_status_reason=reason,
        resource_properties=None,
    )
    stack.events.append(event)
    if not resource:
        stack.status = status


def is_protected(balancer: Any) -> bool:
    """Whether a load balancer is protected from deletion."""
    return balancer is not None and balancer.attrs.get("deletion_protection.enabled") == "true"


def protection_of(stack: Stack, error: Exception) -> str:
    """Return why a stack cannot be deleted; raises ``error`` if that has another cause."""
    if not is_protected(stack.resource_map._parsed_resources.get("LoadBalancer")):
        raise error
    return "Load balancer cannot be deleted because deletion protection is enabled"


def set_attributes(stack: Stack) -> None:
    """Set the template's attributes on the load balancer of a stack, if it has one; moto ignores them."""
    if balancer := stack.resource_map._parsed_resources.get("LoadBalancer"):
        resource = stack.template_dict["Resources"]["LoadBalancer"]
        properties = parsing.clean_json(resource, stack.resource_map)["Properties"]
        for attribute in properties["LoadBalancerAttributes"]:
            balancer.attrs[attribute["Key"]] = attribute["Value"]


def require_gateway(properties: Json, account_id: str, region_name: str) -> None:
    """Refuse an internet-facing load balancer in a network without an internet gateway, as AWS does."""
    if properties["Scheme"] == "internal":
        return
    backend = ec2_backends[account_id][region_name]
    subnets = backend.describe_subnets(subnet_ids=properties["Subnets"])
    (vpc,) = {subnet.vpc_id for subnet in subnets}
    gateways = backend.describe_internet_gateways(filters={"attachment.vpc-id": [vpc]})
    if not gateways:
        raise ValueError(f"VPC {vpc} has no internet gateway (Code: InvalidSubnet)")


def require_service_linked_role(_: Json, account_id: str, region_name: str) -> None:
    """Refuse a cluster with capacity providers if the account has no ECS role yet, as AWS does."""
    backend = iam_backends[account_id][get_partition(region_name)]
    if "AWSServiceRoleForECS" not in {role.name for role in backend.get_roles()}:
        raise ValueError("Unable to assume the service linked role of ECS (Code: InvalidParameter)")


def check_before(kind: Any, check: Any) -> None:
    """Make CloudFormation run ``check`` before it creates a resource of a kind."""
    make = kind.create_from_cloudformation_json.__func__

    def create(
        cls: type, name: str, body: Json, account_id: str, region_name: str, **given: Any
    ) -> Any:
        check(body["Properties"], account_id, region_name)
        return make(cls, name, body, account_id, region_name, **given)

    kind.create_from_cloudformation_json = classmethod(create)


def dependencies_first(resources: Json) -> list[str]:
    """Return the names of resources, those with DependsOn last."""
    return sorted(resources, key=lambda name: "DependsOn" in resources[name])


def service_of(stack: Stack) -> Any:
    """Return the service of a stack, or None."""
    return stack.resource_map._parsed_resources.get("Service")


def revision_of(stack: Stack) -> Any:
    """Return the task definition of a stack."""
    return stack.resource_map._parsed_resources["TaskDefinition"]


def run_revision(stack: Stack, service: Any) -> None:
    """Make a service run the stack's task definition."""
    backend = ecs_backends[stack.account_id][stack.region_name]
    wanted = {"cluster": service.cluster_name, "service": service.name}
    backend.update_service({**wanted, "task_definition": revision_of(stack).arn})


def register(properties: Json, backend: Any) -> Any:
    """Register a task definition with all its properties; moto uses only four of them."""
    given = remap_nested_keys(properties, pascal_to_camelcase)
    definition = backend.register_task_definition(
        family=given["family"],
        container_definitions=given["containerDefinitions"],
        network_mode=given["networkMode"],
        requires_compatibilities=given["requiresCompatibilities"],
        cpu=given["cpu"],
        memory=given["memory"],
        task_role_arn=given["taskRoleArn"],
        execution_role_arn=given["executionRoleArn"],
        runtime_platform=given["runtimePlatform"],
    )
    definition.properties = properties
    return definition


def renew(definition: Any, properties: Json, backend: Any) -> Any:
    """Register a new task definition if the properties have changed."""
    return definition if definition.properties == properties else register(properties, backend)


def create_service(properties: Json, backend: Any) -> Any:
    """Create a service from the properties that affect its tasks."""
    given = remap_nested_keys(properties, pascal_to_camelcase)
    service = backend.create_service(
        given["cluster"],
        given["serviceName"],
        desired_count=1,
        task_definition_str=given["taskDefinition"],
        load_balancers=given["loadBalancers"],
        launch_type="FARGATE",
        network_configuration=given["networkConfiguration"],
    )
    service.deployment_configuration = given["deploymentConfiguration"]
    service.enable_execute_command = given["enableExecuteCommand"] == "true"
    return service


def update_service(service: Any, properties: Json, backend: Any) -> Any:
    """Make a service run the revision named in its properties."""
    given = remap_nested_keys(properties, pascal_to_camelcase)
    service.deployment_configuration = given["deploymentConfiguration"]
    service.enable_execute_command = properties["EnableExecuteCommand"] == "true"
    if service.task_definition != properties["TaskDefinition"]:
        wanted = {"cluster": service.cluster_name, "service": service.name}
        backend.update_service({**wanted, "task_definition": properties["TaskDefinition"]})
    return service


def let_stacks_make(kind: Any, create: Any, update: Any, delete: Any) -> None:
    """Make CloudFormation create, update and delete resources of a kind with these functions."""

    def create_from_json(
        cls: type,
        resource_name: str,
        cloudformation_json: Json,
        account_id: str,
        region_name: str,
        **_: Any,
    ) -> Any:
        return create(cloudformation_json["Properties"], ecs_backends[account_id][region_name])

    def update_from_json(
        cls: type,
        original_resource: Any,
        new_resource_name: str,
        cloudformation_json: Json,
        account_id: str,
        region_name: str,
    ) -> Any:
        backend = ecs_backends[account_id][region_name]
        return update(original_resource, cloudformation_json["Properties"], backend)

    kind.create_from_cloudformation_json = classmethod(create_from_json)
    kind.update_from_cloudformation_json = classmethod(update_from_json)
    kind.delete = lambda self, account, region: delete(self, ecs_backends[account][region])


def install(scheduler: Any) -> None:
    """Make moto's CloudFormation behave like the real one."""
    changes = Changes(scheduler)
    create_change_set = CloudFormationBackend.create_change_set
    describe = CloudFormationBackend.describe_stack_events

    def create(self: CloudFormationBackend, **given: Any) -> Any:
        parameters = {
            name: ",".join(value) if isinstance(value, list) else str(value)
            for name, value in given["parameters"].items()
        }
        template = Stack.parse_template(given["template"])
        for fault in find_faults(template, parameters):
            raise ValidationError(message=fault)
        slots = template["Parameters"].items()
        parameters = {
            name: str(slot["Default"]) for name, slot in slots if "Default" in slot
        } | parameters
        for identifier, stack in list(self.stacks.items()):
            if stack.name == given["stack_name"] and stack.status == "REVIEW_IN_PROGRESS":
                del self.stacks[identifier]
        made = create_change_set(self, **{**given, "parameters": parameters})
        change_set: Any = self.describe_change_set(made[0])
        if change_set.change_set_type == "UPDATE":
            seen = {change.logical_resource_id for change in change_set.changes}
            for name in touched(template, change_set.stack.parameters, parameters) - seen:
                kind = template["Resources"][name]["Type"]
                change_set.changes.append(Change("Modify", name, kind))
        return made

    def execute(
        self: CloudFormationBackend, change_set_name: str, stack_name: str | None = None
    ) -> None:
        changes.execute(self, change_set_name)

    def clean_json(value: Any, resources: Any) -> Any:
        if isinstance(value, dict) and "Fn::Cidr" in value:
            block, count, bits = clean_json(value["Fn::Cidr"], resources)
            subnets = ipaddress.ip_network(block).subnets(new_prefix=32 - int(bits))
            return [str(subnet) for subnet in itertools.islice(subnets, int(count))]
        cleaned = clean(value, resources)
        if isinstance(cleaned, list):
            return [item for item in cleaned if item is not None]
        return cleaned

    def parameter_list(self: Stack) -> list[Json]:
        resolved = self.resource_map.resolved_parameters
        return [
            {
                "ParameterKey": name,
                "ParameterValue": ",".join(value) if isinstance(value, list) else str(value),
            }
            for name, value in resolved.items()
        ]

    def describe_stack_events(self: CloudFormationBackend, *given: str) -> list[Event]:
        events = describe(self, *given)
        changes.events_seen[self.get_stack(*given).stack_id].append(len(events))
        return events

    # Use the C parser: each change parses the template a dozen times.
    yaml.CLoader.add_multi_constructor("", yaml_tag_constructor)
    yaml.Loader = yaml.CLoader
    clean = parsing.clean_json
    parsing.clean_json = clean_json
    Stack.parameter_list = property(parameter_list)
    responses.CloudFormationResponse._validate_different_update = lambda *_: None
    CloudFormationBackend.create_change_set = create
    CloudFormationBackend.execute_change_set = execute
    CloudFormationBackend.describe_stack_events = describe_stack_events

    let_stacks_make(
        TaskDefinition,
        register,
        renew,
        lambda definition, backend: backend.deregister_task_definition(definition.arn),
    )
    let_stacks_make(
        Service,
        create_service,
        update_service,
        lambda service, backend: backend.delete_service(
            service.cluster_name, service.name, force=True
        ),
    )
    Cluster.delete = lambda cluster, account, region: ecs_backends[account][region].delete_cluster(
        cluster.name
    )
    FakeTargetGroup.delete = lambda group, account, region: elbv2_backends[account][
        region
    ].delete_target_group(group.arn)
    FakeTargetGroup.has_cfn_attr = lambda self, name: name == "TargetGroupFullName"
    FakeTargetGroup.get_cfn_attribute = lambda self, _: self.arn.rpartition(":")[2]
    ManagedPolicy.delete = lambda policy, account, region: policy.backend.delete_policy(policy.arn)
    check_before(FakeLoadBalancer, require_gateway)
    check_before(Cluster, require_service_linked_role)
    delete_balancer = FakeLoadBalancer.delete
    delete_stack = CloudFormationBackend.delete_stack

    def delete_unless_protected(self: FakeLoadBalancer, account: str, region: str) -> None:
        if is_protected(self):
            raise PermissionError("OperationNotPermitted")
        delete_balancer(self, account, region)

    def delete_or_fail(self: CloudFormationBackend, name_or_stack_id: str) -> None:
        stack = self.stacks.get(name_or_stack_id)
        try:
            delete_stack(self, name_or_stack_id)
        except Exception as error:
            if stack is None:
                raise
            self.stacks[stack.stack_id] = stack
            tell(stack, "DELETE_FAILED", protection_of(stack, error), "LoadBalancer")
            tell(stack, "DELETE_FAILED")

    FakeLoadBalancer.delete = delete_unless_protected
    CloudFormationBackend.delete_stack = delete_or_fail
    attribute = FakeLoadBalancer.get_cfn_attribute
    parse_output = parsing.parse_output
    # Maps the address of each load balancer to that of its test listener.
    test_addresses: dict[str, str] = {}

    def parse_output_with_ports(name: str, output: Json, resources: Any) -> Any:
        parsed = parse_output(name, output, resources)
        # The address already includes a free port.
        if parsed and (found := re.fullmatch(r"http://(127\.0\.0\.1:\d+):8080", parsed.value)):
            parsed.value = f"http://{test_addresses[found[1]]}"
        return parsed

    parsing.parse_output = parse_output_with_ports

    def get_cfn_attribute(self: Any, name: str) -> Any:
        if name == "DNSName":
            if not hasattr(self, "balancer"):
                self.balancer = Balancer(scheduler, partial(behind, self.arn))
                self.address = self.balancer.listen()
                test_addresses[self.address] = self.balancer.listen(is_test=True)
            return self.address
        return attribute(self, name)

    FakeLoadBalancer.get_cfn_attribute = get_cfn_attribute
