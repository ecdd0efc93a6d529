"""Which stacks there are, in the order they are made, and their parameters. Pure: nothing here asks AWS."""

import re
from dataclasses import dataclass
from pathlib import Path

from .settings import Deployment, Fleet, Pool

TEMPLATES = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Output:
    """A value that another stack of the same region gives when it is there."""

    stack: str
    key: str

    def __str__(self) -> str:
        return f"<{self.stack}.{self.key}>"


@dataclass(frozen=True)
class Stack:
    """One CloudFormation stack. Parameters that are not named keep the template's default."""

    name: str
    region: str
    template: str
    parameters: dict[str, str | Output]

    @property
    def template_path(self) -> Path:
        return TEMPLATES / self.template


def bucket(deployment: Deployment, account: str, purpose: str) -> str:
    """Name of a bucket of the storage stack; the templates make the same."""
    return f"{deployment.fleet}-{purpose}-{account}-{deployment.home}"


def group_name(fleet: str, pool: Pool) -> str:
    """Name of a pool's group; the dispatcher derives the same from the pool."""
    return f"{fleet}-{pool.instance_type}-{pool.option}"


def pool_stack_name(fleet: str, pool: Pool) -> str:
    """Name of a pool's stack: names of stacks have letters, digits and hyphens only."""
    return re.sub("[._]", "-", f"{pool_stack_prefix(fleet)}{pool.instance_type}-{pool.option}")


def pool_stack_prefix(fleet: str) -> str:
    """What the names of all pool stacks begin with."""
    return f"{fleet}-pool-"


def plan(fleet: Fleet, deployment: Deployment, account: str, config_digest: str) -> list[Stack]:
    """All stacks, each after those whose outputs it takes."""
    regions = list(dict.fromkeys([deployment.home, *fleet.regions]))
    stacks = [_storage(deployment)]
    stacks += [_region(deployment, account, region) for region in regions]
    stacks += [_pool(deployment, pool) for pool in fleet.pools]
    stacks.append(_dispatcher(deployment, account, config_digest))
    return stacks


def _storage(deployment: Deployment) -> Stack:
    return Stack(
        name=f"{deployment.fleet}-storage",
        region=deployment.home,
        template="storage.yaml",
        parameters={
            "Fleet": deployment.fleet,
            "WebOrigins": ",".join(deployment.web_origins),
            "UploadDays": str(deployment.upload_days),
            "SourceDays": str(deployment.source_days),
            "OutputDays": str(deployment.output_days),
        },
    )


def _region(deployment: Deployment, account: str, region: str) -> Stack:
    sources = [bucket(deployment, account, "uploads"), *deployment.source_buckets]
    network = deployment.networks.get(region)
    return Stack(
        name=f"{deployment.fleet}-region",
        region=region,
        template="region.yaml",
        parameters={
            "Fleet": deployment.fleet,
            "WorkerImage": deployment.worker_image.format(account=account, region=region),
            "ConfigBucket": bucket(deployment, account, "config"),
            "OutputBucket": bucket(deployment, account, "output"),
            "SourceBuckets": ",".join(f"arn:aws:s3:::{name}" for name in sources),
            "SourceObjects": ",".join(f"arn:aws:s3:::{name}/*" for name in sources),
            "DatabaseUrlParameter": f"/{deployment.fleet}/worker-database-url",
            "DatabasePort": str(deployment.database_port),
            "VpcId": network.vpc if network else "",
            "SubnetIds": ",".join(network.subnets) if network else "",
            "AlarmEmail": deployment.alarm_email,
            "MetricsCidr": deployment.metrics_cidr,
        },
    )


def _pool(deployment: Deployment, pool: Pool) -> Stack:
    region = f"{deployment.fleet}-region"
    return Stack(
        name=pool_stack_name(deployment.fleet, pool),
        region=pool.region,
        template="pool.yaml",
        parameters={
            "Fleet": deployment.fleet,
            "Pool": pool.name,
            "GroupName": group_name(deployment.fleet, pool),
            "InstanceType": pool.instance_type,
            "Purchase": pool.option,
            "MaxInstances": str(pool.max_instances),
            "SubnetIds": ",".join(pool.subnets) if pool.subnets else Output(region, "SubnetIds"),
            "Cluster": Output(region, "Cluster"),
            "InstanceProfile": Output(region, "InstanceProfile"),
            "SecurityGroup": Output(region, "WorkerSecurityGroup"),
            "AlarmTopic": Output(region, "AlarmTopic"),
        },
    )


def _dispatcher(deployment: Deployment, account: str, config_digest: str) -> Stack:
    region = f"{deployment.fleet}-region"
    return Stack(
        name=f"{deployment.fleet}-dispatcher",
        region=deployment.home,
        template="dispatcher.yaml",
        parameters={
            "Fleet": deployment.fleet,
            "DispatcherImage": deployment.dispatcher_image.format(account=account, region=deployment.home),
            "DispatcherCount": str(deployment.dispatchers),
            "ConfigBucket": bucket(deployment, account, "config"),
            "ConfigDigest": config_digest,
            "UploadsBucket": bucket(deployment, account, "uploads"),
            "OutputBucket": bucket(deployment, account, "output"),
            "DatabaseUrlParameter": f"/{deployment.fleet}/dispatcher-database-url",
            "SigningSecretParameter": f"/{deployment.fleet}/signing-secret",
            "DatabasePort": str(deployment.database_port),
            "VpcId": Output(region, "VpcId"),
            "SubnetIds": Output(region, "SubnetIds"),
            "CertificateArn": deployment.certificate,
            "AlarmTopic": Output(region, "AlarmTopic"),
        },
    )
