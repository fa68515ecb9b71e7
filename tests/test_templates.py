"""The CloudFormation templates: the effect of each parameter, permissions, and network access."""

import contextlib
import fnmatch
import importlib.util
import ipaddress
import itertools
import json
import re
import sys
from functools import cache

import pytest
from conftest import ROOT, BakedProject, bake_with, load_yaml

PORT = 5000
SLUG = "ml-inference-service"
MADE_ELSEWHERE = {"ImageTag": "abc"}


NOTHING = object()
# Hundreds of templates are built from two texts.
parsed = cache(load_yaml)


class Template:
    """A template with its parameters substituted; names and attributes of resources appear as ``<Name>``."""

    def __init__(self, text, **parameters):
        self.text = text
        self.raw = parsed(text)
        slots = self.raw["Parameters"]
        assert not parameters.keys() - slots.keys()
        self.values = {name: slot.get("Default") for name, slot in slots.items()} | parameters
        self.values |= {
            "AWS::AccountId": "123456789012",
            "AWS::NoValue": NOTHING,
            "AWS::Partition": "aws",
            "AWS::Region": "eu-west-1",
            "AWS::StackName": f"{SLUG}-staging",
        }
        self.resources = {
            name: self.resolve(resource.get("Properties", {}))
            for name, resource in self.raw["Resources"].items()
            if "Condition" not in resource or self.holds({"Condition": resource["Condition"]})
        }

    def holds(self, condition):
        ((function, operands),) = condition.items()
        if function == "Condition":
            return self.holds(self.raw["Conditions"][operands])
        if function == "Fn::Not":
            return not self.holds(operands[0])
        if function == "Fn::And":
            return all(map(self.holds, operands))
        if function == "Fn::Or":
            return any(map(self.holds, operands))
        left, right = (self.resolve(operand) for operand in operands)
        if function == "Fn::Contains":
            return str(right) in map(str, left)
        assert function == "Fn::Equals"
        return str(left) == str(right)

    def resolve(self, value):
        if isinstance(value, list):
            return [item for item in map(self.resolve, value) if item is not NOTHING]
        if not isinstance(value, dict):
            return value
        if len(value) == 1:
            ((function, operand),) = value.items()
            if function == "Ref":
                return self.values.get(operand, f"<{operand}>")
            if function == "Fn::GetAtt":
                return f"<{'.'.join(operand)}>"
            if function == "Fn::If":
                condition, then, otherwise = operand
                return self.resolve(then if self.holds({"Condition": condition}) else otherwise)
            if function == "Fn::Sub":
                text, names = operand if isinstance(operand, list) else (operand, {})
                names = {name: self.resolve(item) for name, item in names.items()}
                known = self.values | names
                return re.sub(r"\$\{([\w.:]+)\}", lambda m: str(known.get(m[1], f"<{m[1]}>")), text)
            if function == "Fn::FindInMap":
                name, *keys = map(self.resolve, operand)
                return self.raw["Mappings"][name][keys[0]][keys[1]]
            if function == "Fn::Split":
                return self.resolve(operand[1]).split(operand[0])
            if function == "Fn::Join":
                return operand[0].join(self.resolve(operand[1]))
            if function == "Fn::Cidr":
                block, count, bits = self.resolve(operand)
                subnets = ipaddress.ip_network(block).subnets(new_prefix=32 - bits)
                return [str(subnet) for subnet in itertools.islice(subnets, count)]
            if function == "Fn::Select":
                chosen = self.resolve(operand[1])
                return chosen[operand[0]] if isinstance(chosen, list) else f"<zone {operand[0]}>"
            if function.startswith("Fn::"):
                return f"<{function}>"
        resolved = {key: self.resolve(item) for key, item in value.items()}
        return {key: item for key, item in resolved.items() if item is not NOTHING}

    def output(self, name):
        return self.resolve(self.raw["Outputs"][name]["Value"])

    def broken_rules(self):
        """Return what the rules report about the parameters."""
        return [
            assertion["AssertDescription"]
            for rule in self.raw.get("Rules", {}).values()
            if self.holds(rule["RuleCondition"])
            for assertion in rule["Assertions"]
            if not self.holds(assertion["Assert"])
        ]


@pytest.fixture(scope="module")
def generated(cookies_session):
    answers = {"deploy_tool": "cloudformation", "aws_region": "eu-west-1"}
    return BakedProject(bake_with(cookies_session, answers).project_path)


@pytest.fixture(scope="module")
def service(generated):
    text = generated.read("deploy/service.yml")
    return lambda **parameters: Template(text, **MADE_ELSEWHERE, **parameters)


@pytest.fixture(scope="module")
def bootstrap(generated):
    text = generated.read("deploy/bootstrap.yml")
    return lambda **parameters: Template(text, **parameters)


def look(template, path):
    """Return the value at ``Resource.Property.0.Property``, or None if there is none."""
    value = template.resources
    for step in path.split("."):
        if isinstance(value, list):
            value = value[int(step)] if int(step) < len(value) else None
        else:
            value = (value or {}).get(step)
    return value


CERTIFICATE = "arn:aws:acm:eu-west-1:123456789012:certificate/0a1b"
SECURE = {"CertificateArn": CERTIFICATE, "DomainName": "model.example.com"}
IN_PARAMETER_STORE = "arn:aws:ssm:eu-west-1:123456789012:parameter/key"
IN_SECRETS_MANAGER = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:key-AbCdEf"
SIGN_IN = {
    "OidcIssuer": "https://id.example.com",
    "OidcAuthorizationEndpoint": "https://id.example.com/authorize",
    "OidcTokenEndpoint": "https://id.example.com/token",
    "OidcUserInfoEndpoint": "https://id.example.com/userinfo",
    "OidcClientId": "service",
    "OidcSecretArn": "arn:aws:secretsmanager:eu-west-1:123456789012:secret:client-AbCdEf",
}
BOUNDARY = "arn:aws:iam::123456789012:policy/boundary"
TOPIC = "arn:aws:sns:eu-west-1:123456789012:alarms"
CONTAINER = "TaskDefinition.ContainerDefinitions.0"

# A parameter, with others that it needs; the property that it changes; the new value and the default.
SCHEDULED = {
    "BatchSchedule": "cron(0 3 * * ? *)",
    "BatchInput": "s3://data/rows.csv",
    "BatchOutput": "s3://data/scores-<aws.scheduler.scheduled-time>.csv",
}
CHANGES = [
    ({"ImageRepository": "mirror/x"}, f"{CONTAINER}.Image", "mirror/x:abc", ...),
    ({"ModelMetrics": "r2=1"}, f"{CONTAINER}.DockerLabels", {"ml.metrics": "r2=1"}, ...),
    ({"ClusterName": "c"}, "Cluster.ClusterName", "c", SLUG),
    ({"Cpu": "2048"}, "TaskDefinition.Cpu", "2048", "256"),
    ({"Cpu": "2048"}, f"{CONTAINER}.Environment.0.Value", "2", "1"),
    ({"Memory": "1024"}, "TaskDefinition.Memory", "1024", "512"),
    (
        {"Architecture": "ARM64"},
        "TaskDefinition.RuntimePlatform.CpuArchitecture",
        "ARM64",
        "X86_64",
    ),
    ({"MinTasks": 3}, "ScalableTarget.MinCapacity", 3, 1),
    ({"MaxTasks": 9}, "ScalableTarget.MaxCapacity", 9, 4),
    ({"SpotWeight": 3}, "Service.CapacityProviderStrategy.1.Weight", 3, 0),
    (
        {"TargetCpuPercent": 30},
        "ScaleOnCpu.TargetTrackingScalingPolicyConfiguration.TargetValue",
        30,
        60,
    ),
    (
        {"TargetRequestsPerMinute": 99},
        "ScaleOnRequests.TargetTrackingScalingPolicyConfiguration.TargetValue",
        99,
        30000,
    ),
    ({"VpcId": "vpc-1", "SubnetIds": ["a", "b"]}, "LoadBalancer.Subnets", ["a", "b"], ...),
    ({"Zone1": "a", "Zone2": "b"}, "Subnet1.AvailabilityZone", "a", "<zone 0>"),
    ({"Zone1": "a", "Zone2": "b"}, "Subnet2.AvailabilityZone", "b", "<zone 1>"),
    ({"VpcId": "vpc-1", "SubnetIds": ["a", "b"]}, "TargetGroup.VpcId", "vpc-1", "<Vpc>"),
    ({"VpcId": "vpc-1", "SubnetIds": ["a", "b"]}, "Vpc", None, ...),
    (
        {"AllowedCidr": "10.0.0.0/8"},
        "LoadBalancerSecurityGroup.SecurityGroupIngress.0.CidrIp",
        "10.0.0.0/8",
        "0.0.0.0/0",
    ),
    (SECURE, "HttpsListener.Certificates.0.CertificateArn", CERTIFICATE, None),
    (SECURE, "HttpListener.DefaultActions.0.Type", "redirect", "fixed-response"),
    (SECURE, "ListenerRule.ListenerArn", "<HttpsListener>", "<HttpListener>"),
    (SECURE, "LoadBalancerSecurityGroup.SecurityGroupIngress.1.FromPort", 443, None),
    (SECURE, "DomainRecord", None, None),
    ({**SECURE, "HostedZoneId": "Z1"}, "DomainRecord.Name", "model.example.com", None),
    (
        {"DeletionProtection": "true"},
        "LoadBalancer.LoadBalancerAttributes.0.Value",
        "true",
        "false",
    ),
    (
        {"DeploymentStrategy": "BLUE_GREEN"},
        "Service.DeploymentConfiguration.Strategy",
        "BLUE_GREEN",
        "ROLLING",
    ),
    (
        {"DeploymentStrategy": "BLUE_GREEN"},
        "Service.LoadBalancers.0.AdvancedConfiguration.ProductionListenerRule",
        "<ListenerRule>",
        None,
    ),
    (
        {"DeploymentStrategy": "BLUE_GREEN"},
        "ListenerRule.Actions.0.ForwardConfig.TargetGroups.1.Weight",
        0,
        None,
    ),
    (
        {"DeploymentStrategy": "CANARY", "StepPercent": 7},
        "Service.DeploymentConfiguration.CanaryConfiguration.CanaryPercent",
        7,
        None,
    ),
    (
        {"DeploymentStrategy": "LINEAR", "StepMinutes": 9},
        "Service.DeploymentConfiguration.LinearConfiguration.StepBakeTimeInMinutes",
        9,
        None,
    ),
    (
        {"DeploymentStrategy": "BLUE_GREEN", "BakeMinutes": 7},
        "Service.DeploymentConfiguration.BakeTimeInMinutes",
        7,
        None,
    ),
    (
        {"LiveTargetGroup": "ALTERNATE"},
        "Service.LoadBalancers.0.TargetGroupArn",
        "<AlternateTargetGroup>",
        "<TargetGroup>",
    ),
    ({"ErrorPercent": 1}, "ErrorAlarm.Threshold", 1, 5),
    (SCHEDULED, "Batch.ScheduleExpression", "cron(0 3 * * ? *)", None),
    (SCHEDULED, "Batch.ScheduleExpressionTimezone", "UTC", None),
    ({"DriftThreshold": 0.5}, "DriftAlarm.Threshold", 0.5, 0.2),
    ({"DriftThreshold": 0.5}, f"{CONTAINER}.Environment.3.Value", "0.5", "0.2"),
    ({"PermissionsBoundaryArn": BOUNDARY}, "TaskRole.PermissionsBoundary", BOUNDARY, None),
    (
        {"RollbackOnErrors": "false"},
        "Service.DeploymentConfiguration.Alarms.Rollback",
        "false",
        "true",
    ),
    ({"Exec": "true"}, "Service.EnableExecuteCommand", "true", "false"),
    ({"Exec": "true"}, f"{CONTAINER}.ReadonlyRootFilesystem", False, True),
    ({"Exec": "true"}, "TaskRole.Policies.0.PolicyName", "exec", None),
    (
        {"ApiKeyArn": IN_PARAMETER_STORE},
        f"{CONTAINER}.Secrets.0",
        {"Name": "API_KEY", "ValueFrom": IN_PARAMETER_STORE},
        None,
    ),
    (
        {"ApiKeyArn": IN_PARAMETER_STORE},
        "ExecutionRole.Policies.1.PolicyDocument.Statement.0.Action",
        "ssm:GetParameters",
        None,
    ),
    (
        {"ApiKeyArn": IN_SECRETS_MANAGER},
        "ExecutionRole.Policies.1.PolicyDocument.Statement.0.Action",
        "secretsmanager:GetSecretValue",
        None,
    ),
    ({"LogDays": 7}, "LogGroup.RetentionInDays", 7, 30),
    ({"VpcCidr": "10.7.0.0/16"}, "Vpc.CidrBlock", "10.7.0.0/16", "10.0.0.0/16"),
    ({"Network": "NAT"}, "RouteToNat.NatGatewayId", "<NatGateway>", None),
    ({"Network": "ENDPOINTS"}, "EcrApiEndpoint.VpcEndpointType", "Interface", None),
    ({"InternalLoadBalancer": "true"}, "LoadBalancer.Scheme", "internal", "internet-facing"),
    (
        {"VpcId": "vpc-1", "SubnetIds": ["a", "b"], "TaskSubnetIds": ["c", "d"]},
        "Service.NetworkConfiguration.AwsvpcConfiguration.Subnets",
        ["c", "d"],
        ...,
    ),
    (
        {**SECURE, **SIGN_IN},
        "ListenerRule.Actions.0.AuthenticateOidcConfig",
        {
            "Issuer": "https://id.example.com",
            "AuthorizationEndpoint": "https://id.example.com/authorize",
            "TokenEndpoint": "https://id.example.com/token",
            "UserInfoEndpoint": "https://id.example.com/userinfo",
            "ClientId": "service",
            "ClientSecret": f"{{{{resolve:secretsmanager:{SIGN_IN['OidcSecretArn']}}}}}",
            "Scope": "openid",
        },
        None,
    ),
    ({"WebAclArn": "arn:web-acl"}, "WebAcl.WebACLArn", "arn:web-acl", None),
    (
        {"AccessLogsBucket": "logs"},
        "LoadBalancer.LoadBalancerAttributes.4",
        {"Key": "access_logs.s3.bucket", "Value": "logs"},
        None,
    ),
    (
        {"DeploymentStrategy": "LINEAR", "TestBeforeTraffic": "true"},
        "Service.DeploymentConfiguration.LifecycleHooks.0.LifecycleStages",
        ["POST_TEST_TRAFFIC_SHIFT"],
        None,
    ),
    ({"OfficeHours": "true"}, "ScalableTarget.ScheduledActions.0.Timezone", "UTC", None),
    (
        {"OfficeHours": "true", "OfficeOpens": "9", "OfficeDays": "MON-SAT"},
        "ScalableTarget.ScheduledActions.0.Schedule",
        "cron(0 9 ? * MON-SAT *)",
        None,
    ),
    (
        {"OfficeHours": "true", "OfficeCloses": "17", "TimeZone": "Europe/Berlin"},
        "ScalableTarget.ScheduledActions.1",
        {
            "ScheduledActionName": "close",
            "Schedule": "cron(0 17 ? * * *)",
            "Timezone": "Europe/Berlin",
            "ScalableTargetAction": {"MinCapacity": 0, "MaxCapacity": 0},
        },
        None,
    ),
    (
        {"OfficeHours": "true", "TasksOutside": 2},
        "ScalableTarget.ScheduledActions.1.ScalableTargetAction.MinCapacity",
        2,
        None,
    ),
    ({"ContainerInsights": "enhanced"}, "Cluster.ClusterSettings.0.Value", "enhanced", "disabled"),
    ({"AlarmTopicArn": TOPIC}, "ErrorAlarm.AlarmActions", [TOPIC], None),
    ({"AlarmTopicArn": TOPIC}, "LatencyAlarm.AlarmActions", [TOPIC], None),
    ({"AlarmTopicArn": TOPIC}, "UnhealthyAlarm.AlarmActions", [TOPIC], None),
    ({"AlarmTopicArn": TOPIC}, "OutageAlarm.AlarmActions", [TOPIC], None),
    ({"AlarmTopicArn": TOPIC}, "LoadBalancerAlarm.AlarmActions", [TOPIC], None),
    ({"AlarmTopicArn": TOPIC}, "FailedBatch", None, None),
    ({**SCHEDULED, "AlarmTopicArn": TOPIC}, "FailedBatch.Targets.0.Arn", TOPIC, None),
    ({"LatencySeconds": 0.2}, "LatencyAlarm.Threshold", 0.2, 1),
]


@pytest.mark.parametrize(("parameters", "path", "changed", "default"), CHANGES)
def test_parameter_changes_its_property(service, parameters, path, changed, default):
    assert look(service(**parameters), path) == changed
    if default is not ...:
        assert look(service(), path) == default


def test_scheduled_task_gets_the_arguments_of_batch(service):
    (target,) = [service(**SCHEDULED).resources["Batch"]["Target"]]
    (override,) = json.loads(target["Input"])["containerOverrides"]
    # With the WORKERS of the task definition.
    assert override.keys() == {"name", "command"}
    assert override["command"] == ["batch", SCHEDULED["BatchInput"], SCHEDULED["BatchOutput"]]
    (container,) = service().resources["TaskDefinition"]["ContainerDefinitions"]
    assert override["name"] == container["Name"]
    # The family's latest revision, so that a release does not change the schedule.
    assert target["EcsParameters"]["TaskDefinitionArn"].endswith(f"/{container['Name']}-staging")
    for name in ("BatchInput", "BatchOutput"):
        assert service(**SCHEDULED | {name: ""}).broken_rules()


def test_every_parameter_is_tested_and_described(service):
    tested = {name for parameters, *_ in CHANGES for name in parameters} | MADE_ELSEWHERE.keys()
    assert tested == service().raw["Parameters"].keys()


def test_address_is_that_of_the_load_balancer_or_the_domain(service):
    assert service().output("Url") == "http://<LoadBalancer.DNSName>"
    assert service(**SECURE).output("Url") == "https://model.example.com"


def test_environments_only_set_existing_parameters(generated, service, bootstrap):
    for name, template in (("staging", service), ("production", service), ("bootstrap", bootstrap)):
        parameters = json.loads(generated.read(f"deploy/{name}.json"))["Parameters"]
        assert parameters.keys() <= template().raw["Parameters"].keys()
        assert not template(**parameters).broken_rules() if name != "bootstrap" else True


def test_only_the_load_balancer_reaches_the_tasks(service):
    template = service(**SECURE)
    tasks, balancer = (
        template.resources[f"{name}SecurityGroup"] for name in ("Task", "LoadBalancer")
    )
    assert "SecurityGroupIngress" not in tasks
    ingress = [
        resource
        for name, resource in template.resources.items()
        if template.raw["Resources"][name]["Type"] == "AWS::EC2::SecurityGroupIngress"
    ]
    (rule,) = ingress
    assert rule["GroupId"] == "<TaskSecurityGroup>"
    assert rule["SourceSecurityGroupId"] == "<LoadBalancerSecurityGroup>"
    assert "CidrIp" not in rule
    assert (rule["FromPort"], rule["ToPort"], rule["IpProtocol"]) == (PORT, PORT, "tcp")
    assert {rule["FromPort"] for rule in balancer["SecurityGroupIngress"]} == {80, 443}
    assert {rule["CidrIp"] for rule in balancer["SecurityGroupIngress"]} == {"0.0.0.0/0"}
    assert [rule["DestinationSecurityGroupId"] for rule in balancer["SecurityGroupEgress"]] == [
        "<TaskSecurityGroup>"
    ]
    assert [rule["ToPort"] for rule in tasks["SecurityGroupEgress"]] == [443]


def test_release_is_monitored_and_rolled_back(service):
    deployment = look(service(), "Service.DeploymentConfiguration")
    assert deployment["DeploymentCircuitBreaker"] == {"Enable": True, "Rollback": True}
    assert deployment["Alarms"]["AlarmNames"] == ["<ErrorAlarm>"]
    assert deployment["MinimumHealthyPercent"] == 100
    assert look(service(), "Service.DesiredCount") is None
    # A model may take minutes to load.
    assert look(service(), "Service.HealthCheckGracePeriodSeconds") == 300
    group = look(service(), "TargetGroup")
    attributes = {item["Key"]: item["Value"] for item in group["TargetGroupAttributes"]}
    assert group["HealthCheckPath"] == "/v2/health/ready"
    delay = int(attributes["deregistration_delay.timeout_seconds"])
    assert delay < look(service(), f"{CONTAINER}.StopTimeout")


def test_service_keeps_connections_longer_than_the_load_balancer(generated, service):
    attributes = look(service(), "LoadBalancer.LoadBalancerAttributes")
    idle = {item["Key"]: item["Value"] for item in attributes}["idle_timeout.timeout_seconds"]
    settings = generated.read("inference/config.py")
    (keep_alive,) = re.findall(r"^    keep_alive_seconds: .+ = (\d+)$", settings, re.MULTILINE)
    assert int(keep_alive) > int(idle)


def test_unread_log_blocks_no_response(service):
    options = look(service(), f"{CONTAINER}.LogConfiguration.Options")
    assert (options["mode"], options["max-buffer-size"]) == ("non-blocking", "25m")


def test_container_has_minimal_rights(service):
    container = look(service(), CONTAINER)
    assert container["User"] == "10001"
    assert container["ReadonlyRootFilesystem"] is True
    assert container["LinuxParameters"]["Capabilities"] == {"Drop": ["ALL"]}
    assert container["LinuxParameters"]["InitProcessEnabled"] is True


def module_in(path):
    """Import a file."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def fargate():
    """The sizes that the hooks accept."""
    return module_in(ROOT / "hooks" / "pre_gen_project.py").FARGATE_MEMORY


def test_rules_accept_exactly_the_sizes_that_fargate_sells(generated):
    text = generated.read("deploy/service.yml")
    template = Template(text, **MADE_ELSEWHERE)
    sizes = fargate()
    assert template.raw["Parameters"]["Cpu"]["AllowedValues"] == list(map(str, sizes))
    every = [*sorted(set().union(*sizes.values())), 513, 3000]
    for cpu, fitting in sizes.items():
        for memory in every:
            template.values |= {"Cpu": str(cpu), "Memory": str(memory)}
            (*broken,) = template.broken_rules()
            assert bool(broken) == (memory not in fitting), (cpu, memory)
            assert all(f"With Cpu {cpu} the Memory must be" in line for line in broken)


def test_certificate_needs_a_name_and_the_stacks_region(service):
    assert service(CertificateArn=CERTIFICATE).broken_rules() == [
        "CertificateArn needs DomainName, a name that the certificate holds"
    ]
    assert not service(**SECURE, ApiKeyArn=IN_PARAMETER_STORE).broken_rules()
    assert service(ApiKeyArn=IN_PARAMETER_STORE).broken_rules() == [
        "ApiKeyArn needs CertificateArn, or the key would travel in clear text"
    ]
    pattern = service().raw["Parameters"]["CertificateArn"]["AllowedPattern"]
    assert re.fullmatch(pattern, CERTIFICATE)
    assert re.fullmatch(pattern, "")
    assert not re.fullmatch(pattern, CERTIFICATE.replace("eu-west-1", "us-east-1"))


def statements(template):
    """Yield every statement of every policy with its location."""
    for name, resource in template.resources.items():
        for policy in resource.get("Policies", []):
            yield from ((name, one) for one in policy["PolicyDocument"]["Statement"])
        if "PolicyDocument" in resource:
            yield from ((name, one) for one in resource["PolicyDocument"]["Statement"])


def listed(value):
    return value if isinstance(value, list) else [value]


def test_no_statement_allows_more_than_it_should(service, bootstrap):
    found = [
        *statements(service(Exec="true", ApiKeyArn=IN_PARAMETER_STORE)),
        *statements(bootstrap()),
    ]
    assert len(found) > 10
    without_resource = {
        "ec2:DescribeAccountAttributes",
        "ec2:DescribeAddresses",
        "ec2:DescribeAvailabilityZones",
        "ec2:DescribeSubnets",
        "ecr:GetAuthorizationToken",
        "ecs:DeregisterTaskDefinition",
        "ecs:DescribeCapacityProviders",
        "ecs:DescribeTaskDefinition",
        "ecs:ListTaskDefinitions",
        "ecs:RegisterTaskDefinition",
        "elasticloadbalancing:DescribeLoadBalancers",
        "elasticloadbalancing:DescribeTargetGroups",
        "inspector2:ListCoverage",
        "inspector2:ListFindings",
        "logs:DescribeLogGroups",
        *(
            f"ssmmessages:{verb}{kind}Channel"
            for verb in ("Create", "Open")
            for kind in ("Control", "Data")
        ),
    }
    for name, statement in found:
        actions = set(listed(statement["Action"]))
        assert statement["Effect"] == "Allow"
        assert not any("*" in action for action in actions), name
        if statement["Resource"] == "*" and "Condition" not in statement:
            assert actions <= without_resource, name
        if "iam:PassRole" in actions:
            assert actions == {"iam:PassRole"}
            assert "iam:PassedToService" in statement["Condition"]["StringEquals"]


def test_pipeline_may_only_pass_the_roles_of_the_tasks(service, bootstrap):
    passed = {
        statement["Condition"]["StringEquals"]["iam:PassedToService"]: statement["Resource"]
        for _, statement in statements(bootstrap())
        if statement["Action"] == "iam:PassRole"
    }
    template = service(DeploymentStrategy="BLUE_GREEN")
    roles = {
        name: template.resources[name]["RoleName"]
        for name in template.resources
        if name.endswith("Role")
    }

    def arns(*names):
        return {
            f"arn:aws:iam::123456789012:role/{roles[name].replace('staging', environment)}"
            for name in names
            for environment in ("staging", "production")
        }

    assert set(passed["ecs-tasks.amazonaws.com"]) == arns("ExecutionRole", "TaskRole")
    assert set(passed["ecs.amazonaws.com"]) == arns("BlueGreenRole")


# How CloudFormation reads an attribute.
READS = {
    "AWS::EC2::EIP": "ec2:DescribeAddresses",
    "AWS::ECS::Cluster": "ecs:DescribeClusters",
    "AWS::ECS::Service": "ecs:DescribeServices",
    "AWS::ElasticLoadBalancingV2::LoadBalancer": "elasticloadbalancing:DescribeLoadBalancers",
    "AWS::ElasticLoadBalancingV2::TargetGroup": "elasticloadbalancing:DescribeTargetGroups",
    "AWS::IAM::Role": "iam:GetRole",
    "AWS::Logs::LogGroup": "logs:DescribeLogGroups",
}


def test_pipeline_may_read_every_attribute_of_the_template(generated, service, bootstrap):
    """Otherwise its releases fail as soon as a parameter adds such a resource: a schedule, or a NAT gateway."""
    text = generated.read("deploy/service.yml")
    names = set(re.findall(r"!GetAtt (\w+)\.", text)) | set(re.findall(r"\$\{(\w+)\.\w", text))
    allowed = {}
    for _, statement in statements(bootstrap()):
        for action in listed(statement["Action"]):
            allowed.setdefault(action, []).extend(listed(statement["Resource"]))
    template = service(DeploymentStrategy="BLUE_GREEN", BatchSchedule="rate(1 day)")
    for name in names:
        kind = template.raw["Resources"][name]["Type"]
        assert READS[kind] in allowed, name
        if kind == "AWS::IAM::Role":
            role = f"role/{template.resources[name]['RoleName']}"
            for environment in ("staging", "production"):
                arn = f"arn:aws:iam::123456789012:{role.replace('staging', environment)}"
                assert arn in allowed["iam:GetRole"], name


def test_roles_trust_only_whom_they_must(service, bootstrap):
    for name in ("ExecutionRole", "TaskRole"):
        (statement,) = look(service(), f"{name}.AssumeRolePolicyDocument.Statement")
        assert statement["Principal"] == {"Service": "ecs-tasks.amazonaws.com"}
        assert statement["Condition"]["StringEquals"] == {"aws:SourceAccount": "123456789012"}
    trust = json.loads(look(bootstrap(), "ReleaseRole.AssumeRolePolicyDocument"))
    (statement,) = trust["Statement"]
    assert statement["Principal"] == {"Federated": "<OidcProvider>"}
    assert statement["Condition"] == {
        "StringEquals": {
            "gitlab.com:aud": "https://gitlab.com",
            "gitlab.com:sub": f"project_path:group/{SLUG}:ref_type:branch:ref:main",
        }
    }
    own = {
        "GitLabHost": "git.example.com",
        "GitLabProject": "a/b/c",
        "Branch": "stable",
        "OidcProviderArn": "arn:aws:iam::123456789012:oidc-provider/git.example.com",
    }
    template = bootstrap(**own)
    trust = json.loads(look(template, "ReleaseRole.AssumeRolePolicyDocument"))
    (statement,) = trust["Statement"]
    assert statement["Principal"]["Federated"] == own["OidcProviderArn"]
    assert statement["Condition"]["StringEquals"] == {
        "git.example.com:aud": "https://git.example.com",
        "git.example.com:sub": "project_path:a/b/c:ref_type:branch:ref:stable",
    }
    assert "OidcProvider" not in template.resources


def test_provider_that_another_project_may_use_is_not_deleted(generated):
    provider = load_yaml(generated.read("deploy/bootstrap.yml"))["Resources"]["OidcProvider"]
    assert provider["UpdateReplacePolicy"] == "Retain"
    # Only after a bootstrap that failed nobody uses it, and the next one creates it again.
    assert provider["DeletionPolicy"] == "RetainExceptOnCreate"


def test_access_keys_get_a_policy_and_no_role(bootstrap):
    template = bootstrap(Credentials="access-keys")
    assert template.resources.keys() == {"Repository", "Templates", "ReleasePolicy"}


def test_image_lifecycle(bootstrap):
    repository = look(bootstrap(), "Repository")
    assert repository["ImageTagMutability"] == "IMMUTABLE"
    assert repository["ImageScanningConfiguration"] == {"ScanOnPush": True}
    rules = json.loads(repository["LifecyclePolicy"]["LifecyclePolicyText"])["rules"]
    # No later rule expires an image that an earlier rule matches: images that an environment ran stay, however much
    # is pushed.
    assert [rule["selection"].get("tagPrefixList") for rule in rules] == [
        ["production-"],
        ["staging-"],
        None,
    ]
    assert [rule["rulePriority"] for rule in rules] == [1, 2, 3]
    assert {rule["selection"]["countNumber"] for rule in rules} == {200}


def test_templates_fit_the_size_limit_of_cloudformation(generated):
    # The template that creates the bucket is passed directly, without the bucket.
    assert len(generated.read("deploy/bootstrap.yml")) < 51_200
    assert len(generated.read("deploy/service.yml")) < 1_000_000


def test_longest_names_fit(cookies_session):
    answers = {"deploy_tool": "cloudformation", "project_slug": "a" * 31}
    project = BakedProject(bake_with(cookies_session, answers).project_path)
    text = project.read("deploy/service.yml")
    longest = f"{'a' * 31}-production"
    template = Template(text.replace("${AWS::StackName}", longest), **MADE_ELSEWHERE)
    names = [
        resource["RoleName"] for resource in template.resources.values() if "RoleName" in resource
    ]
    assert f"{longest}-execution" in names
    assert max(map(len, names)) <= 64


def references(value):
    """Yield the names that a piece of a template refers to."""
    if isinstance(value, list):
        for item in value:
            yield from references(item)
    elif isinstance(value, dict):
        for key, item in value.items():
            if key == "Ref":
                yield item
            elif key == "Fn::GetAtt":
                yield item[0]
            elif key == "Fn::Sub":
                text, names = item if isinstance(item, list) else (item, {})
                yield from re.findall(r"\$\{(\w+)", text)
                yield from references(names)
            elif key == "DependsOn":
                yield from listed(item)
            else:
                yield from references(item)


def made_before(template, name):
    """Return the resources that CloudFormation creates before one, and deletes after it."""
    resources = template.raw["Resources"]
    waiting, found = [name], set()
    while waiting:
        new = {each for each in references(resources[waiting.pop()]) if each in resources} - found
        found |= new
        waiting += new
    return found


def test_resources_that_need_the_internet_are_created_after_the_route(service):
    """CloudFormation creates unordered resources at the same time, and AWS then fails at random."""
    way = {"InternetGatewayAttachment", "RouteToInternet", "RouteOfSubnet1", "RouteOfSubnet2"}
    for name, resource in service().raw["Resources"].items():
        if "Subnets" in json.dumps(resource.get("Properties", {})):
            assert way <= made_before(service(), name), name
    balancer = made_before(service(), "LoadBalancer")
    assert way <= balancer
    assert way | {"ListenerRule", "TasksFromLoadBalancer", "ErrorAlarm"} <= made_before(
        service(), "Service"
    )
    # Otherwise, the alarm would fire before the first task runs.
    assert "Service" in made_before(service(), "OutageAlarm")


STRATEGIES = ("ROLLING", "BLUE_GREEN", "CANARY", "LINEAR")
NETWORKS = {
    "public": {},
    "nat": {"Network": "NAT"},
    "endpoints": {"Network": "ENDPOINTS"},
    "internal": {"InternalLoadBalancer": "true"},
    "internal-nat": {"InternalLoadBalancer": "true", "Network": "NAT"},
    "internal-endpoints": {"InternalLoadBalancer": "true", "Network": "ENDPOINTS"},
    "theirs": {"VpcId": "vpc-1", "SubnetIds": ["a", "b"]},
    "theirs-private": {"VpcId": "vpc-1", "SubnetIds": ["a", "b"], "TaskSubnetIds": ["c", "d"]},
}
KEYED = {"ApiKeyArn": IN_SECRETS_MANAGER, "Exec": "true"}


@pytest.mark.parametrize("secure", [{}, SECURE, {**SECURE, **KEYED}], ids=["http", "https", "key"])
@pytest.mark.parametrize(
    ("strategy", "tested"),
    [(strategy, "false") for strategy in STRATEGIES] + [(s, "true") for s in STRATEGIES[1:]],
)
@pytest.mark.parametrize("network", NETWORKS)
def test_every_combination_only_refers_to_its_resources(service, network, strategy, tested, secure):
    template = service(
        DeploymentStrategy=strategy, TestBeforeTraffic=tested, **NETWORKS[network], **secure
    )
    assert not template.broken_rules()
    outputs = [
        template.resolve(output["Value"])
        for output in template.raw["Outputs"].values()
        if "Condition" not in output or template.holds({"Condition": output["Condition"]})
    ]
    text = json.dumps([template.resources, outputs])
    named = {name for name in re.findall(r"<(\w+)[.>]", text) if name in template.raw["Resources"]}
    assert named <= template.resources.keys()


def routes_of(template, subnet):
    """Return the targets of a subnet's route table."""
    (table,) = (
        resource["RouteTableId"]
        for resource in template.resources.values()
        if resource.get("SubnetId") == subnet and "RouteTableId" in resource
    )
    return {
        resource.get("GatewayId") or resource["NatGatewayId"]
        for resource in template.resources.values()
        if resource.get("RouteTableId") == table and "DestinationCidrBlock" in resource
    }


@pytest.mark.parametrize("network", [name for name in NETWORKS if "theirs" not in name])
def test_tasks_reach_aws_and_clients_the_load_balancer(service, network):
    template = service(**NETWORKS[network], **SECURE, **KEYED)
    tasks = look(template, "Service.NetworkConfiguration.AwsvpcConfiguration")
    balancer = look(template, "LoadBalancer")
    ways = [routes_of(template, subnet) for subnet in tasks["Subnets"]]
    private = "nat" in network or "endpoints" in network
    assert tasks["AssignPublicIp"] == ("DISABLED" if private else "ENABLED")
    endpoints = [
        resource
        for name, resource in template.resources.items()
        if name.endswith("Endpoint") and resource["VpcEndpointType"] == "Interface"
    ]
    if "endpoints" in network:
        assert ways == [set(), set()]
        assert {item["ServiceName"].partition("eu-west-1.")[2] for item in endpoints} == {
            *("ecr.api", "ecr.dkr", "logs", "secretsmanager", "ssmmessages"),
        }
        for item in endpoints:
            assert item["SubnetIds"] == tasks["Subnets"]
            assert item["PrivateDnsEnabled"]
        (rule,) = look(template, "EndpointSecurityGroup.SecurityGroupIngress")
        assert rule["SourceSecurityGroupId"] == "<TaskSecurityGroup>"
    else:
        assert ways == [{"<NatGateway>" if private else "<InternetGateway>"}] * 2
        assert not endpoints
    if private:
        assert look(template, "S3Endpoint.RouteTableIds") == ["<PrivateRouteTable>"]
    for subnet in balancer["Subnets"]:
        has_way = routes_of(template, subnet) == {"<InternetGateway>"}
        assert has_way or network == "internal-endpoints"
    assert ("<Vpc>" in str(look(template, "InternetGatewayAttachment"))) == (
        network != "internal-endpoints"
    )
    if "nat" in network and "internal" not in network:
        assert routes_of(template, look(template, "NatGateway.SubnetId")) == {"<InternetGateway>"}


def test_network_of_earlier_versions_keeps_its_addresses(service):
    """Another range would replace the subnets, and with them everything inside."""
    assert look(service(), "Subnet1.CidrBlock") == "10.0.0.0/24"
    assert look(service(), "Subnet2.CidrBlock") == "10.0.1.0/24"


def test_tasks_are_tried_on_a_separate_port(service):
    for secure, port in (({}, 8080), (SECURE, 8443)):
        template = service(DeploymentStrategy="CANARY", TestBeforeTraffic="true", **secure)
        assert look(template, "TestListener.Port") == port
        ports = [
            rule["FromPort"]
            for rule in look(template, "LoadBalancerSecurityGroup.SecurityGroupIngress")
        ]
        assert port in ports
        assert template.output("TestUrl").endswith(f":{port}")
        advanced = look(template, "Service.LoadBalancers.0.AdvancedConfiguration")
        assert advanced["TestListenerRule"] == "<TestListenerRule>"
        (hook,) = look(template, "Service.DeploymentConfiguration.LifecycleHooks")
        assert hook["TargetType"] == "PAUSE"
        # If the caller of the release disappears, the release is rolled back.
        assert hook["TimeoutConfiguration"]["Action"] == "ROLLBACK"
    for parameters in ({}, {"DeploymentStrategy": "CANARY"}):
        assert look(service(**parameters), "TestListener") is None
        assert look(service(**parameters), "Service.DeploymentConfiguration.LifecycleHooks") is None


def test_users_sign_in_and_programs_pass_with_a_key(service):
    template = service(**SECURE, **SIGN_IN, ApiKeyArn=IN_SECRETS_MANAGER)
    assert not template.broken_rules()
    actions = look(template, "ListenerRule.Actions")
    assert [(action["Type"], action["Order"]) for action in actions] == [
        ("authenticate-oidc", 1),
        ("forward", 2),
    ]
    rules = [look(template, name) for name in ("KeyRule", "KeyRuleOfFigures")]
    patterns = []
    for rule in rules:
        header, path = rule["Conditions"]
        assert header["HttpHeaderConfig"] == {"HttpHeaderName": "X-API-Key", "Values": ["*"]}
        patterns += path["PathPatternConfig"]["Values"]
        # The most that the load balancer accepts.
        assert len(path["PathPatternConfig"]["Values"]) <= 3

    def pass_with_a_key(*paths):
        return {path for path in paths if any(fnmatch.fnmatch(path, one) for one in patterns)}

    needs_key = ("/predict", "/invocations", "/metrics", "/monitor.json", "/v2", "/v2/models/m")
    assert pass_with_a_key(*needs_key) == set(needs_key)
    assert not pass_with_a_key("/", "/docs", "/monitor", "/openapi.json", "/static/page.js")
    priorities = [look(template, "ListenerRule.Priority"), *(one["Priority"] for one in rules)]
    assert max(priorities) == priorities[0]
    # No order of updates gives two rules the same one.
    earlier = {look(service(), "ListenerRule.Priority"), 3}
    assert len({*priorities, *earlier}) == 5
    for name in ("KeyRule", "KeyRuleOfFigures"):
        assert look(service(**SECURE, **SIGN_IN), name) is None
    egress = look(template, "LoadBalancerSecurityGroup.SecurityGroupEgress")
    assert [rule["ToPort"] for rule in egress] == [PORT, 443]


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({**SIGN_IN}, "OidcIssuer needs CertificateArn"),
        *[({**SECURE, **SIGN_IN, name: ""}, f"needs {name}") for name in list(SIGN_IN)[1:]],
        (
            {**SECURE, **SIGN_IN, "DeploymentStrategy": "CANARY"},
            "OidcIssuer needs the DeploymentStrategy ROLLING",
        ),
        ({"TestBeforeTraffic": "true"}, "TestBeforeTraffic needs a DeploymentStrategy other than"),
        ({"VpcId": "vpc-1", "SubnetIds": ["a"], "Network": "NAT"}, "with VpcId, TaskSubnetIds are"),
    ],
)
def test_dependencies_between_parameters_are_reported(service, parameters, said):
    (told,) = service(**parameters).broken_rules()
    assert said in told


def hours_in(field):
    """Return the hours of a field of a cron expression."""
    if field == "*":
        return set(range(24))
    parts = (part.partition("-") for part in field.split(","))
    return {hour for first, _, last in parts for hour in range(int(first), int(last or first) + 1)}


@pytest.mark.parametrize("opens", range(1, 13))
@pytest.mark.parametrize("closes", range(13, 24))
def test_no_alarm_fires_outside_of_office_hours(service, opens, closes):
    template = service(OfficeHours="true", OfficeOpens=str(opens), OfficeCloses=str(closes))
    schedule = look(template, "MuteAtNight.Rule.Schedule")
    minute, hours, *days = schedule["Expression"].removeprefix("cron(").removesuffix(")").split()
    assert (minute, days) == ("0", ["*", "*", "*"])
    assert hours_in(hours) == set(range(24)) - set(range(opens, closes))
    assert "<OutageAlarm>" in look(template, "MuteAtNight.MuteTargets.AlarmNames")


@pytest.mark.parametrize(
    ("days", "free"), [("MON-FRI", "SAT,SUN"), ("MON-SAT", "SUN"), ("MON-SUN", None)]
)
def test_no_alarm_fires_on_free_days(service, days, free):
    schedule = look(service(OfficeHours="true", OfficeDays=days), "MuteOnFreeDays.Rule.Schedule")
    assert schedule is None if free is None else schedule["Expression"] == f"cron(0 * * * {free})"
    # If tasks run outside of office hours, an unanswered request is an outage at any time.
    assert look(service(OfficeHours="true", OfficeDays=days, TasksOutside=1), "MuteAtNight") is None


def test_dependencies_share_their_condition(service):
    """An unconditional resource cannot depend on a conditional one, except by Fn::If."""
    resources = service().raw["Resources"]
    for name, resource in resources.items():
        for other in listed(resource.get("DependsOn", [])):
            assert resources[other].get("Condition") in (None, resource.get("Condition")), name


@pytest.fixture
def tool(generated, monkeypatch):
    """deploy/stack.py, whose answers of AWS are in ``answers`` by verb, and the verbs that it asked."""
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    module = module_in(generated.path / "deploy" / "stack.py")
    monkeypatch.setenv("ENV", "production")
    module.answers, module.asked = {}, []

    def aws(_, verb, *arguments):
        module.asked.append(verb)
        return module.answers[verb]

    module.aws = aws
    return module


def test_half_deleted_stack_is_left_to_destroy(tool, capsys):
    tool.answers["describe-stack-events"] = {"StackEvents": []}
    tool.answers["describe-stacks"] = {"Stacks": [{"StackStatus": "DELETE_FAILED"}]}
    for use in (tool.Stack.settle, tool.Stack.standing):
        with pytest.raises(SystemExit):
            use(tool.Stack("x"))
        assert (
            "x is DELETE_FAILED: finish it with 'make destroy ENV=production'"
            in capsys.readouterr().err
        )


def test_running_image_is_read_after_other_runs(tool, monkeypatch):
    statuses = ["UPDATE_IN_PROGRESS", "UPDATE_ROLLBACK_COMPLETE"]
    monkeypatch.setattr(tool.Stack, "status", lambda _: statuses.pop(0))
    monkeypatch.setattr(tool.Stack, "follow", lambda stack: (stack.status(), []))
    tool.answers["describe-stack-events"] = {"StackEvents": []}
    running = [{"ParameterKey": "ImageTag", "ParameterValue": "running"}]
    described = {"StackStatus": "UPDATE_ROLLBACK_COMPLETE", "Parameters": running}
    tool.answers["describe-stacks"] = {"Stacks": [described]}
    assert tool.living(tool.Stack("x")) == {"ImageTag": "running"}
    assert not statuses
    assert tool.asked == ["describe-stack-events", "describe-stacks"]


def test_following_a_stack_reads_its_newest_events_only(tool, monkeypatch):
    given = []
    monkeypatch.setattr(tool, "aws", lambda *given_: given.extend(given_) or {"StackEvents": []})
    tool.Stack("x").events()
    # All events of 90 days, for each look, were throttled.
    assert given[-2:] == ["--max-items", "300"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, "AwsError"])
def test_change_that_is_no_longer_watched_goes_on(tool, monkeypatch, capsys, error):
    error = error if error is KeyboardInterrupt else tool.AwsError

    def aws(*_):
        raise error("expired")

    monkeypatch.setattr(tool, "aws", aws)
    monkeypatch.setenv("STACK", "x")
    monkeypatch.setattr(tool.Stack, "wait", tool.Stack.follow)
    with pytest.raises(SystemExit) as ended:
        tool.main("wait")
    assert ended.value.code == (130 if error is KeyboardInterrupt else 1)
    assert "goes on with x by itself; the next run waits for it" in capsys.readouterr().out


def test_run_that_another_one_was_ahead_of_says_so(tool, monkeypatch, capsys):
    def aws(_, verb, *__):
        tool.asked.append(verb)
        if verb == "execute-change-set":
            raise tool.AwsError("cannot be executed in its current status of [OBSOLETE]")
        return {"Status": "CREATE_COMPLETE"}

    monkeypatch.setattr(tool, "aws", aws)
    monkeypatch.setattr(tool.Stack, "settle", lambda _: True)
    with pytest.raises(SystemExit):
        tool.Stack("x").change([])
    assert "another run began to change x first: repeat the command" in capsys.readouterr().err
    assert tool.asked[-1] == "delete-change-set"


def test_rollback_that_fails_names_the_resource_to_skip(tool, monkeypatch, capsys):
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    event = {"LogicalResourceId": "Service", "ResourceType": "AWS::ECS::Service"}
    with pytest.raises(SystemExit):
        tool.explain("x", "UPDATE_ROLLBACK_FAILED", [event])
    said = capsys.readouterr().err
    assert "--region eu-west-1 --stack-name x --resources-to-skip Service'" in said


def test_stack_whose_load_balancer_is_gone_can_be_deleted(tool, monkeypatch):
    balancer = {"LogicalResourceId": "LoadBalancer", "PhysicalResourceId": "arn"}
    tool.answers |= {
        "describe-stack-events": {"StackEvents": []},
        "describe-stack-resources": {"StackResources": [{**balancer, "ResourceStatus": "x"}]},
        "delete-stack": {},
    }
    monkeypatch.setattr(tool.Stack, "follow", lambda _: ("", []))
    answer = tool.aws
    for code, is_deleted in (("LoadBalancerNotFound", True), ("AccessDenied", False)):
        tool.asked.clear()

        def aws(service, *arguments, code=code):
            if service == "elbv2":
                raise tool.AwsError(f"An error occurred ({code})")
            return answer(service, *arguments)

        monkeypatch.setattr(tool, "aws", aws)
        with contextlib.suppress(tool.AwsError):
            tool.Stack("x").delete()
        assert ("delete-stack" in tool.asked) == is_deleted


def test_identity_provider_is_looked_up_after_a_failed_bootstrap(tool, monkeypatch):
    arn = "arn:aws:iam::123456789012:oidc-provider/gitlab.com"
    empty = [{"ParameterKey": "OidcProviderArn", "ParameterValue": ""}]
    tool.answers["list-open-id-connect-providers"] = {"OpenIDConnectProviderList": [{"Arn": arn}]}
    monkeypatch.setenv("BOOTSTRAP_STACK", "x")
    monkeypatch.setenv("SERVICE", SLUG)
    given = []
    tool.Stack.change = lambda _, arguments: given.append(arguments)
    for status, is_used in (("ROLLBACK_COMPLETE", True), ("CREATE_COMPLETE", False)):
        tool.answers["describe-stacks"] = {"Stacks": [{"StackStatus": status, "Parameters": empty}]}
        tool.bootstrap()
        assert (arn in given[-1][-1]) == is_used, status


def test_live_target_group_is_found_behind_sign_in(tool):
    resources = {"ListenerRule": "rule", "AlternateTargetGroup": "b"}
    tool.answers["describe-stacks"] = {"Stacks": [{"StackStatus": "UPDATE_COMPLETE"}]}
    tool.answers["describe-stack-resources"] = {
        "StackResources": [
            {"LogicalResourceId": name, "PhysicalResourceId": arn, "ResourceStatus": "x"}
            for name, arn in resources.items()
        ]
    }
    groups = [{"TargetGroupArn": "a", "Weight": 0}, {"TargetGroupArn": "b", "Weight": 1}]
    forward = {"Type": "forward", "ForwardConfig": {"TargetGroups": groups}}
    actions = [{"Type": "authenticate-oidc"}, forward]
    tool.answers["describe-rules"] = {"Rules": [{"Actions": actions}]}
    stack = tool.Stack("x")
    assert tool.place(stack, stack.standing(), {}) == {"LiveTargetGroup": "ALTERNATE"}


def test_requests_are_pinned_to_the_running_tasks_before_anything_else_changes(tool, monkeypatch):
    for name, value in {"STACK": "x", "IMAGE_TAG": "t", "IMAGE": "r:t", "CLUSTER": "c"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("ENV", "staging")
    given = [
        {"ParameterKey": name, "ParameterValue": value}
        for name, value in {**tool.defaults(), "LiveTargetGroup": "PRIMARY"}.items()
    ]
    tool.answers["describe-stacks"] = {
        "Stacks": [{"StackStatus": "UPDATE_COMPLETE", "Parameters": given}]
    }
    for name in ("check_image", "check_secret", "follow_requests"):
        monkeypatch.setattr(tool, name, lambda *_: None)
    monkeypatch.setattr(tool, "keep_image", lambda: None)
    monkeypatch.setattr(tool, "template", lambda _: [])
    monkeypatch.setattr(tool.Stack, "settle", lambda _: True)
    monkeypatch.setattr(tool, "place", lambda *_: {"LiveTargetGroup": "ALTERNATE"})
    changes = []
    monkeypatch.setattr(tool.Stack, "change", lambda _, arguments, *__: changes.append(arguments))
    tool.deploy(execute=True, metrics="")
    first, second = (json.loads(arguments[-1]) for arguments in changes)
    assert changes[0][0] == "--use-previous-template"
    changed = {each["ParameterKey"]: each.get("ParameterValue") for each in first}
    assert changed.pop("LiveTargetGroup") == "ALTERNATE"
    assert set(changed.values()) == {None}
    assert {"ParameterKey": "LiveTargetGroup", "ParameterValue": "ALTERNATE"} in second


@pytest.mark.parametrize(
    ("status", "others", "is_deleted"),
    [
        ("REVIEW_IN_PROGRESS", [], True),
        ("REVIEW_IN_PROGRESS", [{"StackName": "x"}], False),
        ("CREATE_IN_PROGRESS", [], False),
    ],
)
def test_stack_that_another_run_creates_is_not_deleted(tool, status, others, is_deleted):
    tool.answers["describe-stacks"] = {"Stacks": [{"StackStatus": status}]}
    tool.answers |= {"delete-change-set": {}, "delete-stack": {}}
    tool.answers["list-change-sets"] = {"Summaries": others}
    tool.Stack("x")._discard("CREATE", ["--stack-name", "x", "--change-set-name", "y"])
    assert ("delete-stack" in tool.asked) == is_deleted


WEIGHTS = "ListenerRule.Actions.0.ForwardConfig.TargetGroups"


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_strategy_has_only_what_it_needs(service, strategy):
    template = service(DeploymentStrategy=strategy)
    configuration = look(template, "Service.DeploymentConfiguration")
    assert configuration["Strategy"] == strategy
    assert configuration["Alarms"]["AlarmNames"] == ["<ErrorAlarm>"]
    steps = {
        name for name in configuration if name in ("CanaryConfiguration", "LinearConfiguration")
    }
    wanted = {"CANARY": {"CanaryConfiguration"}, "LINEAR": {"LinearConfiguration"}}
    assert steps == wanted.get(strategy, set())
    advanced = look(template, "Service.LoadBalancers.0").get("AdvancedConfiguration")
    assert (advanced is None) == (strategy == "ROLLING")


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize(("primary", "alternate"), [(2, None), (None, 2), (1, 1)])
def test_tasks_scale_with_requests_in_every_strategy(service, strategy, primary, alternate):
    policy = look(
        service(DeploymentStrategy=strategy),
        "ScaleOnRequests.TargetTrackingScalingPolicyConfiguration",
    )
    kinds = {"PredefinedMetricSpecification", "CustomizedMetricSpecification"} & set(policy)
    assert len(kinds) == 1
    if strategy != "ROLLING":
        metrics = policy["CustomizedMetricSpecification"]["Metrics"]
        figures = {"requests": 600, "primary": primary, "alternate": alternate}
        assert result_of(metrics, figures) == 300


@pytest.mark.parametrize("secure", [{}, SECURE], ids=["http", "https"])
@pytest.mark.parametrize("strategy", ["ROLLING", "BLUE_GREEN"])
@pytest.mark.parametrize(("live", "group"), [("PRIMARY", ""), ("ALTERNATE", "Alternate")])
def test_recreated_rule_sends_requests_to_the_tasks(service, live, group, strategy, secure):
    template = service(LiveTargetGroup=live, DeploymentStrategy=strategy, **secure)
    weights = {item["TargetGroupArn"]: item["Weight"] for item in look(template, WEIGHTS)}
    assert [name for name, weight in weights.items() if weight] == [f"<{group}TargetGroup>"]
    balancer = look(template, "Service.LoadBalancers.0")
    if strategy == "ROLLING":
        assert balancer["TargetGroupArn"] == f"<{group}TargetGroup>"
        label = look(
            template,
            "ScaleOnRequests.TargetTrackingScalingPolicyConfiguration.PredefinedMetricSpecification",
        )["ResourceLabel"]
        assert label.endswith(f"<{group}TargetGroup.TargetGroupFullName>")
    else:
        assert set(weights) == {"<TargetGroup>", "<AlternateTargetGroup>"}


def datapoint(template, alarm, **figures):
    """Return the metric math of an alarm for a minute's figures."""
    metrics = look(template, alarm)["Metrics"]
    assert {item["MetricStat"]["Period"] for item in metrics if "MetricStat" in item} == {60}
    return result_of(metrics, figures)


def result_of(metrics, figures):
    """Evaluate metric math for a minute's figures; return None if there is no value.

    Supports the CloudWatch functions that the template uses: FILL and IF.
    """
    values = {}
    functions = {
        "FILL": lambda value, other: other if value is None else value,
        "IF": lambda condition, then, otherwise: then() if condition else otherwise,
    }
    for metric in metrics:
        if "Expression" in metric:
            text = metric["Expression"].replace(", 100", ", lambda: 100")
            values[metric["Id"]] = eval(text, functions | values)  # noqa: S307 # our own code
            result = values[metric["Id"]]
        else:
            values[metric["Id"]] = figures.get(metric["Id"])
    returned = [item["Id"] for item in metrics if item.get("ReturnData", True)]
    assert returned == [metric["Id"]]
    return result


def goes_off(template, alarm, minutes):
    """Whether an alarm fires for the figures of these minutes."""
    described = look(template, alarm)
    compare = {
        "GreaterThanThreshold": lambda value, threshold: value > threshold,
        "LessThanThreshold": lambda value, threshold: value < threshold,
    }[described["ComparisonOperator"]]
    breaching = [
        compare(datapoint(template, alarm, **one), described["Threshold"]) for one in minutes
    ]
    needed = described.get("DatapointsToAlarm", described["EvaluationPeriods"])
    return sum(breaching[-described["EvaluationPeriods"] :]) >= needed


@pytest.mark.parametrize(
    ("minute", "is_rolled_back"),
    [
        # Every request to a service with little traffic fails.
        ({"requests": 6, "failed": 6}, True),
        ({"requests": 6, "broken": 6}, True),
        ({"requests": 6000, "failed": 301}, True),
        ({"requests": 6000, "failed": 290}, False),
        # Overload: 503, which the log's filter skips.
        ({"requests": 6000, "failed": 0}, False),
        # A single failure is not significant.
        ({"requests": 1, "failed": 1}, False),
        ({"requests": 100, "late": 2}, False),
        ({}, False),
    ],
)
def test_release_is_rolled_back_for_a_share_of_failed_requests(service, minute, is_rolled_back):
    assert goes_off(service(), "ErrorAlarm", [minute] * 3) == is_rolled_back
    assert not goes_off(service(), "ErrorAlarm", [{"requests": 100}, {"requests": 100}, minute])


def test_failed_requests_are_those_in_the_log_except_overload(service):
    filtered = look(service(), "FailedRequests")
    condition = filtered["FilterPattern"].strip("{ }").replace("$.status", "status")
    condition = condition.replace("&&", "and")
    counted = [status for status in range(100, 600) if eval(condition, {"status": status})]  # noqa: S307
    assert set(counted) == set(range(500, 600)) - {503}
    (made,) = filtered["MetricTransformations"]
    (read,) = [m for m in look(service(), "ErrorAlarm")["Metrics"] if m["Id"] == "failed"]
    metric = read["MetricStat"]["Metric"]
    assert (made["MetricNamespace"], made["MetricName"]) == (
        metric["Namespace"],
        metric["MetricName"],
    )


def test_request_that_kills_its_worker_counts_as_failed_in_express_mode(cookies_session):
    """No load balancer of the stack counts its 502, and without it a share of nothing would be no data."""
    answers = {"deploy_tool": "express"}
    text = BakedProject(bake_with(cookies_session, answers).project_path).read("deploy/service.yml")
    lines = [{"status": status, "replaces": None} for status in range(100, 600)]
    lines += [
        {"status": 0, "replaces": "worker 7 ended by SIGKILL"},
        {"status": 0, "replaces": None},
    ]
    counted = {}
    for name in ("Requests", "FailedRequests"):
        condition = look(Template(text, **MADE_ELSEWHERE), name)["FilterPattern"].strip("{ }")
        for old, new in {'$.replaces = "*"': "replaces", "$.": "", "&&": "and", "||": "or"}.items():
            condition = condition.replace(old, new)
        counted[name] = [line for line in lines if eval(condition, dict(line))]  # noqa: S307
    assert counted["Requests"] == lines[:-1]
    assert counted["FailedRequests"] == [line for line in lines[400:-1] if line["status"] != 503]


@pytest.mark.parametrize("strategy", ["ROLLING", "BLUE_GREEN"])
def test_outage_is_detected_with_and_without_data(service, strategy):
    template = service(DeploymentStrategy=strategy)
    assert goes_off(template, "OutageAlarm", [{"primary": 0}] * 2)
    assert goes_off(template, "OutageAlarm", [{}] * 2)
    assert not goes_off(template, "OutageAlarm", [{"primary": 1}] * 2)
    assert look(template, "OutageAlarm.TreatMissingData") == "breaching"
    # Without a target, it is the load balancer that answers.
    counted = look(template, "LoadBalancerAlarm")
    assert counted["MetricName"] == "HTTPCode_ELB_5XX_Count"
    assert counted["Statistic"] == "Sum"
    (dimension,) = counted["Dimensions"]
    assert dimension["Value"] == "<LoadBalancer.LoadBalancerFullName>"
    assert goes_off(template, "UnhealthyAlarm", [{"primary": 1}] * 5)
    if strategy == "BLUE_GREEN":
        assert not goes_off(template, "OutageAlarm", [{"primary": 0, "alternate": 1}] * 2)
        assert goes_off(template, "UnhealthyAlarm", [{"alternate": 1}] * 5)


@pytest.mark.parametrize("suffix", ["", ":api_key::", ":api_key:AWSCURRENT:"])
def test_only_the_given_secret_is_readable_with_a_json_key(service, suffix):
    template = service(ApiKeyArn=IN_SECRETS_MANAGER + suffix)
    secret = look(template, f"{CONTAINER}.Secrets.0")
    assert secret["ValueFrom"] == IN_SECRETS_MANAGER + suffix
    read, decrypt = look(template, "ExecutionRole.Policies.1.PolicyDocument.Statement")
    assert read["Resource"] == IN_SECRETS_MANAGER
    # Whatever key encrypts it.
    assert decrypt["Condition"] == {
        "StringEquals": {"kms:EncryptionContext:SecretARN": IN_SECRETS_MANAGER}
    }
    _, decrypt = look(
        service(ApiKeyArn=IN_PARAMETER_STORE), "ExecutionRole.Policies.1.PolicyDocument.Statement"
    )
    assert decrypt["Condition"] == {
        "StringEquals": {"kms:EncryptionContext:PARAMETER_ARN": IN_PARAMETER_STORE}
    }


def test_boundary_applies_to_every_role(service, bootstrap):
    for template in (
        service(DeploymentStrategy="BLUE_GREEN", PermissionsBoundaryArn=BOUNDARY),
        bootstrap(PermissionsBoundaryArn=BOUNDARY),
    ):
        roles = [
            resource
            for name, resource in template.resources.items()
            if template.raw["Resources"][name]["Type"] == "AWS::IAM::Role"
        ]
        assert roles
        assert {role["PermissionsBoundary"] for role in roles} == {BOUNDARY}


def test_nothing_of_a_neighbour_can_be_reached(service, bootstrap):
    """The project churn must not reach the project churn-model."""
    for name, statement in [*statements(service(Exec="true")), *statements(bootstrap())]:
        for arn in [resource for resource in listed(statement["Resource"]) if resource != "*"]:
            assert not re.search(r"[\w-]\*", arn.replace("stack/", "")), (name, arn)
            if "*" in arn:
                assert re.search(r"(:|/)\*(:\*)?$|<\w+[.]Arn>", arn), (name, arn)
        for kind, condition in statement.get("Condition", {}).items():
            assert kind in {"StringEquals", "ArnEquals"}, name
            assert "*" not in json.dumps(condition), name


@pytest.mark.parametrize(
    ("host", "is_one"),
    [
        ("gitlab.com", True),
        ("git.example.com/gitlab", True),
        ("git.example.com:8443", False),
        ("https://gitlab.com", False),
        ("", False),
    ],
)
def test_gitlab_host_is_valid_for_iam(bootstrap, host, is_one):
    pattern = bootstrap().raw["Parameters"]["GitLabHost"]["AllowedPattern"]
    assert bool(re.fullmatch(pattern, host)) == is_one
