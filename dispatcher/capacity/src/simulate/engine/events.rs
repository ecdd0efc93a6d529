//! What happens later, in order of time and, at the same time, in the order in which it was arranged.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::moment::Moment;

/// Something that happens. `life` and `turn` tell whether it still concerns who it was arranged for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
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
    heap: BinaryHeap<Reverse<(Moment, u64, Event)>>,
    arranged: u64,
}

impl Events {
    pub(super) fn push(&mut self, at: Moment, event: Event) {
        self.arranged += 1;
        self.heap.push(Reverse((at, self.arranged, event)));
    }

    pub(super) fn next_at(&self) -> Option<Moment> {
        self.heap.peek().map(|Reverse((at, ..))| *at)
    }

    pub(super) fn pop(&mut self) -> Option<Event> {
        self.heap.pop().map(|Reverse((.., event))| event)
    }
}
