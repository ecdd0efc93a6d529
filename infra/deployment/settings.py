"""The two files, read and checked: all problems of a file are named in one run.

fleet.toml belongs to the dispatcher, which checks all of it (`dispatcher pools --fleet FILE`); here only what stacks are
made of is read, and vCPUs come from the dispatcher's own catalogue.
"""

import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

CATALOGUE = Path(__file__).resolve().parents[2] / "dispatcher/capacity/src/pools/catalogue.toml"


class SettingsError(Exception):
    """A file cannot be used."""

    def __init__(self, path: Path, problems: list[str]) -> None:
        super().__init__("\n".join(f"{path}: {problem}" for problem in problems))
        self.problems = problems


@dataclass(frozen=True)
class Pool:
    """The unit of capacity and of failure."""

    region: str
    instance_type: str
    option: str
    subnets: tuple[str, ...]
    max_instances: int

    @property
    def name(self) -> str:
        """Its id in the dispatcher."""
        return f"{self.region}/{self.instance_type}/{self.option}"


@dataclass(frozen=True)
class Fleet:
    """What stacks need of fleet.toml."""

    regions: tuple[str, ...]
    # Pools that may start an instance at all.
    pools: tuple[Pool, ...]


@dataclass(frozen=True)
class Network:
    """A VPC that is there already."""

    vpc: str
    subnets: tuple[str, ...]


@dataclass(frozen=True)
class Deployment:
    """deployment.toml. Defaults are those of the example."""

    home: str
    web_origins: tuple[str, ...]
    fleet: str = "touchline"
    worker_image: str = ""
    dispatcher_image: str = ""
    dispatchers: int = 2
    certificate: str = ""
    address: str = ""
    database_port: int = 5432
    pooler: bool = False
    alarm_email: str = ""
    metrics_cidr: str = ""
    upload_days: int = 7
    source_days: int = 90
    output_days: int = 0
    source_buckets: tuple[str, ...] = ()
    networks: dict[str, Network] = field(default_factory=dict)


def read_fleet(path: Path, catalogue: Path = CATALOGUE) -> Fleet:
    """Pools with as many instances as the region's quota carries."""
    data, problems = _load(path), []
    vcpus = {kind["name"]: (kind["vcpu"], kind["family"]) for kind in _load(catalogue)["type"]}
    regions = {region.get("name", ""): region for region in data.get("region", [])}
    if "" in regions or not regions:
        problems.append("name at least one [[region]]")
    pools = []
    for number, table in enumerate(data.get("pool", []), 1):
        missing = [key for key in ("region", "instance_type", "option") if key not in table]
        if missing:
            problems.append(f"pool number {number}: {', '.join(missing)} missing")
            continue
        region, kind, option = table["region"], table["instance_type"], table["option"]
        if region not in regions:
            problems.append(f"pool number {number}: there is no region {region}")
        elif kind not in vcpus:
            problems.append(f"pool number {number}: the catalogue has no type {kind}")
        elif option not in ("spot", "on_demand"):
            problems.append(f"pool number {number}: option is spot or on_demand, not {option}")
        else:
            most = _quota(regions[region], *vcpus[kind], option)
            most = min(most, table.get("max_instances", most))
            subnets = table.get("subnets") or regions[region].get("subnets") or ()
            if most > 0:
                pools.append(Pool(region, kind, option, tuple(subnets), most))
    if problems:
        raise SettingsError(path, problems)
    return Fleet(tuple(regions), tuple(pools))


def _quota(region: dict[str, Any], vcpu: int, family: str, option: str) -> int:
    quotas = region.get("quota", [])
    return sum(q["vcpu"] for q in quotas if q["family"] == family and q["option"] == option) // vcpu


def read_deployment(path: Path) -> Deployment:
    """The account's own settings; unknown keys are problems."""
    data, problems = _load(path), []
    kinds = Deployment.__dataclass_fields__
    values: dict[str, Any] = {}
    networks = data.pop("network", {})
    for key, value in data.items():
        if key not in kinds or key == "networks":
            problems.append(f"there is no key {key}; there are {', '.join(k for k in kinds if k != 'networks')}")
        elif isinstance(value, list):
            values[key] = tuple(value)
        else:
            values[key] = value
    for key in ("home", "web_origins"):
        if not values.get(key):
            problems.append(f"{key} is missing")
    for key, value in values.items():
        wanted = type(kinds[key].default) if key not in ("home", "web_origins") else {"home": str}.get(key, tuple)
        if type(value) is not wanted:
            problems.append(f"{key} is a {wanted.__name__}, not {value!r}")
    for region, table in networks.items():
        if set(table) != {"vpc", "subnets"} or len(table["subnets"]) < 2:
            problems.append(f"network.{region}: give vpc and at least two subnets, in different zones")
    if problems:
        raise SettingsError(path, problems)
    values["networks"] = {r: Network(t["vpc"], tuple(t["subnets"])) for r, t in networks.items()}
    return Deployment(**values)


def _load(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text())
    except FileNotFoundError:
        raise SettingsError(path, ["there is no such file"]) from None
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(path, [f"is not TOML: {error}"]) from None
