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
    /// Whether what is on top of the heap has happened. It stays there until the next is looked at: mostly something else
    /// is arranged before, which then takes its place, and the heap is put in order once instead of twice.
    is_over: bool,
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
        let arranged = Arranged { at, number: self.arranged, event };
        if std::mem::take(&mut self.is_over)
            && let Some(mut top) = self.heap.peek_mut()
        {
            *top = arranged;
            return;
        }
        self.heap.push(arranged);
    }

    pub(super) fn next_at(&mut self) -> Option<Moment> {
        self.tidy();
        self.heap.peek().map(|arranged| arranged.at)
    }

    pub(super) fn pop(&mut self) -> Option<Event> {
        self.tidy();
        let next = self.heap.peek().map(|arranged| arranged.event);
        self.is_over = next.is_some();
        next
    }

    /// Takes what has happened off the heap.
    fn tidy(&mut self) {
        if self.is_over {
            self.heap.pop();
            self.is_over = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_by_time_and_then_as_arranged_whenever_others_are_arranged() {
        let mut events = Events::default();
        let pool = |event| if let Some(Event::Market { pool }) = event { pool } else { u32::MAX };
        for (at, pool) in [(5, 50), (3, 30), (5, 51), (1, 10)] {
            events.push(Moment(at), Event::Market { pool });
        }
        assert_eq!(pool(events.pop()), 10);
        // In the place of what has happened, and beside it.
        events.push(Moment(4), Event::Market { pool: 40 });
        events.push(Moment(3), Event::Market { pool: 31 });
        assert_eq!(events.next_at(), Some(Moment(3)));
        let rest: Vec<u32> = std::iter::from_fn(|| events.pop()).map(|e| pool(Some(e))).collect();
        assert_eq!(rest, [30, 31, 40, 50, 51]);
        assert_eq!(events.next_at(), None);
        events.push(Moment(9), Event::Market { pool: 90 });
        assert_eq!(pool(events.pop()), 90);
        assert!(events.pop().is_none());
    }
}
