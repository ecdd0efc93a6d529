//! The control logic in virtual time: seeds that keep every promise, planted faults that are found, runs that repeat, and a
//! store in memory that does what Postgres does.

use stories::services::Postgres;
use stories::simulation::campaign::{plant_all, sweep};
use stories::simulation::deviation::Deviation;
use stories::simulation::equivalence::compare;
use stories::simulation::run;

/// Seeds of each run of the tests; `./run simulate-faults --seeds N` runs more.
const SEEDS: u64 = 2_000;

#[test]
fn every_promise_is_kept_under_the_faults_of_two_thousand_seeds() {
    let tally = sweep(1, SEEDS, None, (0, 1), |_| {});
    assert!(tally.broken.is_empty(), "./run simulate-faults --seed S --trace: {:?}", tally.broken);
    assert_eq!(tally.seeds, SEEDS);
    assert!(tally.fewest_faults >= 20, "{}", tally.fewest_faults);
    assert!(tally.jobs["succeeded"] > SEEDS, "{:?}", tally.jobs);
    assert!(tally.relieved > SEEDS / 4, "chunks that seemed slow: {}", tally.relieved);
}

#[test]
fn every_planted_fault_is_found() {
    assert!(Deviation::ALL.len() >= 20);
    let missed: Vec<_> = plant_all(1, 50_000, |_| {}).into_iter().filter(|f| f.after.is_none()).collect();
    assert!(missed.is_empty(), "{missed:?}");
}

#[test]
fn the_same_seed_gives_the_same_run() {
    for seed in 1..40 {
        let (first, second) = (run(seed, None, true), run(seed, None, true));
        assert_eq!(first.digest, second.digest);
        assert!(first.trace == second.trace, "seed {seed}");
        assert_eq!(run(seed, None, false).digest, first.digest, "being watched changes nothing");
    }
}

#[tokio::test]
async fn the_store_in_memory_does_what_postgres_does() {
    for seed in 1..=3 {
        let url = Postgres::shared().create_database();
        if let Err(difference) = compare(&url, seed, 400).await {
            panic!("{difference}");
        }
    }
}
