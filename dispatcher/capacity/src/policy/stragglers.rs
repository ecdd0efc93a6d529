//! Chunks that are far slower than their siblings while others have nothing to do.
//!
//! What follows the segment in work becomes a chunk of its own and goes elsewhere. When nothing follows, and a fresh start
//! elsewhere is done sooner, the chunk itself goes elsewhere: once. Each of both only in a region where a slot is free and
//! nothing waits, so that a straggler takes nobody's turn.

use std::collections::HashMap;

use crate::decide::{Action, Desk, Reason, finite, rate_of};
use crate::view::{Phase, RunningChunk};

/// A chunk is not judged before it has been at work for this long, seconds.
const JUDGED_AFTER_S: f64 = 20.0;
/// A chunk says nothing of its siblings before it has been at work for this long, seconds.
const COMPARED_AFTER_S: f64 = 3.0;
/// With fewer siblings at work than this, a chunk is compared with what its pool should do.
const SIBLINGS: usize = 3;
/// What was split this often is slow because of its content, and stays where it is.
const MOST_SPLITS: u32 = 3;
/// From a decision to the first frame elsewhere, seconds: release, claim, finding the place in the source.
const FRESH_START_S: f64 = 5.0;

/// Where a chunk is at work.
struct Site {
    pool: usize,
    region: usize,
}

/// Relieves chunks that are `slower` times slower than their siblings; 0 for none.
pub(super) fn relieve(desk: &mut Desk<'_>, slower: f64) {
    let view = desk.view();
    if slower <= 0.0 || view.running.is_empty() {
        return;
    }
    let mut sites: HashMap<&str, Site> = HashMap::new();
    let mut taken: HashMap<&str, u32> = HashMap::new();
    for chunk in &view.running {
        *taken.entry(chunk.instance.as_str()).or_default() += 1;
    }
    // Free slots of each region, and which of them are an instance's own.
    let mut free = vec![0_u32; desk.regions.len()];
    let mut own: HashMap<&str, u32> = HashMap::new();
    for (pool, shown) in view.pools.iter().enumerate() {
        let Some(region) = desk.regions.iter().position(|r| r.name == shown.pool.region) else { continue };
        for instance in &shown.instances {
            let id = instance.id.as_str();
            sites.insert(id, Site { pool, region });
            if matches!(instance.phase, Phase::Idle | Phase::Busy) {
                let slots = shown.pool.slots.saturating_sub(taken.get(id).copied().unwrap_or(0));
                free[region] += slots;
                own.insert(id, slots);
            }
        }
    }
    // Seconds for an encode-second so far, beside what a slot of the pool should need.
    let slowness = |chunk: &RunningChunk| {
        let pool = &view.pools[sites.get(chunk.instance.as_str())?.pool].pool;
        let took_s = desk.now.since_s(chunk.since);
        let should_s = rate_of(pool) / f64::from(pool.slots.max(1)) * took_s;
        let done_s = finite(chunk.done_s).max(1e-3 * finite(chunk.total_s));
        (took_s >= COMPARED_AFTER_S && done_s > 0.0 && should_s > 0.0).then(|| should_s / done_s)
    };
    let mut judged: Vec<(f64, &RunningChunk)> =
        view.running.iter().filter_map(|c| slowness(c).map(|s| (s, c))).collect();
    judged.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.job.cmp(&b.1.job)).then(a.1.chunk.cmp(&b.1.chunk)));
    let siblings = judged.get(judged.len() / 2).filter(|_| judged.len() >= SIBLINGS);
    let median = siblings.map_or(1.0, |(s, _)| s.max(1.0));
    let waits: Vec<bool> = desk.regions.iter().map(|r| r.waiting > 0).collect();
    for (slow, slow_chunk) in judged {
        let times = slow / median;
        if times < slower {
            break;
        }
        let took_s = desk.now.since_s(slow_chunk.since);
        let Some(site) = sites.get(slow_chunk.instance.as_str()).filter(|_| took_s >= JUDGED_AFTER_S) else { continue };
        let elsewhere = free[site.region].saturating_sub(own.get(slow_chunk.instance.as_str()).copied().unwrap_or(0));
        if elsewhere == 0 || waits[site.region] {
            continue;
        }
        let (job, chunk, attempt) = (slow_chunk.job, slow_chunk.chunk, slow_chunk.attempt);
        let slow = slow_chunk.instance.clone();
        let is_split = slow_chunk.segments > 1;
        let action = if is_split && slow_chunk.splits < MOST_SPLITS {
            Action::Split { job, chunk, attempt, slow }
        } else if !is_split && !slow_chunk.taken_back && is_worth_a_fresh_start(slow_chunk, took_s, times) {
            Action::TakeBack { job, chunk, attempt, slow }
        } else {
            continue;
        };
        free[site.region] -= 1;
        // Whoever is free stays for it.
        desk.regions[site.region].waiting += 1;
        desk.relieve(action, Reason::Straggler { job, chunk, times, is_split });
    }
}

/// Whether the segment in work, made anew by a sibling, is there before the one who has it is done.
fn is_worth_a_fresh_start(chunk: &RunningChunk, took_s: f64, times: f64) -> bool {
    let (total_s, done_s) = (finite(chunk.total_s), finite(chunk.done_s));
    // Seconds that an encode-second takes here; a sibling does it `times` as fast.
    let pace = took_s / done_s.max(1e-3 * total_s).max(f64::MIN_POSITIVE);
    let left_s = (total_s - done_s).max(0.0) * pace;
    left_s > FRESH_START_S + finite(chunk.segment_s) * pace / times
}
