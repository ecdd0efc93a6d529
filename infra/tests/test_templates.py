"""Rules of our own on the templates, beside cfn-lint's."""

import unittest
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cfnlint.decode import cfn_yaml

INFRA = Path(__file__).resolve().parent.parent
TEMPLATES = sorted(INFRA.glob("*.yaml"))

# Actions for which AWS knows no resources, by the Service Authorization Reference; no other may be allowed on "*".
WITHOUT_RESOURCES = {
    "autoscaling:DescribeAutoScalingGroups",
    "autoscaling:DescribeScalingActivities",
    "ecr:GetAuthorizationToken",
    "ecs:DiscoverPollEndpoint",
}


def resources(template: Path) -> dict[str, Any]:
    return cfn_yaml.load(str(template))["Resources"]


def statements(template: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every statement of a policy, with a name to find it by; trust policies have no resources and are left out."""
    for name, resource in resources(template).items():
        properties = resource.get("Properties", {})
        documents = [policy["PolicyDocument"] for policy in properties.get("Policies", [])]
        if "PolicyDocument" in properties:
            documents.append(properties["PolicyDocument"])
        for document in documents:
            for number, statement in enumerate(document["Statement"]):
                yield f"{template.name} {name} {statement.get('Sid', number)}", statement


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def text(resource: Any) -> str:
    """An ARN with its placeholders; what is not text names a resource of the template."""
    if isinstance(resource, str):
        return resource
    sub = resource.get("Fn::Sub") if isinstance(resource, dict) else None
    return sub if isinstance(sub, str) else "of this template"


class Templates(unittest.TestCase):
    def test_there_are_templates(self) -> None:
        self.assertGreaterEqual(len(TEMPLATES), 4)
        self.assertGreater(sum(1 for t in TEMPLATES for _ in statements(t)), 15)

    def test_every_statement_names_its_resources(self) -> None:
        for template in TEMPLATES:
            for where, statement in statements(template):
                with self.subTest(where):
                    self.assertNotIn("NotAction", statement)
                    self.assertNotIn("NotResource", statement)
                    named = [text(r) for r in as_list(statement["Resource"])]
                    actions = set(as_list(statement["Action"]))
                    if named == ["*"]:
                        self.assertLessEqual(actions, WITHOUT_RESOURCES)
                    for arn in named:
                        if arn.startswith("arn:"):
                            # Nothing of the account as a whole: the last part names something.
                            self.assertNotRegex(arn, r":\*$")
                            self.assertRegex(arn.rsplit(":", 1)[-1], r"[A-Za-z$]")

    def test_nothing_is_allowed_with_a_wildcard_action(self) -> None:
        for template in TEMPLATES:
            for where, statement in statements(template):
                with self.subTest(where):
                    if statement["Effect"] == "Allow":
                        self.assertFalse([a for a in as_list(statement["Action"]) if "*" in a])

    def test_roles_are_assumed_by_services_alone(self) -> None:
        for template in TEMPLATES:
            for name, resource in resources(template).items():
                if resource["Type"] != "AWS::IAM::Role":
                    continue
                for statement in resource["Properties"]["AssumeRolePolicyDocument"]["Statement"]:
                    with self.subTest(f"{template.name} {name}"):
                        self.assertEqual(list(statement["Principal"]), ["Service"])

    def test_buckets_and_queues_take_no_plain_http(self) -> None:
        for template in TEMPLATES:
            found = resources(template)
            guarded = set()
            for resource in found.values():
                if resource["Type"] in ("AWS::S3::BucketPolicy", "AWS::SQS::QueuePolicy"):
                    denies = [s for s in resource["Properties"]["PolicyDocument"]["Statement"] if s["Effect"] == "Deny"]
                    self.assertTrue(denies)
                    properties = resource["Properties"]
                    refs = as_list(properties.get("Bucket") or properties["Queues"])
                    guarded |= {ref["Ref"] for ref in refs}
            wanted = {n for n, r in found.items() if r["Type"] in ("AWS::S3::Bucket", "AWS::SQS::Queue")}
            self.assertEqual(wanted, guarded, template.name)

    def test_buckets_are_private_encrypted_and_clean_up(self) -> None:
        for name, bucket in resources(INFRA / "storage.yaml").items():
            if bucket["Type"] != "AWS::S3::Bucket":
                continue
            with self.subTest(name):
                properties = bucket["Properties"]
                self.assertTrue(all(properties["PublicAccessBlockConfiguration"].values()))
                self.assertEqual(len(properties["PublicAccessBlockConfiguration"]), 4)
                self.assertIn("BucketEncryption", properties)
                rules = properties["LifecycleConfiguration"]["Rules"]
                self.assertTrue([r for r in rules if "AbortIncompleteMultipartUpload" in r])
                self.assertEqual(bucket["DeletionPolicy"], "Retain")

    def test_groups_are_the_dispatchers_alone(self) -> None:
        found = resources(INFRA / "pool.yaml")
        group = found["Group"]["Properties"]
        self.assertEqual(group["MinSize"], "0")
        # A count in the template would undo the dispatcher's with every deployment.
        self.assertNotIn("DesiredCapacity", group)
        self.assertTrue(group["NewInstancesProtectedFromScaleIn"])
        self.assertFalse(group["CapacityRebalance"])
        types = {r["Type"] for t in TEMPLATES for r in resources(t).values()}
        self.assertFalse({t for t in types if "ScalingPolicy" in t or "CapacityProvider" in t})

    def test_containers_can_do_little(self) -> None:
        tasks = [r for t in TEMPLATES for r in resources(t).values() if r["Type"] == "AWS::ECS::TaskDefinition"]
        self.assertEqual(len(tasks), 2)
        for task in tasks:
            for container in task["Properties"]["ContainerDefinitions"]:
                self.assertTrue(container["ReadonlyRootFilesystem"])
                self.assertEqual(container["LinuxParameters"]["Capabilities"]["Drop"], ["ALL"])
                self.assertEqual(container["User"], "10001:10001")
                self.assertNotIn("TOUCHLINE_DATABASE_URL", [e["Name"] for e in container["Environment"]])

    def test_logs_do_not_pile_up(self) -> None:
        groups = [r for t in TEMPLATES for r in resources(t).values() if r["Type"] == "AWS::Logs::LogGroup"]
        self.assertEqual(len(groups), 2)
        self.assertTrue(all("RetentionInDays" in g["Properties"] for g in groups))
