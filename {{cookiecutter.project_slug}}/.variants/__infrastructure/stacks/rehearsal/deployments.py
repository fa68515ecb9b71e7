"""ECS releases that shift requests in steps: BLUE_GREEN, CANARY and LINEAR.

New tasks run next to the old ones, and the load balancer sends them their share. A minute of ECS lasts a second.
An alarm that goes off meanwhile (``aws cloudwatch set-alarm-state``) rolls a release back. A hook that pauses a release
waits, in real minutes, for ``aws ecs continue-service-deployment``; until then only the test listener reaches the new
tasks.
"""

import time
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from moto.cloudwatch.models import cloudwatch_backends
from moto.core.common_models import CloudFormationModel
from moto.core.exceptions import JsonRESTError
from moto.core.responses import ActionResult
from moto.ecs.responses import EC2ContainerServiceResponse

SECONDS_PER_MINUTE = 1.0

Json = dict[str, Any]


class StackAlarm(CloudFormationModel):
    """An alarm created by a stack; it measures nothing."""

    def __init__(self, name: str) -> None:
        self.physical_resource_id = name

    @staticmethod
    def cloudformation_name_type() -> str:
        """Return the property that holds its name."""
        return "AlarmName"

    @staticmethod
    def cloudformation_type() -> str:
        """Return its type in templates."""
        return "AWS::CloudWatch::Alarm"

    @classmethod
    def create_from_cloudformation_json(
        cls,
        resource_name: str,
        cloudformation_json: Json,
        account_id: str,
        region_name: str,
        **_: Any,
    ) -> "StackAlarm":
        """Create it."""
        properties = cloudformation_json["Properties"]
        cloudwatch_backends[account_id][region_name].put_metric_alarm(
            name=properties["AlarmName"],
            namespace="",
            metric_name="",
            comparison_operator=properties["ComparisonOperator"],
            evaluation_periods=int(properties["EvaluationPeriods"]),
            period=60,
            threshold=float(properties["Threshold"]),
            statistic="Sum",
            description=properties["AlarmDescription"],
            dimensions=[],
            alarm_actions=[],
        )
        return cls(properties["AlarmName"])

    def delete(self, account: str, region: str) -> None:
        """Delete it."""
        cloudwatch_backends[account][region].delete_alarms([self.physical_resource_id])


def steps(configuration: Json) -> Iterator[tuple[float, float]]:
    """Yield the share of requests for new tasks, in percent, and its duration in minutes."""
    match configuration["strategy"]:
        case "CANARY":
            canary = configuration["canaryConfiguration"]
            yield float(canary["canaryPercent"]), float(canary["canaryBakeTimeInMinutes"])
        case "LINEAR":
            linear = configuration["linearConfiguration"]
            share = float(linear["stepPercent"])
            while share < 100:
                yield share, float(linear["stepBakeTimeInMinutes"])
                share += float(linear["stepPercent"])
    yield 100, float(configuration["bakeTimeInMinutes"])


def alarms_of(service: Any, account: str, region: str) -> list[str]:
    """Return the alarms for a service's releases that have gone off."""
    alarms = service.deployment_configuration.get("alarms", {})
    if str(alarms.get("enable")).lower() != "true":
        return []
    known = cloudwatch_backends[account][region].alarms
    names = alarms.get("alarmNames", [])
    return [name for name in names if name in known and known[name].state_value == "ALARM"]


class Deployments:
    """The releases of all services, as reported by ECS."""

    def __init__(self) -> None:
        self._known: list[Json] = []

    def shift(
        self, service: Any, before: str, after: str, is_current: Callable[[], bool]
    ) -> str | None:
        """Shift requests between the tasks of two revisions; return the reason if it was rolled back.

        Returns at once if another change is requested meanwhile.
        """
        configuration = getattr(service, "deployment_configuration", {})
        if configuration.get("strategy", "ROLLING") == "ROLLING":
            return None
        _, _, _, region, account, _ = service.arn.split(":", 5)
        revision = service.arn.replace(":service/", ":service-revision/")
        told: Json = {
            "serviceDeploymentArn": service.arn.replace(":service/", ":service-deployment/")
            + f"/{uuid.uuid4().hex[:20]}",
            "serviceArn": service.arn,
            "createdAt": datetime.now(UTC).replace(tzinfo=None),
            "status": "IN_PROGRESS",
            "lifecycleStage": "PRODUCTION_TRAFFIC_SHIFT",
            "sourceServiceRevisions": [{"arn": f"{revision}/{before.rpartition(':')[2]}"}],
            "targetServiceRevision": {"arn": f"{revision}/{after.rpartition(':')[2]}"},
        }
        self._known.append(told)
        service.shares = {before: 100}
        for hook in configuration.get("lifecycleHooks", []):
            service.tested = after
            reason = self._pause(told, hook["timeoutConfiguration"], is_current)
            service.tested = ""
            if reason:
                service.shares = {}
                return reason
        for share, minutes in steps(configuration):
            told["targetServiceRevision"]["requestedProductionTrafficWeight"] = share
            told["sourceServiceRevisions"][0]["requestedProductionTrafficWeight"] = 100 - share
            told["lifecycleStage"] = "PRODUCTION_TRAFFIC_SHIFT" if share < 100 else "BAKE_TIME"
            service.shares = {after: share, before: 100 - share}
            deadline = time.monotonic() + minutes * SECONDS_PER_MINUTE
            while time.monotonic() < deadline and is_current():
                if names := alarms_of(service, account, region):
                    reason = f"Alarm(s) detected: {', '.join(names)}."
                    told |= {"status": "ROLLBACK_SUCCESSFUL", "statusReason": reason}
                    told["alarms"] = {"status": "TRIGGERED", "triggeredAlarmNames": names}
                    service.shares = {}
                    return reason
                time.sleep(0.1)
        told["lifecycleStage"] = "CLEAN_UP"
        told["status"] = "SUCCESSFUL" if is_current() else "STOPPED"
        # In effect until the old tasks are gone.
        service.shares = {after: 100} if is_current() else {}
        return None

    def _pause(self, told: Json, timeout: Json, is_current: Callable[[], bool]) -> str | None:
        """Wait until a paused release is continued or rolled back; return the reason if it was rolled back."""
        minutes = timedelta(minutes=float(timeout["timeoutInMinutes"]))
        hook = {
            "hookId": f"ecs-pause-{uuid.uuid4().hex}",
            "targetType": "PAUSE",
            "status": "AWAITING_ACTION",
            "expiresAt": datetime.now(UTC).replace(tzinfo=None) + minutes,
            "timeoutAction": timeout["action"],
        }
        told |= {"lifecycleStage": "POST_TEST_TRAFFIC_SHIFT", "lifecycleHookDetails": [hook]}
        deadline = time.monotonic() + minutes.total_seconds()
        while hook["status"] == "AWAITING_ACTION" and is_current():
            if time.monotonic() > deadline:
                hook["status"] = "TIMED_OUT"
            time.sleep(0.1)
        if hook["status"] == "SUCCEEDED" or not is_current():
            return None
        reason = "Service deployment rolled back because a lifecycle hook "
        reason += "timed out." if hook["status"] == "TIMED_OUT" else "was rolled back."
        told |= {"status": "ROLLBACK_SUCCESSFUL", "statusReason": reason}
        return reason

    def go_on(self, arn: str, hook_id: str, action: str) -> None:
        """Continue or roll back a paused release; raises if it is not paused."""
        for told in self.by_arn([arn]):
            for hook in told.get("lifecycleHookDetails", []):
                if hook["hookId"] == hook_id and hook["status"] == "AWAITING_ACTION":
                    hook["status"] = "SUCCEEDED" if action == "CONTINUE" else "FAILED"
                    return
        raise JsonRESTError(
            "InvalidParameterException", f"No hook {hook_id} of {arn} awaits an action."
        )

    def of_service(self, cluster: str, name: str) -> list[Json]:
        """Return the releases of a service, newest first."""
        end = f"/{cluster}/{name}"
        return [told for told in reversed(self._known) if told["serviceArn"].endswith(end)]

    def by_arn(self, arns: list[str]) -> list[Json]:
        """Return the releases with these ARNs."""
        return [told for told in self._known if told["serviceDeploymentArn"] in arns]


def install(scheduler: Any) -> None:
    """Make moto's ECS shift requests in steps, and report it."""
    deployments = Deployments()
    scheduler.shift = deployments.shift

    def list_service_deployments(self: Any) -> ActionResult:
        cluster, name = self._get_param("cluster"), self._get_param("service")
        return ActionResult({"serviceDeployments": deployments.of_service(cluster, name)})

    def describe_service_deployments(self: Any) -> ActionResult:
        arns = self._get_param("serviceDeploymentArns")
        return ActionResult({"serviceDeployments": deployments.by_arn(arns)})

    def continue_service_deployment(self: Any) -> ActionResult:
        arn = self._get_param("serviceDeploymentArn")
        deployments.go_on(arn, self._get_param("hookId"), self._get_param("action"))
        return ActionResult({"serviceDeploymentArn": arn})

    EC2ContainerServiceResponse.continue_service_deployment = continue_service_deployment
    EC2ContainerServiceResponse.list_service_deployments = list_service_deployments
    EC2ContainerServiceResponse.describe_service_deployments = describe_service_deployments
