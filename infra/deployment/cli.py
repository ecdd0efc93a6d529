"""The command line of infra/deploy."""

import argparse
import sys
from pathlib import Path

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from .cloudformation import CloudFormation, DeploymentError
from .configuration import digest, dispatcher_toml, worker_toml
from .settings import Deployment, Fleet, SettingsError, read_deployment, read_fleet
from .stacks import Stack, bucket, plan, pool_stack_prefix

INFRA = Path(__file__).resolve().parent.parent

EPILOG = """\
examples:
  infra/deploy --show                   the stacks and their parameters, without asking AWS
  infra/deploy --dry-run                what would change
  infra/deploy --region eu-west-1       one region only
  infra/deploy                          everything

Credentials come from the usual AWS settings. Exit codes: 0 done, 1 AWS refused, 2 a file is wrong."""


def parser() -> argparse.ArgumentParser:
    arguments = argparse.ArgumentParser(
        prog="infra/deploy",
        description="Brings the fleet's CloudFormation stacks to what fleet.toml and deployment.toml say.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    arguments.add_argument("--fleet", type=Path, default=INFRA / "fleet.toml", metavar="FILE", help="pools and quotas")
    arguments.add_argument(
        "--deployment", type=Path, default=INFRA / "deployment.toml", metavar="FILE", help="the account's settings"
    )
    arguments.add_argument("--region", action="append", metavar="REGION", help="only stacks of this region; repeatable")
    what = arguments.add_mutually_exclusive_group()
    what.add_argument("--dry-run", action="store_true", help="make change sets, print them, change nothing")
    what.add_argument("--show", action="store_true", help="print stacks and parameters, ask nothing of AWS")
    what.add_argument(
        "--remove-pools", action="store_true", help="also delete stacks of pools that fleet.toml gives no instances"
    )
    return arguments


def main(argv: list[str] | None = None) -> int:
    arguments = parser().parse_args(argv)
    try:
        fleet, deployment = read_fleet(arguments.fleet), read_deployment(arguments.deployment)
        known = {deployment.home, *fleet.regions}
        if unknown := set(arguments.region or ()) - known:
            raise SettingsError(arguments.fleet, [f"there is no region {', '.join(sorted(unknown))}"])
        run = Run(fleet, deployment, arguments)
        return run.show() if arguments.show else run.deploy()
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 2
    except (DeploymentError, ClientError, BotoCoreError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


class Run:
    """One call of the program."""

    def __init__(self, fleet: Fleet, deployment: Deployment, arguments: argparse.Namespace) -> None:
        self.fleet = fleet
        self.deployment = deployment
        self.arguments = arguments
        self.fleet_toml = arguments.fleet.read_text()

    def show(self) -> int:
        for stack in self._stacks("ACCOUNT"):
            print(f"{stack.name} ({stack.template}) in {stack.region}")
            for key, value in stack.parameters.items():
                print(f"  {key} = {value}")
        return 0

    def deploy(self) -> int:
        session = boto3.Session()
        account = session.client("sts", region_name=self.deployment.home).get_caller_identity()["Account"]
        stacks, formation = self._stacks(account), CloudFormation(session, self.deployment.fleet)
        self._check_secrets(session, stacks)
        for stack in stacks:
            if stack.template == "dispatcher.yaml":
                # Dispatchers read the files when they start.
                self._upload(session, account)
            print(f"{stack.name} in {stack.region}", flush=True)
            changes = formation.deploy(stack, self.arguments.dry_run)
            if changes is None:
                print("  new; its change set needs the stacks above")
            elif not changes:
                print("  unchanged")
            for change in changes or ():
                print(f"  {change}")
        self._removed_pools(session, formation, stacks)
        return 0

    def _stacks(self, account: str) -> list[Stack]:
        config = dispatcher_toml(self.fleet, self.deployment, account)
        stacks = plan(self.fleet, self.deployment, account, digest(config, self.fleet_toml))
        return [s for s in stacks if not self.arguments.region or s.region in self.arguments.region]

    def _upload(self, session: boto3.Session, account: str) -> None:
        if self.arguments.dry_run:
            return
        s3 = session.client("s3", region_name=self.deployment.home)
        files = {
            "touchline.toml": dispatcher_toml(self.fleet, self.deployment, account),
            "worker.toml": worker_toml(self.fleet, self.deployment, account),
            "fleet.toml": self.fleet_toml,
        }
        for key, text in files.items():
            s3.put_object(Bucket=bucket(self.deployment, account, "config"), Key=key, Body=text.encode())

    def _check_secrets(self, session: boto3.Session, stacks: list[Stack]) -> None:
        """Services whose secret is missing fail minutes later with a message that is hard to find."""
        missing = []
        for stack in stacks:
            if not (stack.parameters.get("WorkerImage") or stack.parameters.get("DispatcherImage")):
                continue
            named = ("DatabaseUrlParameter", "SigningSecretParameter")
            names = [str(stack.parameters[key]) for key in named if key in stack.parameters]
            ssm = session.client("ssm", region_name=stack.region)
            for name in ssm.get_parameters(Names=names, WithDecryption=False)["InvalidParameters"]:
                value = "postgres://…" if name.endswith("url") else '"$(openssl rand -hex 32)"'
                missing.append(
                    f"aws ssm put-parameter --region {stack.region} --type SecureString --name {name} --value {value}"
                )
        if missing:
            raise DeploymentError("secrets are missing; put them there with\n  " + "\n  ".join(missing))

    def _removed_pools(self, session: boto3.Session, formation: CloudFormation, stacks: list[Stack]) -> None:
        wanted = {(stack.region, stack.name) for stack in stacks}
        for region in dict.fromkeys(stack.region for stack in stacks):
            for name in formation.names(region, pool_stack_prefix(self.deployment.fleet)):
                if (region, name) in wanted:
                    continue
                if not self.arguments.remove_pools:
                    print(f"{name} in {region}: fleet.toml gives it no instances; --remove-pools deletes it when it is empty")
                    continue
                group = (formation.outputs(region, name) or {}).get("Group", "")
                groups = session.client("autoscaling", region_name=region).describe_auto_scaling_groups(
                    AutoScalingGroupNames=[group]
                )["AutoScalingGroups"]
                if any(g["Instances"] or g["DesiredCapacity"] for g in groups):
                    # Deleting the group would end busy workers; and protected instances hold the stack up.
                    print(f"{name} in {region}: has instances; try again when they have ended")
                    continue
                formation.delete(region, name)
                print(f"{name} in {region}: deleted")
