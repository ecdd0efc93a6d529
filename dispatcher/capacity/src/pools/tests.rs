use super::*;

const EXAMPLE: &str = include_str!("../../../../infra/fleet.toml");

fn problems(text: &str) -> Vec<String> {
    Fleet::parse(text).unwrap_err().0
}

#[test]
fn the_example_file_is_valid_and_takes_prices_from_the_catalogue() {
    let fleet = Fleet::parse(EXAMPLE).unwrap();
    assert_eq!(fleet.regions.len(), 3);
    let pool = fleet.pool(&PoolId::from("us-east-1/g4dn.xlarge/on_demand")).unwrap();
    assert_eq!(pool.price_per_hour, MicroDollars(526_000));
    assert_eq!((pool.vcpu, pool.family.as_str(), pool.slots), (4, "g_and_vt", 1));
    assert_eq!(fleet.policy, Policy::default());
}

#[test]
fn the_catalogue_names_each_type_and_price_once() {
    let catalogue = Catalogue::built_in();
    for (i, kind) in catalogue.types.iter().enumerate() {
        assert!(catalogue.types[..i].iter().all(|t| t.name != kind.name));
        assert!(kind.encode_rate > 0.0 && kind.slots > 0 && kind.vcpu > 0);
        for price in &kind.prices {
            assert!(kind.is_sold_in(&price.region), "{} {}", kind.name, price.region);
            assert!(price.spot < price.on_demand);
        }
    }
}

#[test]
fn every_problem_of_a_file_is_said_at_once() {
    let text = r#"
colour = "red"
[policy]
name = "deadline"
leed = 2
[[region]]
name = "eu-west-1"
quota = [
    { family = "g_and_vt", option = "spot", vcpu = 2 },
    { family = "g_and_vt", option = "spot", vcpu = 8 },
    { family = "g_and_vt", option = "reserved", vcpu = 8 },
]
[[region]]
name = "mars-north-1"
[[pool]]
region = "eu-west-1"
instance_type = "g6.xlarge"
option = "spot"
price_usd_per_hour = "cheap"
[[pool]]
region = "eu-west-1"
instance_type = "g4dn.xlarge"
option = "spot"
vcpu = 8
boot = { median_s = 400, p90_s = 300 }
[[pool]]
region = "us-east-1"
instance_type = "p9.xlarge"
option = "spot"
[[pool]]
instance_type = "g4dn.xlarge"
"#;
    let said = problems(text);
    for expected in [
        "there is no key \"colour\" here; there are region, pool, policy",
        "policy deadline has no parameter \"leed\"",
        "quota of region eu-west-1: option is \"spot\" or \"on_demand\", not \"reserved\"",
        "region eu-west-1: the spot quota of g_and_vt is given twice",
        "region mars-north-1: no GPU instance type of the catalogue is sold there",
        "pool eu-west-1/g6.xlarge/spot: g6.xlarge is not sold in eu-west-1",
        "pool eu-west-1/g6.xlarge/spot: price_usd_per_hour is a number from 0 to 1000",
        "pool eu-west-1/g4dn.xlarge/spot: g4dn.xlarge has 4 vCPU, not 8",
        "one g4dn.xlarge needs 4 vCPU and the spot quota of eu-west-1 is 2",
        "boot of pool eu-west-1/g4dn.xlarge: p90_s is below median_s",
        "pool us-east-1/p9.xlarge/spot: the catalogue has no type \"p9.xlarge\"; it has g4dn.xlarge",
        "pool us-east-1/p9.xlarge/spot: there is no region \"us-east-1\" in this file",
        "pool number 4: region is missing",
        "pool number 4: option is missing",
    ] {
        assert!(said.iter().any(|s| s.contains(expected)), "{expected:?} is not in\n{}", said.join("\n"));
    }
}

#[test]
fn duplicates_and_regions_without_pools_are_refused() {
    let twice =
        format!("{EXAMPLE}\n[[pool]]\nregion = \"eu-west-1\"\ninstance_type = \"g4dn.xlarge\"\noption = \"spot\"\n");
    assert_eq!(problems(&twice), ["pool eu-west-1/g4dn.xlarge/spot is given twice"]);
    let bare = format!("{EXAMPLE}\n[[region]]\nname = \"eu-central-1\"\n");
    assert_eq!(problems(&bare), ["region eu-central-1 has no pool"]);
    assert_eq!(problems(""), ["no [[region]] is given"]);
    assert!(problems("= 1")[0].starts_with("the file is not TOML"));
}

#[test]
fn a_policy_that_can_start_nothing_in_a_region_is_refused() {
    let text = EXAMPLE.replace("name = \"deadline\"", "name = \"spot_only\"");
    assert!(Fleet::parse(&text).is_ok());
    let first_spot_pool = "[[pool]]\nregion = \"eu-west-1\"\ninstance_type = \"g4dn.xlarge\"\noption = \"spot\"\n";
    assert_eq!(
        problems(&text.replace(first_spot_pool, "")),
        ["policy spot_only cannot start anything in eu-west-1: it has no spot pool"]
    );
}
