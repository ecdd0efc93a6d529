//! What happens later, in order of time and, at the same time, in the order in which it was arranged.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use crate::moment::Moment;

/// Something that happens. `life` and `turn` tell whether it still concerns who it was arranged for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Event {
    /// A decision is due.
    Decide,
    /// An instance's worker reports.
    Booted { machine: u32, life: u32 },
    /// A slot finished its chunk.
    ChunkDone { machine: u32, life: u32, slot: u8, turn: u32 },
    /// A draining slot finished its segment.
    HandBack { machine: u32, life: u32, slot: u8, turn: u32 },
    /// An instance is taken back although the market is up.
    Reclaimed { machine: u32, life: u32 },
    /// An instance ends.
    Ends { machine: u32, life: u32 },
    /// Launches are known to have failed.
    LaunchFailed { pool: u32, count: u32 },
    /// A spot market changes.
    Market { pool: u32 },
    /// A silent worker's chunk is taken back.
    LeaseEnds { job: u32, chunk: i32 },
    /// A job's playlists are written.
    Published { job: u32 },
}

/// What was arranged.
#[derive(Debug, Default)]
pub(super) struct Events {
    heap: BinaryHeap<Arranged>,
    arranged: u64,
}

/// An event with its place in the order.
#[derive(Clone, Copy, Debug)]
struct Arranged {
    at: Moment,
    number: u64,
    event: Event,
}

impl Arranged {
    /// Time and number as one whole number, which compares in a single step.
    fn key(&self) -> i128 {
        (i128::from(self.at.0) << 64) | i128::from(self.number)
    }
}

/// The first to happen is the greatest: on top of the heap.
impl Ord for Arranged {
    fn cmp(&self, other: &Self) -> Ordering {
        other.key().cmp(&self.key())
    }
}

impl PartialOrd for Arranged {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Arranged {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Arranged {}

impl Events {
    pub(super) fn push(&mut self, at: Moment, event: Event) {
        self.arranged += 1;
        self.heap.push(Arranged { at, number: self.arranged, event });
    }

    pub(super) fn next_at(&self) -> Option<Moment> {
        self.heap.peek().map(|arranged| arranged.at)
    }

    pub(super) fn pop(&mut self) -> Option<Event> {
        self.heap.pop().map(|arranged| arranged.event)
    }
}
