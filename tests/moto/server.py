"""moto with what its auto-scaling groups lack: launches that fail, activities that say why, and the limits of a group.

Faults are set over HTTP, on the same port:
  POST /faults  {"region": "eu-west-1", "group": "touchline-g4dn.xlarge-spot", "message": "…"}   launches fail so
  POST /faults  {"region": "eu-west-1", "group": "touchline-g4dn.xlarge-spot", "message": null}  they work again
  GET  /peaks   {"eu-west-1/touchline-g4dn.xlarge-spot": 2, …}   most instances that a group had at once
  GET  /calls   {"SetDesiredCapacity": 3, …}                     calls that change groups
"""

import json
import sys
import threading
import uuid
from collections import Counter
from typing import Any

from moto.autoscaling.exceptions import ValidationError
from moto.autoscaling.models import AutoScalingBackend, FakeAutoScalingGroup
from moto.autoscaling.responses import AutoScalingResponse
from moto.cloudformation.models import CloudFormationBackend
from moto.core.responses import ActionResult
from moto.core.utils import utcnow
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, run_simple

Environment = dict[str, Any]

faults: dict[tuple[str, str], str] = {}
activities: dict[tuple[str, str], list[dict[str, Any]]] = {}
peaks: Counter[str] = Counter()
calls: Counter[str] = Counter()
# Requests come on threads, and a group that launches has its new count before it has the instance: whoever looks at that
# moment must not launch it again.
launching = threading.RLock()


def place(group: FakeAutoScalingGroup) -> tuple[str, str]:
    return group.autoscaling_backend.region_name, group.name


def note_activity(group: FakeAutoScalingGroup, message: str) -> None:
    """What DescribeScalingActivities tells of a launch that failed; the newest is first."""
    now = utcnow()
    activities.setdefault(place(group), []).insert(
        0,
        {
            "ActivityId": str(uuid.uuid4()),
            "AutoScalingGroupName": group.name,
            "Description": "Launching a new EC2 instance.",
            "Cause": "an instance was started in response to a difference between desired and actual capacity",
            "StartTime": now,
            "EndTime": now,
            "StatusCode": "Failed",
            "StatusMessage": message,
            "Progress": 100,
        },
    )


def fail_launches() -> None:
    """A group with a fault keeps its desired count and gets no instances, as a real one; it tries again by itself."""
    launch = FakeAutoScalingGroup.set_desired_capacity

    def set_desired_capacity(group: FakeAutoScalingGroup, new_capacity: int | None) -> None:
        with launching:
            wanted, there = new_capacity or 0, len(group.active_instances())
            message = faults.get(place(group))
            if message and wanted > there:
                group.desired_capacity = wanted
                note_activity(group, message)
                return
            launch(group, new_capacity)
            key = "/".join(place(group))
            peaks[key] = max(peaks[key], len(group.active_instances()))

    describe = AutoScalingBackend.describe_auto_scaling_groups

    def describe_auto_scaling_groups(backend: AutoScalingBackend, *args: Any, **kwargs: Any) -> Any:
        with launching:
            for group in backend.autoscaling_groups.values():
                if (group.desired_capacity or 0) > len(group.active_instances()) and place(group) not in faults:
                    group.set_desired_capacity(group.desired_capacity)
            return describe(backend, *args, **kwargs)

    def describe_scaling_activities(response: AutoScalingResponse) -> ActionResult:
        group = response._get_param("AutoScalingGroupName")
        return ActionResult({"Activities": activities.get((response.region, group), [])[:100]})

    FakeAutoScalingGroup.set_desired_capacity = set_desired_capacity
    AutoScalingBackend.describe_auto_scaling_groups = describe_auto_scaling_groups
    AutoScalingResponse.describe_scaling_activities = describe_scaling_activities


def keep_limits() -> None:
    """AWS refuses a desired count above the group's MaxSize, and to end what is not there; moto takes both."""
    change = AutoScalingBackend.set_desired_capacity

    def set_desired_capacity(backend: AutoScalingBackend, group_name: str, desired_capacity: int | None) -> None:
        calls["SetDesiredCapacity"] += 1
        most = backend.autoscaling_groups[group_name].max_size or 0
        if (desired_capacity or 0) > most:
            raise ValidationError(
                f"New SetDesiredCapacity value {desired_capacity} is above max value {most} for the AutoScalingGroup."
            )
        change(backend, group_name, desired_capacity)

    terminate = AutoScalingBackend.terminate_instance

    def terminate_instance(backend: AutoScalingBackend, instance_id: str, should_decrement: bool) -> Any:
        groups = backend.autoscaling_groups.values()
        if instance_id not in [state.instance.id for group in groups for state in group.active_instances()]:
            raise ValidationError(f"Instance Id not found - No managed instance found for instance ID: {instance_id}")
        calls["TerminateInstanceInAutoScalingGroup"] += 1
        return terminate(backend, instance_id, should_decrement)

    AutoScalingBackend.set_desired_capacity = set_desired_capacity
    AutoScalingBackend.terminate_instance = terminate_instance


def keep_outputs() -> None:
    """moto forgets the outputs of a stack that a change set made."""
    execute = CloudFormationBackend.execute_change_set

    def execute_change_set(backend: CloudFormationBackend, change_set_name: str, stack_name: str) -> None:
        execute(backend, change_set_name, stack_name)
        stack = next(stack for stack in backend.stacks.values() if stack.name == stack_name)
        stack._parse_template()
        stack.output_map = stack._create_output_map()

    CloudFormationBackend.execute_change_set = execute_change_set


class Control:
    """The endpoints above, before moto's own."""

    def __init__(self, moto: DomainDispatcherApplication) -> None:
        self.moto = moto

    def __call__(self, environ: Environment, start_response: Any) -> Any:
        path = environ["PATH_INFO"]
        if path == "/faults":
            body = json.loads(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])))
            key = (body["region"], body["group"])
            if body["message"]:
                faults[key] = body["message"]
            else:
                faults.pop(key, None)
            return self.answer(start_response, {})
        if path in ("/peaks", "/calls"):
            return self.answer(start_response, peaks if path == "/peaks" else calls)
        return self.moto(environ, start_response)

    @staticmethod
    def answer(start_response: Any, body: Any) -> list[bytes]:
        start_response("200 OK", [("Content-Type", "application/json")])
        return [json.dumps(body).encode()]


class Quiet(WSGIRequestHandler):
    """Logs nothing but errors."""

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        if str(code).startswith("5"):
            super().log_request(code, size)


if __name__ == "__main__":
    fail_launches()
    keep_limits()
    keep_outputs()
    app = Control(DomainDispatcherApplication(create_backend_app))
    run_simple("127.0.0.1", int(sys.argv[1]), app, threaded=True, request_handler=Quiet)
