"""touchline.toml for dispatchers and workers, made from the same values as the stacks. Pure."""

import hashlib
import json

from .settings import Deployment, Fleet
from .stacks import bucket


def touchline_toml(fleet: Fleet, deployment: Deployment, account: str) -> str:
    """The configuration of a fleet whose stacks are deployed."""
    text = json.dumps  # A JSON string is a TOML string, a list of them a TOML list.
    output, uploads, config = (bucket(deployment, account, purpose) for purpose in ("output", "uploads", "config"))
    lines = [
        "# Written by infra/deploy; a change here is lost with the next deployment.",
        f"output = {text(f's3://{output}')}",
        "",
        "[database]",
        f"pooler = {'true' if deployment.pooler else 'false'}",
        "",
        "[capacity]",
        f"fleet = {text(f's3://{config}/fleet.toml')}",
        f"name = {text(deployment.fleet)}",
        f"events = {text([_queue(deployment, account, region, 'events') for region in fleet.regions])}",
    ]
    for region in fleet.regions:
        lines += [
            "",
            "[[regions]]",
            f"name = {text(region)}",
            f"queue = {text(_queue(deployment, account, region, 'work'))}",
            f"dead_letters = {text(_queue(deployment, account, region, 'dead'))}",
        ]
    for name in dict.fromkeys([output, uploads]):
        lines += ["", "[[buckets]]", f"name = {text(name)}", f"region = {text(deployment.home)}"]
    return "\n".join(lines) + "\n"


def _queue(deployment: Deployment, account: str, region: str, purpose: str) -> str:
    return f"https://sqs.{region}.amazonaws.com/{account}/{deployment.fleet}-{purpose}"


def digest(*texts: str) -> str:
    """Changes when one of the texts does."""
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:16]
