//! The fair order in which waiting chunks are released, with the meaning of the SQL in `fleet::store::release`:
//! what the cap of an organisation does not hold back; organisations by what they have at work relative to their weight, within one by deadline, then by place in the match
//! (from the focused minute on first).
//!
//! [`order`] is the specification; [`ReleaseQueue`] gives the same order one chunk at a time, for millions of them.

mod queue;

use std::collections::BTreeMap;

use uuid::Uuid;

pub use queue::{Place, ReleaseQueue};

use crate::moment::Moment;

/// A job that is not done. It belongs here even when none of its chunks waits: the SQL counts it.
#[derive(Clone, Debug, PartialEq)]
pub struct ActiveJob {
    /// Job.
    pub job: Uuid,
    /// Organisation.
    pub organisation: Uuid,
    /// Weight of the organisation, at least 1.
    pub weight: u32,
    /// When it must be ready.
    pub ready_by: Option<Moment>,
    /// When it was handed in.
    pub created: Moment,
    /// Segments from here on come first.
    pub focus_segment: i64,
    /// Whether the cap of its organisation holds it back.
    pub held: bool,
    /// Chunks that may be released.
    pub waiting: Vec<WaitingChunk>,
}

/// A chunk that may be released.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaitingChunk {
    /// Number.
    pub chunk: i32,
    /// Place in the match.
    pub position: i64,
    /// First segment of a chunk of pictures; `None` for the plan and for sound.
    pub first_segment: Option<i64>,
}

/// The key by which chunks of one organisation are ordered; also breaks ties between organisations.
type Key = (Moment, bool, i64, Moment, Uuid, i32);

/// Up to `limit` chunks in fair order, as (job, chunk). `busy` counts the chunks of each organisation that are queued or
/// running.
#[must_use]
pub fn order(active: &[ActiveJob], busy: &BTreeMap<Uuid, u64>, limit: usize) -> Vec<(Uuid, i32)> {
    let active: Vec<&ActiveJob> = active.iter().filter(|job| !job.held).collect();
    let most = (4 * limit).checked_div(active.len()).unwrap_or(0).max(8);
    let mut organisations: BTreeMap<Uuid, (u32, Vec<Key>)> = BTreeMap::new();
    for job in active {
        let mut chunks: Vec<(bool, i64, i32)> = job
            .waiting
            .iter()
            .map(|c| (c.first_segment.is_some_and(|s| s < job.focus_segment), c.position, c.chunk))
            .collect();
        chunks.sort_unstable();
        let keys = &mut organisations.entry(job.organisation).or_insert_with(|| (job.weight.max(1), Vec::new())).1;
        keys.extend(chunks.into_iter().take(most).map(|(behind, position, chunk)| {
            (job.ready_by.unwrap_or(Moment::NEVER), behind, position, job.created, job.job, chunk)
        }));
    }
    let mut all: Vec<(f64, Key)> = Vec::new();
    for (organisation, (weight, mut keys)) in organisations {
        keys.sort_unstable();
        let at_work = busy.get(&organisation).copied().unwrap_or(0);
        all.extend(keys.into_iter().enumerate().map(|(i, key)| (share(at_work, i as u64 + 1, weight), key)));
    }
    all.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    all.into_iter().take(limit).map(|(_, key)| (key.4, key.5)).collect()
}

/// What an organisation has at work with its next `place` chunks, relative to its weight.
fn share(busy: u64, place: u64, weight: u32) -> f64 {
    (busy + place) as f64 / f64::from(weight)
}

#[cfg(test)]
mod tests;
