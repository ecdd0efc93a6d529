//! The fleet's control logic in virtual time, on one thread, under faults that a seed decides: workers, dispatchers, the
//! store, queues, objects and what is between them. The same seed gives the same run, step by step.
//!
//! Reading order: `world` and `executor` (the clock, tasks), `network` (calls), `faults`; the servers `memory` (the store),
//! `queue`, `objects`; the processes `worker` and `dispatcher`; `people`; `invariants` (what must hold), [`deviation`]
//! (faults to plant, to see that they are found), [`campaign`] (many seeds), [`equivalence`] (the store against Postgres).
//!
//! Run here as they are: the state machines, routing, the release order, the pace and the replacement of growing playlists,
//! their text, the plan's chunks, leases of a worker, where a chunk goes on, what a failure means, the draining of dead
//! letters, which objects are orphans. SQL and the loops around all this are told again here.

pub mod campaign;
pub mod deviation;
pub mod equivalence;
pub mod faults;

mod dispatcher;
mod executor;
mod film;
mod invariants;
mod memory;
mod network;
mod objects;
mod people;
mod queue;
mod worker;
mod world;

use std::collections::BTreeMap;

use deviation::Deviation;
use faults::Fault;
use memory::Ms;
use world::{OUTSIDE, Sim, World};

/// Age at which no writer of an ended job can be alive, in milliseconds of a simulation.
pub(crate) const NO_WRITER: Ms = 90_000;
/// No run takes longer.
const LATEST: Ms = 2_000_000;

/// A plan in every part, of a film of so many frames at 25 a second.
#[must_use]
pub fn plan_of(frames: u64, heights: &[u32]) -> fleet::plan::JobPlan {
    film::plan(frames, heights, false)
}

/// How one run went.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Decides everything.
    pub seed: u64,
    /// What was broken, if anything was.
    pub violation: Option<String>,
    /// Things that happened.
    pub steps: u64,
    /// Virtual time that passed, in milliseconds.
    pub virtual_ms: i64,
    /// How often each fault struck.
    pub faults: BTreeMap<Fault, u32>,
    /// Chunks that were split or taken back because they seemed slow.
    pub relieved: u32,
    /// Jobs, by how they ended.
    pub jobs: BTreeMap<&'static str, u32>,
    /// Equal for equal runs.
    pub digest: u64,
    /// What happened, line by line, when asked for.
    pub trace: Vec<String>,
}

/// Runs one fleet.
#[must_use]
pub fn run(seed: u64, planted: Option<Deviation>, traced: bool) -> Outcome {
    let mut world = World::new(seed, planted);
    world.trace = traced.then(Vec::new);
    let sim = Sim::new(world);
    let until = people::set_up(&sim);
    sim.spawn(OUTSIDE, faults::drive(sim.clone(), until));
    sim.spawn(OUTSIDE, invariants::judge(sim.clone()));
    let ended = executor::run(&sim, LATEST);
    let mut world = sim.world();
    if !ended {
        let steps = world.steps;
        world.broken(|| format!("it did not come to an end within {steps} steps"));
    }
    let mut jobs = BTreeMap::new();
    for job in world.store.jobs.values() {
        *jobs.entry(job.state.as_str()).or_default() += 1;
    }
    let removed = world.films.keys().filter(|id| !world.store.jobs.contains_key(id)).count();
    if removed > 0 {
        jobs.insert("removed", u32::try_from(removed).unwrap_or(u32::MAX));
    }
    Outcome {
        seed,
        violation: world.watch.verdict().map(str::to_owned),
        steps: world.steps,
        virtual_ms: world.now,
        faults: world.weather.struck.clone(),
        relieved: world.relieved,
        jobs,
        digest: world.digest,
        trace: world.trace.take().unwrap_or_default(),
    }
}
