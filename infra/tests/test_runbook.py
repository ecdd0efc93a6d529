"""Alarms, dashboards and docs/OPERATING.md tell of the same things."""

import json
import re
import unittest
from pathlib import Path

import yaml
from cfnlint.decode import cfn_yaml

INFRA = Path(__file__).resolve().parent.parent
API = INFRA.parent / "dispatcher/src/api"
OPERATING = (INFRA.parent / "docs/OPERATING.md").read_text()


def alarms() -> set[str]:
    names = set()
    for file in sorted((INFRA / "alarms").glob("*.yaml")):
        for group in yaml.safe_load(file.read_text())["groups"]:
            names |= {rule["alert"] for rule in group["rules"]}
    for template in INFRA.glob("*.yaml"):
        for resource in cfn_yaml.load(str(template))["Resources"].values():
            if resource["Type"] == "AWS::CloudWatch::Alarm":
                # `${Fleet}-dead-letters` is `…-dead-letters` in the table: the beginning is the fleet's or pool's name.
                names.add(re.sub(r"^\$\{\w+\}", "…", resource["Properties"]["AlarmName"]["Fn::Sub"]))
    return names


def section(title: str) -> str:
    found = re.search(rf"^#+ {title}$(.*?)(?=^#+ |\Z)", OPERATING, re.MULTILINE | re.DOTALL)
    assert found, f"docs/OPERATING.md has no section {title}"
    return found[1]


def first_column(text: str) -> set[str]:
    rows = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `")]
    return {name for row in rows for name in re.findall(r"`([^`]+)`", row)}


def expressions() -> list[str]:
    found = []
    for file in sorted((INFRA / "alarms").glob("*.yaml")):
        for group in yaml.safe_load(file.read_text())["groups"]:
            found += [rule["expr"] for rule in group["rules"]]
    for file in sorted((INFRA / "dashboards").glob("*.json")):
        board = json.loads(file.read_text())
        found += [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    return found


class Runbook(unittest.TestCase):
    def test_each_alarm_has_its_line_and_each_line_its_alarm(self) -> None:
        self.assertEqual(alarms(), first_column(section("Alarms")))

    def test_alarms_and_dashboards_use_metrics_that_are_documented(self) -> None:
        documented = set()
        for title in (r"Metrics of a worker.*?", r"Metrics of a dispatcher.*?"):
            last = ""
            for name in re.findall(r"`(\w+)(?:\{[^`]*\})?`", section(title)):
                # `touchline_worker_slots`, `_busy`: the second has the beginning of the first.
                last = name if not name.startswith("_") else last
                beginning = "touchline_worker" if "worker" in last else "touchline"
                documented.add(f"{beginning}{name}" if name.startswith("_") else name)
        used = {name for text in expressions() for name in re.findall(r"\btouchline_\w+", text)}
        self.assertLessEqual(used, documented)

    def test_documented_metrics_of_a_dispatcher_are_those_that_it_tells(self) -> None:
        sources = [API / "metrics.rs", *sorted((API / "metrics").glob("*.rs"))]
        told = {n for s in sources for n in re.findall(r'registry(?:\.register\(|, )"(\w+)", "', s.read_text())}
        documented = set(re.findall(r"`touchline_(\w+)(?:\{[^`]*\})?`", section(r"Metrics of a dispatcher.*?")))
        self.assertEqual(documented, told)

    def test_dashboards_have_no_address_of_their_own(self) -> None:
        for file in (INFRA / "dashboards").glob("*.json"):
            board = json.loads(file.read_text())
            self.assertEqual(board["uid"], f"touchline-{file.stem}")
            ids = [panel["id"] for panel in board["panels"]]
            self.assertEqual(len(ids), len(set(ids)))
            for panel in board["panels"]:
                self.assertEqual(panel["datasource"]["uid"], "${datasource}")
