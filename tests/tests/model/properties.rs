//! What must hold in every state.

use stateright::Property;

use crate::protocol::Protocol;
use crate::publisher::length;
use crate::state::{At, Job, Listing, State, attempt_of};

pub(crate) const NAMES: &str = "playlists name only segments that are there, whole, and committed under a lease";
pub(crate) const MASTER: &str = "the master playlist is complete from the start and never changes";
pub(crate) const WATCH: &str = "the growing playlist only appends";
pub(crate) const SUCCESS: &str = "a job that succeeded can be watched whole";
pub(crate) const EVENT: &str = "there is at most one event of success, and none before it";
pub(crate) const ENDS: &str = "when faults stop every job ends, with its playlists and its event";
pub(crate) const STALE: &str = "a stale attempt changes nothing";
pub(crate) const CANCELLED: &str = "a cancelled job takes no commit and never succeeds";
pub(crate) const COMMITTED: &str = "who holds the lease never encodes a committed segment again";
pub(crate) const WASTE: &str = "a fault costs at most the segment that was in flight";
pub(crate) const ATTEMPTS: &str = "an attempt is lost only to a fault";
pub(crate) const POISON: &str = "a job fails when a chunk lost too many workers, at once and only then";

/// All of them.
pub(crate) fn all() -> Vec<Property<Protocol>> {
    vec![
        Property::always(NAMES, |m: &Protocol, s: &State| {
            let lists = [Some(&s.watch), s.media.as_ref()];
            lists.into_iter().flatten().all(|list| names_only_committed(m, s, list))
        }),
        Property::always(MASTER, |m: &Protocol, s: &State| {
            let whole = |list: Option<Listing>| list.is_some_and(|l| length(&l) == m.segments());
            !s.seen.master_changed && (s.master.is_none() || whole(s.master) && whole(s.media))
        }),
        Property::always(WATCH, |_, s: &State| !s.seen.watch_changed),
        Property::always(SUCCESS, |_, s: &State| s.job != Job::Succeeded || s.master.is_some()),
        Property::always(EVENT, |_, s: &State| s.events <= u8::from(s.job == Job::Succeeded)),
        Property::always(ENDS, ends),
        Property::always(STALE, |_, s: &State| !s.seen.stale_write),
        Property::always(CANCELLED, |_, s: &State| {
            !s.seen.late_commit && (s.job != Job::Succeeded || s.used.cancels <= s.used.retries)
        }),
        Property::always(COMMITTED, |_, s: &State| !s.seen.encoded_again),
        Property::always(WASTE, |m: &Protocol, s: &State| {
            let chunks = u8::try_from(m.chunks(s)).unwrap_or(u8::MAX);
            wasted(s)
                <= s.used.crashes + s.used.expiries + s.used.splits + s.used.cancels * chunks + failures(s) * chunks
        }),
        Property::always(ATTEMPTS, |m: &Protocol, s: &State| {
            let used = &s.used;
            let faults = used.crashes + used.expiries + used.drains + used.splits;
            let bumps = faults + used.cancels + used.retries + failures(s);
            s.chunks.iter().take(m.chunks(s)).all(|c| c.attempt <= 1 + bumps)
        }),
        Property::always(POISON, |m: &Protocol, s: &State| {
            let enough = s.used.crashes + s.used.expiries >= m.limits.deaths;
            !s.seen.poison_claimed && (s.job != Job::Failed || enough)
        }),
    ]
}

fn names_only_committed(protocol: &Protocol, state: &State, list: &Listing) -> bool {
    list.iter().enumerate().filter(|(_, entry)| **entry != 0).all(|(s, entry)| {
        let (row, slot) = (state.rows[s], usize::from(entry - 1));
        row != 0 && !state.unheld[s] && protocol.slot(attempt_of(row)) == slot && state.objects[s][slot] == row
    })
}

/// A job that did not end has something that moves it on, other than a fault. Together with the fact that no sequence of
/// steps comes back to where it was, this means that it ends.
fn ends(protocol: &Protocol, state: &State) -> bool {
    let settled = match state.job {
        Job::Succeeded => state.master.is_some() && state.events > 0,
        Job::Failed | Job::Cancelled => true,
        Job::Running | Job::Publishing => false,
    };
    settled || {
        let mut steps = Vec::new();
        protocol.progress(state, &mut steps);
        !steps.is_empty()
    }
}

/// How often the job has failed, at most.
fn failures(state: &State) -> u8 {
    state.used.retries + u8::from(state.job == Job::Failed)
}

/// Segments that were encoded in vain.
fn wasted(state: &State) -> u8 {
    let is_busy = |at| matches!(at, At::Encoding | At::HalfCommitted);
    let busy = state.workers.iter().filter(|w| is_busy(w.at) && state.holds(w)).count();
    let kept = state.rows.iter().filter(|row| **row != 0).count();
    let useful = u8::try_from(busy + kept).unwrap_or(u8::MAX);
    state.encodes.saturating_sub(useful)
}
