//! Many seeds, on all cores; and every planted fault until it is found.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::thread::available_parallelism;
use std::time::{Duration, Instant};

use super::deviation::Deviation;
use super::faults::Fault;
use super::{Outcome, run};

/// What many runs came to.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Runs.
    pub seeds: u64,
    /// Seeds at which something was broken, and what, in order.
    pub broken: BTreeMap<u64, String>,
    /// Faults that struck the least struck run.
    pub fewest_faults: u32,
    /// How often each fault struck.
    pub faults: BTreeMap<Fault, u64>,
    /// Chunks that were split or taken back because they seemed slow.
    pub relieved: u64,
    /// Jobs, by how they ended.
    pub jobs: BTreeMap<&'static str, u64>,
    /// Things that happened.
    pub steps: u64,
    /// Virtual time, in milliseconds.
    pub virtual_ms: i64,
    /// Real time.
    pub took: Duration,
}

impl Tally {
    fn add(&mut self, outcome: Outcome) {
        let struck: u32 = outcome.faults.values().sum();
        self.fewest_faults = if self.seeds == 0 { struck } else { self.fewest_faults.min(struck) };
        self.seeds += 1;
        self.relieved += u64::from(outcome.relieved);
        self.steps += outcome.steps;
        self.virtual_ms += outcome.virtual_ms;
        for (fault, n) in outcome.faults {
            *self.faults.entry(fault).or_default() += u64::from(n);
        }
        for (state, n) in outcome.jobs {
            *self.jobs.entry(state).or_default() += u64::from(n);
        }
        if let Some(what) = outcome.violation {
            self.broken.insert(outcome.seed, what);
        }
    }
}

/// Runs `seeds` seeds from `first` on with `threads` threads (0: one for each core); ends early after `most_broken` broken
/// ones. `progress` hears of the number of runs that are done.
pub fn sweep(
    first: u64,
    seeds: u64,
    planted: Option<Deviation>,
    (threads, most_broken): (usize, usize),
    progress: impl Fn(u64) + Sync,
) -> Tally {
    let started = Instant::now();
    let (next, done, stop) = (AtomicU64::new(0), AtomicU64::new(0), AtomicBool::new(false));
    let tally = Mutex::new(Tally::default());
    let threads = if threads == 0 { available_parallelism().map_or(1, usize::from) } else { threads };
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while !stop.load(Relaxed) {
                    let number = next.fetch_add(1, Relaxed);
                    if number >= seeds {
                        return;
                    }
                    let outcome = run(first + number, planted, false);
                    let mut tally = tally.lock().unwrap_or_else(PoisonError::into_inner);
                    tally.add(outcome);
                    if tally.broken.len() >= most_broken {
                        stop.store(true, Relaxed);
                    }
                    drop(tally);
                    progress(done.fetch_add(1, Relaxed) + 1);
                }
            });
        }
    });
    let mut tally = tally.into_inner().unwrap_or_else(PoisonError::into_inner);
    tally.took = started.elapsed();
    tally
}

/// How a planted fault was found.
#[derive(Clone, Debug)]
pub struct Found {
    /// Which.
    pub planted: Deviation,
    /// Number of seeds that it took, and what was broken; `None` when it was not found.
    pub after: Option<(u64, String)>,
}

/// Plants every fault, and runs seeds from `first` on, `most` at most, until it is found.
pub fn plant_all(first: u64, most: u64, progress: impl Fn(&Found) + Sync) -> Vec<Found> {
    let find = |planted: Deviation| {
        let mut outcomes = (first..first + most).map(|seed| run(seed, Some(planted), false).violation);
        let after = outcomes.by_ref().zip(1..).find_map(|(violation, n)| Some((n, violation?)));
        let found = Found { planted, after };
        progress(&found);
        found
    };
    let next = AtomicU64::new(0);
    let found = Mutex::new(BTreeMap::new());
    std::thread::scope(|scope| {
        for _ in 0..available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some(planted) = usize::try_from(next.fetch_add(1, Relaxed))
                    .ok()
                    .and_then(|n| Deviation::ALL.get(n).map(|d| (n, *d)))
                {
                    let one = find(planted.1);
                    found.lock().unwrap_or_else(PoisonError::into_inner).insert(planted.0, one);
                }
            });
        }
    });
    found.into_inner().unwrap_or_else(PoisonError::into_inner).into_values().collect()
}
