//! The story of a Saturday: 40 matches are handed in within two hours in three regions, each of which admits 4 vCPU
//! on-demand and 8 vCPU spot.

use super::*;
use crate::money::MicroDollars;
use crate::receipt::csv;
use crate::simulate::arrivals;

fn saturday(spot: &str, seed: u64) -> Outcome {
    let fleet = fleet(|_| {});
    for region in &fleet.regions {
        let vcpu: Vec<u32> = region.quotas.iter().map(|q| q.vcpu).collect();
        assert_eq!(vcpu, [8, 4], "spot and on-demand of {}", region.name);
    }
    let arrivals = arrivals::parse("saturday:matches=40,ready_h=4", &fleet, seed).unwrap();
    let settings = Settings { receipts: true, ..Settings::default() };
    run(&Scenario { fleet, arrivals, spot: Spot::parse(spot).unwrap(), seed, settings }, &Policy::default())
}

#[test]
fn everything_is_ready_by_its_deadline_and_the_receipts_add_up_to_the_ledger() {
    for (spot, seed) in [("always", 1), ("calm", 2), ("process:hazard=0.3,up_h=20", 3)] {
        let outcome = saturday(spot, seed);
        assert_eq!((outcome.jobs, outcome.missed, outcome.unfinished), (40, 0, 0), "{spot}");
        assert_eq!(outcome.receipts.len(), 40, "{spot}: every job has a receipt");
        assert_adds_up(&outcome);

        // The same from the file that people get, to the millionth.
        let text = csv(&outcome.receipts);
        let micro = |field: &str| -> i64 {
            let (dollars, rest) = field.split_once('.').unwrap();
            dollars.parse::<i64>().unwrap() * 1_000_000 + rest.parse::<i64>().unwrap()
        };
        let sum: i64 = text.lines().skip(1).map(|line| micro(line.rsplit(',').next().unwrap())).sum();
        let ledger: MicroDollars = outcome.pools.values().map(|a| a.cost).sum();
        assert_eq!(MicroDollars(sum) + outcome.unattributed, ledger + outcome.costs.transfer, "{spot}");
    }
}
