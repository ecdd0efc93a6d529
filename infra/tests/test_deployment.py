"""The two files, and the stacks that follow from them."""

import tempfile
import tomllib
import unittest
from pathlib import Path

from cfnlint.decode import cfn_yaml
from deployment.configuration import digest, dispatcher_toml, worker_toml
from deployment.settings import Deployment, Fleet, Pool, SettingsError, read_deployment, read_fleet
from deployment.stacks import Output, group_name, plan, pool_stack_name

INFRA = Path(__file__).resolve().parent.parent
DEPLOYMENT = Deployment(home="eu-west-1", web_origins=("https://matches.example.org",))


def written(text: str) -> Path:
    file = tempfile.NamedTemporaryFile("w", suffix=".toml", delete=False)
    with file:
        file.write(text)
    path = Path(file.name)
    unittest.addModuleCleanup(path.unlink)
    return path


class Files(unittest.TestCase):
    def test_the_examples_can_be_read(self) -> None:
        fleet = read_fleet(INFRA / "fleet.toml")
        self.assertTrue(fleet.pools)
        deployment = read_deployment(INFRA / "deployment.example.toml")
        self.assertIn(deployment.home, fleet.regions)

    def test_a_pool_has_as_many_instances_as_its_quota_carries(self) -> None:
        text = """
            [[region]]
            name = "eu-west-1"
            quota = [{ family = "g_and_vt", option = "spot", vcpu = 11 },
                     { family = "g_and_vt", option = "on_demand", vcpu = 4 }]
            [[pool]]
            region = "eu-west-1"
            instance_type = "g4dn.xlarge"
            option = "spot"
            [[pool]]
            region = "eu-west-1"
            instance_type = "g4dn.2xlarge"
            option = "on_demand"
        """
        pools = read_fleet(written(text)).pools
        # 11 vCPU carry two of 4; 4 vCPU carry none of 8, so there is no such pool to deploy.
        self.assertEqual([(p.name, p.max_instances) for p in pools], [("eu-west-1/g4dn.xlarge/spot", 2)])

    def test_a_large_quota_is_carried_whole_unless_the_pool_says_less(self) -> None:
        pool = '[[pool]]\nregion = "eu-west-1"\ninstance_type = "g4dn.xlarge"\noption = "spot"\n'
        quota = '{ family = "g_and_vt", option = "spot", vcpu = 8000 }'
        text = f'[[region]]\nname = "eu-west-1"\nquota = [{quota}]\n{pool}'
        # The dispatcher asks for as many as its ledger admits; a group that allows fewer would refuse.
        self.assertEqual(read_fleet(written(text)).pools[0].max_instances, 2000)
        self.assertEqual(read_fleet(written(text + "max_instances = 30\n")).pools[0].max_instances, 30)

    def test_all_problems_of_a_file_are_named_at_once(self) -> None:
        with self.assertRaises(SettingsError) as caught:
            read_deployment(written("colour = 1\nhome = 5\nweb_origins = []\n[network.x]\nvpc = 'v'\n"))
        self.assertEqual(len(caught.exception.problems), 4, caught.exception)
        with self.assertRaises(SettingsError) as caught:
            read_fleet(written("[[region]]\nname = 'r'\n[[pool]]\n[[pool]]\nregion='q'\ninstance_type='t'\noption='spot'\n"))
        self.assertEqual(len(caught.exception.problems), 2, caught.exception)

    def test_a_missing_file_is_a_sentence(self) -> None:
        with self.assertRaisesRegex(SettingsError, "there is no such file"):
            read_deployment(Path("/nonexistent/deployment.toml"))


class Stacks(unittest.TestCase):
    def setUp(self) -> None:
        self.fleet = read_fleet(INFRA / "fleet.toml")
        self.stacks = plan(self.fleet, DEPLOYMENT, "123456789012", "digest")

    def test_every_stack_comes_after_those_whose_values_it_takes(self) -> None:
        seen = set()
        for stack in self.stacks:
            for value in stack.parameters.values():
                if isinstance(value, Output):
                    self.assertIn((stack.region, value.stack), seen)
                    outputs = cfn_yaml.load(str(INFRA / "region.yaml"))["Outputs"]
                    self.assertIn(value.key, outputs)
            self.assertNotIn((stack.region, stack.name), seen)
            seen.add((stack.region, stack.name))

    def test_stacks_give_exactly_the_parameters_of_their_templates(self) -> None:
        for stack in self.stacks:
            known = cfn_yaml.load(str(stack.template_path))["Parameters"]
            with self.subTest(stack.name):
                self.assertLessEqual(set(stack.parameters), set(known))
                needed = {name for name, parameter in known.items() if "Default" not in parameter}
                self.assertLessEqual(needed, set(stack.parameters))

    def test_each_pool_has_a_stack_of_its_own_under_a_name_that_stacks_may_have(self) -> None:
        pools = [s for s in self.stacks if s.template == "pool.yaml"]
        self.assertEqual(len(pools), len(self.fleet.pools))
        for stack in pools:
            self.assertRegex(stack.name, r"^[A-Za-z][A-Za-z0-9-]{1,127}$")
        pool = Pool("eu-west-1", "g4dn.xlarge", "on_demand", (), 1)
        self.assertEqual(pool_stack_name("touchline", pool), "touchline-pool-g4dn-xlarge-on-demand")
        self.assertEqual(group_name("touchline", pool), "touchline-g4dn.xlarge-on_demand")

    def test_the_home_region_has_a_stack_even_without_pools(self) -> None:
        stacks = plan(Fleet(("us-east-1",), ()), DEPLOYMENT, "123456789012", "")
        regions = [s.region for s in stacks if s.template == "region.yaml"]
        self.assertEqual(regions, ["eu-west-1", "us-east-1"])

    def test_names_of_buckets_are_those_of_the_template(self) -> None:
        buckets = cfn_yaml.load(str(INFRA / "storage.yaml"))["Resources"]
        made = {b["Properties"]["BucketName"]["Fn::Sub"] for b in buckets.values() if b["Type"] == "AWS::S3::Bucket"}
        wanted = {"${Fleet}-%s-${AWS::AccountId}-${AWS::Region}" % p for p in ("uploads", "output", "config")}
        self.assertEqual(made, wanted)

    def test_the_configuration_names_the_queues_that_stacks_make(self) -> None:
        config = tomllib.loads(dispatcher_toml(self.fleet, DEPLOYMENT, "123456789012"))
        self.assertEqual([r["name"] for r in config["regions"]], list(self.fleet.regions))
        queues = cfn_yaml.load(str(INFRA / "region.yaml"))["Resources"]
        first = config["regions"][0] | {"events": config["capacity"]["events"][0]}
        for key, resource in (("queue", "WorkQueue"), ("dead_letters", "DeadLetters"), ("events", "EventsQueue")):
            name = queues[resource]["Properties"]["QueueName"]["Fn::Sub"].replace("${Fleet}", "touchline")
            self.assertTrue(first[key].endswith(f".amazonaws.com/123456789012/{name}"))
        worker = tomllib.loads(worker_toml(self.fleet, DEPLOYMENT, "123456789012"))
        self.assertEqual({key: config[key] for key in worker}, worker)
        self.assertEqual(set(config) - set(worker), {"capacity", "api"}, "workers know nothing of either")
        self.assertNotEqual(digest("a", "b"), digest("ab", ""))
