//! Reading `fleet.toml`: every problem is found in one run and said in one sentence.

mod table;

use std::sync::Arc;

use toml::Table;

use self::table::Reader;
use super::{BootTime, Catalogue, Fleet, Pool, PoolId, PurchaseOption, Quota, Region};
use crate::money::MicroDollars;
use crate::policy::Policy;

/// Boot times of pools that give none: assumed from reports of GPU instances on ECS and EKS, to be replaced by what the
/// fleet measures.
const BOOT: BootTime = BootTime { median_s: 330.0, p90_s: 540.0 };

/// Price of a gigabyte between regions when a region gives none, US dollars.
const TRANSFER_USD_PER_GB: f64 = 0.02;

/// Everything that is wrong with a `fleet.toml`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct FleetProblems(pub Vec<String>);

pub(super) fn parse(text: &str, catalogue: &Catalogue) -> Result<Fleet, FleetProblems> {
    let root: Table = match text.parse() {
        Ok(root) => root,
        Err(error) => return Err(FleetProblems(vec![format!("the file is not TOML: {}", error.to_string().trim())])),
    };
    let mut problems = Vec::new();
    let mut reader = Reader::new(String::new(), &root, &mut problems);
    let regions = reader.tables("region");
    let pools = reader.tables("pool");
    let policy = reader.table("policy");
    reader.finish();

    let regions = regions.into_iter().enumerate().map(|(i, t)| region(i, t, catalogue, &mut problems)).collect();
    let mut fleet = Fleet { regions, pools: Vec::new(), policy: Policy::default() };
    for (i, table) in pools.into_iter().enumerate() {
        if let Some(pool) = pool(i, table, &fleet.regions, catalogue, &mut problems) {
            fleet.pools.push(Arc::new(pool));
        }
    }
    if let Some(table) = policy {
        fleet.policy = read_policy(table, &mut problems);
    }
    whole(&fleet, &mut problems);
    if problems.is_empty() { Ok(fleet) } else { Err(FleetProblems(problems)) }
}

fn region(i: usize, table: &Table, catalogue: &Catalogue, problems: &mut Vec<String>) -> Region {
    let name = table.get("name").and_then(|n| n.as_str()).map_or_else(|| format!("number {}", i + 1), str::to_owned);
    let mut reader = Reader::new(format!("region {name}"), table, problems);
    let known = reader.text("name").unwrap_or_default();
    let subnets = reader.texts("subnets");
    let transfer = reader.number("transfer_usd_per_gb", 0.0..=10.0).unwrap_or(TRANSFER_USD_PER_GB);
    let quotas = reader.tables("quota");
    if !known.is_empty() && !catalogue.knows_region(&known) {
        reader.problem("no GPU instance type of the catalogue is sold there");
    }
    reader.finish();
    let quotas = quotas.into_iter().filter_map(|t| quota(&name, t, problems)).collect::<Vec<_>>();
    for (i, quota) in quotas.iter().enumerate() {
        if quotas[..i].iter().any(|q| q.family == quota.family && q.option == quota.option) {
            problems.push(format!("region {name}: the {} quota of {} is given twice", quota.option, quota.family));
        }
    }
    Region {
        name: known.as_str().into(),
        quotas,
        subnets,
        transfer_per_gb: MicroDollars::from_usd(transfer).unwrap_or_default(),
    }
}

fn quota(region: &str, table: &Table, problems: &mut Vec<String>) -> Option<Quota> {
    let mut reader = Reader::new(format!("quota of region {region}"), table, problems);
    let family = reader.required_text("family");
    let option = reader.option("option");
    let vcpu = reader.required_whole("vcpu", 0..=1_000_000);
    reader.finish();
    Some(Quota { family: family?, option: option?, vcpu: vcpu? })
}

fn pool(
    i: usize,
    table: &Table,
    regions: &[Region],
    catalogue: &Catalogue,
    problems: &mut Vec<String>,
) -> Option<Pool> {
    let word = |key: &str| table.get(key).and_then(|v| v.as_str());
    let title = match (word("region"), word("instance_type"), word("option")) {
        (Some(region), Some(kind), Some(option)) => format!("pool {region}/{kind}/{option}"),
        _ => format!("pool number {}", i + 1),
    };
    let mut reader = Reader::new(title, table, problems);
    let region = reader.required_text("region");
    let instance_type = reader.required_text("instance_type");
    let option = reader.option("option");
    let vcpu = reader.whole("vcpu", 1..=1024);
    let price = reader.number("price_usd_per_hour", 0.0..=1000.0);
    let rate = reader.number("encode_rate", 0.001..=10_000.0);
    let slots = reader.whole("slots", 1..=256);
    let most = reader.whole("max_instances", 0..=100_000);
    let subnets = reader.texts("subnets");
    let boot = reader.table("boot");
    let (region, instance_type, option) = (region?, instance_type?, option?);

    let known = regions.iter().find(|r| r.name.as_str() == region);
    if known.is_none() {
        reader.problem(&format!("there is no region {region:?} in this file"));
    }
    let Some(kind) = catalogue.find(&instance_type) else {
        let names: Vec<&str> = catalogue.types.iter().map(|t| t.name.as_str()).collect();
        reader.problem(&format!("the catalogue has no type {instance_type:?}; it has {}", names.join(", ")));
        reader.finish();
        return None;
    };
    if !kind.is_sold_in(&region) && catalogue.knows_region(&region) {
        reader.problem(&format!("{instance_type} is not sold in {region}"));
    }
    if let Some(vcpu) = vcpu
        && vcpu != kind.vcpu
    {
        reader.problem(&format!("{instance_type} has {} vCPU, not {vcpu}", kind.vcpu));
    }
    let price = price.or_else(|| kind.price(&region, option));
    if price.is_none() && !reader.has("price_usd_per_hour") {
        reader.problem(&format!("the catalogue has no price of {instance_type} in {region}; give price_usd_per_hour"));
    }
    if let Some(quotas) = known.map(|r| &r.quotas) {
        match quotas.iter().find(|q| q.family == kind.family && q.option == option) {
            None => reader.problem(&format!("region {region} gives no {option} quota of family {}", kind.family)),
            Some(q) if q.vcpu < kind.vcpu && most != Some(0) => reader.problem(&format!(
                "one {instance_type} needs {} vCPU and the {option} quota of {region} is {}; raise it or set max_instances = 0",
                kind.vcpu, q.vcpu
            )),
            Some(_) => {}
        }
    }
    reader.finish();
    let boot = boot.map_or(BOOT, |t| read_boot(&format!("boot of pool {region}/{instance_type}"), t, problems));
    Some(Pool {
        id: PoolId::from(format!("{region}/{instance_type}/{}", option.as_str()).as_str()),
        region: region.as_str().into(),
        option,
        family: kind.family.clone(),
        vcpu: kind.vcpu,
        price_per_hour: MicroDollars::from_usd(price.unwrap_or(0.0)).unwrap_or_default(),
        encode_rate: rate.unwrap_or(kind.encode_rate),
        slots: slots.unwrap_or(kind.slots),
        boot,
        max_instances: most.unwrap_or(u32::MAX),
        subnets,
        instance_type,
    })
}

fn read_boot(title: &str, table: &Table, problems: &mut Vec<String>) -> BootTime {
    let mut reader = Reader::new(title.to_owned(), table, problems);
    let median_s = reader.number("median_s", 0.0..=7200.0).unwrap_or(BOOT.median_s);
    let p90_s = reader.number("p90_s", 0.0..=7200.0).unwrap_or_else(|| median_s.max(BOOT.p90_s));
    if p90_s < median_s {
        reader.problem("p90_s is below median_s");
    }
    reader.finish();
    BootTime { median_s, p90_s }
}

fn read_policy(table: &Table, problems: &mut Vec<String>) -> Policy {
    let mut policy = Policy::default();
    match table.get("name").map(|n| n.as_str().unwrap_or_default()) {
        Some(name) => match policy.parsed(name) {
            Ok(named) => policy = named,
            Err(error) => problems.push(error.to_string()),
        },
        None => problems.push("policy: name is missing".to_owned()),
    }
    for (key, value) in table.iter().filter(|(key, _)| *key != "name") {
        let text = match value {
            toml::Value::Integer(n) => n.to_string(),
            toml::Value::Float(x) => x.to_string(),
            other => other.to_string(),
        };
        if let Err(error) = policy.set(key, &text) {
            problems.push(error.to_string());
        }
    }
    policy
}

/// What only shows in the whole file.
fn whole(fleet: &Fleet, problems: &mut Vec<String>) {
    for (i, region) in fleet.regions.iter().enumerate() {
        if fleet.regions[..i].iter().any(|r| r.name == region.name) {
            problems.push(format!("region {} is given twice", region.name));
        }
        if !fleet.pools.iter().any(|p| p.region == region.name) && problems.is_empty() {
            problems.push(format!("region {} has no pool", region.name));
        }
    }
    for (i, pool) in fleet.pools.iter().enumerate() {
        if fleet.pools[..i].iter().any(|p| p.id == pool.id) {
            problems.push(format!("pool {} is given twice", pool.id));
        }
    }
    if fleet.regions.is_empty() {
        problems.push("no [[region]] is given".to_owned());
    }
    let only = match fleet.policy.rule.name() {
        "on_demand_only" => PurchaseOption::OnDemand,
        "spot_only" => PurchaseOption::Spot,
        _ => return,
    };
    for region in &fleet.regions {
        let usable = fleet.pools.iter().any(|p| p.region == region.name && p.option == only && p.max_instances > 0);
        if !usable && problems.is_empty() {
            problems.push(format!(
                "policy {} cannot start anything in {}: it has no {only} pool",
                fleet.policy.rule.name(),
                region.name
            ));
        }
    }
}
