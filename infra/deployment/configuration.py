"""The configuration of dispatchers and workers, made from the same values as the stacks. Pure."""

import hashlib
import json
from typing import Any

from .settings import Deployment, Fleet
from .stacks import bucket


def worker_toml(fleet: Fleet, deployment: Deployment, account: str) -> str:
    """What workers need to know: no more than where queues and objects are."""
    output, uploads = (bucket(deployment, account, purpose) for purpose in ("output", "uploads"))
    lines = [
        "# Written by infra/deploy; a change here is lost with the next deployment.",
        f"output = {_text(f's3://{output}')}",
        "",
        "[database]",
        f"pooler = {'true' if deployment.pooler else 'false'}",
    ]
    for region in fleet.regions:
        lines += [
            "",
            "[[regions]]",
            f"name = {_text(region)}",
            f"queue = {_text(_queue(deployment, account, region, 'work'))}",
            f"dead_letters = {_text(_queue(deployment, account, region, 'dead'))}",
        ]
    for name in (output, uploads):
        lines += ["", "[[buckets]]", f"name = {_text(name)}", f"region = {_text(deployment.home)}"]
    return "\n".join(lines) + "\n"


def dispatcher_toml(fleet: Fleet, deployment: Deployment, account: str) -> str:
    """What dispatchers need to know: the same, the machines, and the interface."""
    uploads, config = (bucket(deployment, account, purpose) for purpose in ("uploads", "config"))
    events = [_queue(deployment, account, region, "events") for region in fleet.regions]
    lines = [
        "",
        "[capacity]",
        f"fleet = {_text(f's3://{config}/fleet.toml')}",
        f"name = {_text(deployment.fleet)}",
        f"events = {_text(events)}",
        "",
        "[api]",
        'listen = "0.0.0.0:8080"',
        f"cors_origins = {_text(deployment.web_origins)}",
        f"uploads = {_text(f's3://{uploads}')}",
        f"source_prefixes = {_text([f's3://{name}/' for name in deployment.source_buckets])}",
    ]
    if deployment.address:
        lines.append(f"public_url = {_text(deployment.address)}")
    return worker_toml(fleet, deployment, account) + "\n".join(lines) + "\n"


def _text(value: Any) -> str:
    """A string or a list of them; in JSON they look as in TOML."""
    return json.dumps(value)


def _queue(deployment: Deployment, account: str, region: str, purpose: str) -> str:
    return f"https://sqs.{region}.amazonaws.com/{account}/{deployment.fleet}-{purpose}"


def digest(*texts: str) -> str:
    """Changes when one of the texts does."""
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:16]
