"""Stacks by way of change sets: what would change is seen before it is made."""

import time
from dataclasses import dataclass
from typing import Any

import boto3
from botocore.exceptions import ClientError, WaiterError

from .stacks import Output, Stack

# How long a stack may take; the longest is a service that does not become healthy.
PATIENCE_S = 1800
POLL_S = 5


class DeploymentError(Exception):
    """A stack could not be deployed; says why and what to do."""


@dataclass(frozen=True)
class Change:
    """One line of a change set."""

    action: str
    resource: str
    kind: str
    replacement: str

    def __str__(self) -> str:
        replaced = " (replaced)" if self.replacement == "True" else ""
        return f"{self.action.lower():8} {self.resource} {self.kind}{replaced}"


class CloudFormation:
    """Stacks of one account in any region."""

    def __init__(self, session: boto3.Session, fleet: str) -> None:
        self._session = session
        self._fleet = fleet

    def outputs(self, region: str, stack: str) -> dict[str, str] | None:
        """The outputs of a stack; None when there is no such stack."""
        found = self._describe(region, stack)
        if found is None or found["StackStatus"] == "REVIEW_IN_PROGRESS":
            return None
        return {o["OutputKey"]: o["OutputValue"] for o in found.get("Outputs", [])}

    def names(self, region: str, prefix: str) -> list[str]:
        """Names of stacks of this fleet that begin so."""
        pages = self._client(region).get_paginator("describe_stacks").paginate()
        stacks = [stack for page in pages for stack in page["Stacks"]]
        return sorted(s["StackName"] for s in stacks if s["StackName"].startswith(prefix) and self._is_ours(s))

    def deploy(self, stack: Stack, dry_run: bool) -> list[Change] | None:
        """Makes or changes a stack; gives what changed, None when it cannot be said before other stacks are there."""
        parameters = self._resolve(stack)
        if parameters is None:
            if dry_run:
                return None
            raise DeploymentError(f"{stack.name} in {stack.region}: a stack that it takes values from is not there")
        found = self._describe(stack.region, stack.name)
        if found and found["StackStatus"] in ("ROLLBACK_COMPLETE", "ROLLBACK_FAILED", "DELETE_FAILED"):
            raise DeploymentError(
                f"{stack.name} in {stack.region} is {found['StackStatus']}: its first deployment failed; delete the "
                "stack and deploy again"
            )
        is_new = found is None or found["StackStatus"] == "REVIEW_IN_PROGRESS"
        client, name = self._client(stack.region), f"deploy-{int(time.time() * 1000)}"
        client.create_change_set(
            StackName=stack.name,
            ChangeSetName=name,
            ChangeSetType="CREATE" if is_new else "UPDATE",
            TemplateBody=stack.template_path.read_text(),
            Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()],
            Capabilities=["CAPABILITY_IAM"],
            Tags=[{"Key": "touchline:fleet", "Value": self._fleet}],
        )
        changes = self._changes(stack, name)
        if dry_run or not changes:
            client.delete_change_set(StackName=stack.name, ChangeSetName=name)
            if is_new and dry_run:
                client.delete_stack(StackName=stack.name)
            return changes
        client.execute_change_set(StackName=stack.name, ChangeSetName=name)
        self._wait(stack, "stack_create_complete" if is_new else "stack_update_complete")
        return changes

    def delete(self, region: str, name: str) -> None:
        """Deletes a stack and waits for it."""
        client = self._client(region)
        client.delete_stack(StackName=name)
        client.get_waiter("stack_delete_complete").wait(
            StackName=name, WaiterConfig={"Delay": POLL_S, "MaxAttempts": PATIENCE_S // POLL_S}
        )

    def _resolve(self, stack: Stack) -> dict[str, str] | None:
        resolved = {}
        for key, value in stack.parameters.items():
            if isinstance(value, Output):
                outputs = self.outputs(stack.region, value.stack)
                if outputs is None or value.key not in outputs:
                    return None
                value = outputs[value.key]
            resolved[key] = value
        return resolved

    def _changes(self, stack: Stack, name: str) -> list[Change]:
        client, until = self._client(stack.region), time.monotonic() + PATIENCE_S
        while True:
            found = client.describe_change_set(StackName=stack.name, ChangeSetName=name)
            if found["Status"] not in ("CREATE_PENDING", "CREATE_IN_PROGRESS"):
                break
            if time.monotonic() > until:
                raise DeploymentError(f"{stack.name} in {stack.region}: no change set within {PATIENCE_S} s")
            time.sleep(1)
        reason = found.get("StatusReason", "")
        if found["Status"] == "FAILED":
            if "didn't contain changes" in reason or "No updates are to be performed" in reason:
                return []
            raise DeploymentError(f"{stack.name} in {stack.region}: {reason}")
        resources = [change["ResourceChange"] for change in found["Changes"]]
        return [
            Change(r["Action"], r["LogicalResourceId"], r["ResourceType"], r.get("Replacement", "")) for r in resources
        ]

    def _wait(self, stack: Stack, waiter: str) -> None:
        client = self._client(stack.region)
        try:
            client.get_waiter(waiter).wait(
                StackName=stack.name, WaiterConfig={"Delay": POLL_S, "MaxAttempts": PATIENCE_S // POLL_S}
            )
        except WaiterError as error:
            raise DeploymentError(f"{stack.name} in {stack.region}: {self._why(stack)}") from error

    def _why(self, stack: Stack) -> str:
        """The first failure of a stack: what follows is only the rollback."""
        events = self._client(stack.region).describe_stack_events(StackName=stack.name)["StackEvents"]
        failed = [e for e in events if e["ResourceStatus"].endswith("_FAILED")]
        if not failed:
            return f"not finished within {PATIENCE_S} s"
        first = min(failed, key=lambda event: event["Timestamp"])
        return f"{first['LogicalResourceId']} ({first['ResourceType']}): {first.get('ResourceStatusReason', 'no reason')}"

    def _describe(self, region: str, stack: str) -> dict[str, Any] | None:
        try:
            return self._client(region).describe_stacks(StackName=stack)["Stacks"][0]
        except ClientError as error:
            if "does not exist" in str(error):
                return None
            raise

    def _is_ours(self, stack: dict[str, Any]) -> bool:
        return {"Key": "touchline:fleet", "Value": self._fleet} in stack.get("Tags", [])

    def _client(self, region: str) -> Any:
        return self._session.client("cloudformation", region_name=region)
