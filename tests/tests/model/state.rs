//! What there is: rows, messages, objects, and how far each process got.

use crate::design::Faults;

pub(crate) const CHUNKS: usize = 2;
pub(crate) const SEGMENTS: usize = 4;
pub(crate) const WORKERS: usize = 3;
pub(crate) const PUBLISHERS: usize = 2;
/// Attempts of a chunk at most, by the limits of the worlds that are checked.
pub(crate) const ATTEMPTS: usize = 9;
/// Messages at once at most.
pub(crate) const MESSAGES: usize = 8;

/// State of the job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Job {
    Running,
    Publishing,
    Succeeded,
    Failed,
    Cancelled,
}

impl Job {
    pub(crate) fn is_final(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Cancelled)
    }
}

/// State of a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Stage {
    Waiting,
    Queued,
    Running,
    Done,
    Ended,
}

/// Row of a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Chunk {
    pub(crate) stage: Stage,
    pub(crate) attempt: u8,
    /// Which claim of this attempt holds the lease; stands for the worker's id, which no two claims share.
    pub(crate) holder: u8,
    /// Claims of this attempt so far.
    pub(crate) claims: u8,
    /// Workers lost since a segment was last committed.
    pub(crate) deaths: u8,
    /// Its first segment, and the one after its last.
    pub(crate) first: u8,
    pub(crate) end: u8,
    /// The message went out, the release's transaction did not commit yet (a flawed design only).
    pub(crate) announced: bool,
}

/// Who made a segment: attempt and claim in one number; 0 is nobody.
pub(crate) type Writer = u8;

pub(crate) fn writer(attempt: u8, claim: u8) -> Writer {
    attempt * 8 + claim
}

pub(crate) fn attempt_of(writer: Writer) -> u8 {
    writer / 8
}

/// Entries of a playlist: for each segment the slot of its key, from 1; 0 is not listed.
pub(crate) type Listing = [u8; SEGMENTS];

/// A message or an outbox row: chunk and attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Message {
    pub(crate) chunk: u8,
    pub(crate) attempt: u8,
    /// Outbox only: the relay did the first of its two steps.
    pub(crate) relayed: bool,
}

/// A small bag of messages, kept sorted: their order means nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Bag([Option<Message>; MESSAGES]);

impl Bag {
    pub(crate) fn put(&mut self, message: Message) {
        let free = self.0.iter_mut().find(|m| m.is_none());
        *free.expect("the limits keep the number of messages small") = Some(message);
        self.0.sort_unstable();
    }

    pub(crate) fn take(&mut self, message: Message) {
        if let Some(found) = self.0.iter_mut().find(|m| **m == Some(message)) {
            *found = None;
            self.0.sort_unstable();
        }
    }

    /// Different messages.
    pub(crate) fn distinct(&self) -> impl Iterator<Item = Message> {
        let all = self.0;
        (0..MESSAGES).filter(move |i| *i == 0 || all[*i] != all[*i - 1]).filter_map(move |i| all[i])
    }

    pub(crate) fn tells_of(&self, chunk: usize, attempt: u8) -> bool {
        self.0.iter().flatten().any(|m| usize::from(m.chunk) == chunk && m.attempt == attempt)
    }
}

/// How far a worker got.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum At {
    Idle,
    /// It has a message and did not claim yet.
    Received,
    /// Between two segments.
    Border,
    /// Encodes the next segment.
    Encoding,
    /// Did the first of the two writes of the segment.
    HalfCommitted,
    /// Completed the last chunk, and has the event to send (a flawed design only).
    Telling,
    /// Completed its chunk; the message is to be deleted.
    Deleting,
}

/// A worker. A worker that died is replaced by a fresh one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Worker {
    pub(crate) at: At,
    pub(crate) chunk: u8,
    pub(crate) attempt: u8,
    pub(crate) claim: u8,
    /// Next segment.
    pub(crate) next: u8,
    /// Where its chunk ends, as far as it knows.
    pub(crate) end: u8,
    /// Whether the message is still its own.
    pub(crate) receipt: bool,
}

impl Worker {
    pub(crate) const IDLE: Self =
        Self { at: At::Idle, chunk: 0, attempt: 0, claim: 0, next: 0, end: 0, receipt: false };
}

/// What a publisher does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Step {
    Idle,
    /// Write the growing playlist that was made.
    Grow,
    /// Write the media playlist.
    Media,
    /// Write the growing playlist's end.
    End,
    /// Write the master playlist.
    Master,
    /// Record success.
    Success,
    /// Record the event (a flawed design only).
    Event,
}

/// A publisher. One that died is replaced by a fresh one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Publisher {
    pub(crate) step: Step,
    /// The growing playlist as it was read; stands for its version.
    pub(crate) read: Listing,
    /// The entries to be written.
    pub(crate) entries: Listing,
}

impl Publisher {
    pub(crate) const IDLE: Self = Self { step: Step::Idle, read: [0; SEGMENTS], entries: [0; SEGMENTS] };
}

/// What must never happen, noted in the step that does it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Seen {
    /// An attempt that was not the chunk's own changed a row, or overwrote an object.
    pub(crate) stale_write: bool,
    /// A segment was committed in a cancelled job.
    pub(crate) late_commit: bool,
    /// An entry of the growing playlist went away or changed.
    pub(crate) watch_changed: bool,
    /// The master playlist changed.
    pub(crate) master_changed: bool,
    /// A segment was encoded that was committed already.
    pub(crate) encoded_again: bool,
    /// A chunk was claimed that had lost too many workers.
    pub(crate) poison_claimed: bool,
}

/// Everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct State {
    pub(crate) job: Job,
    pub(crate) chunks: [Chunk; CHUNKS],
    /// Rows of segments: who committed.
    pub(crate) rows: [Writer; SEGMENTS],
    /// Rows of segments that were committed by an attempt that did not hold the lease.
    pub(crate) unheld: [bool; SEGMENTS],
    /// Objects of segments, by slot of their key: whose bytes.
    pub(crate) objects: [[Writer; ATTEMPTS]; SEGMENTS],
    pub(crate) outbox: Bag,
    pub(crate) queue: Bag,
    pub(crate) workers: [Worker; WORKERS],
    pub(crate) publishers: [Publisher; PUBLISHERS],
    pub(crate) watch: Listing,
    pub(crate) watch_ended: bool,
    pub(crate) media: Option<Listing>,
    pub(crate) master: Option<Listing>,
    /// Events of success.
    pub(crate) events: u8,
    /// What a sweep decided: the rows to keep, or the objects to delete.
    pub(crate) sweep: Option<[[bool; ATTEMPTS]; SEGMENTS]>,
    /// It will delete the master playlist (a flawed design only).
    pub(crate) sweep_takes_master: bool,
    pub(crate) used: Faults,
    /// Segments whose encoding was begun.
    pub(crate) encodes: u8,
    pub(crate) seen: Seen,
}

impl State {
    /// Whether a worker's claim is the one that may write.
    pub(crate) fn holds(&self, worker: &Worker) -> bool {
        let chunk = &self.chunks[usize::from(worker.chunk)];
        chunk.stage == Stage::Running && chunk.attempt == worker.attempt && chunk.holder == worker.claim
    }

    /// Whether the segment that a worker works on is one of its chunk's.
    pub(crate) fn owns(&self, worker: &Worker) -> bool {
        self.holds(worker) && worker.next < self.chunks[usize::from(worker.chunk)].end
    }

    /// Segments of a chunk.
    pub(crate) fn range(&self, chunk: usize) -> std::ops::Range<usize> {
        usize::from(self.chunks[chunk].first)..usize::from(self.chunks[chunk].end)
    }

    /// Processes of a kind are alike: which is which does not matter. Idle ones come last.
    pub(crate) fn in_order(mut self) -> Self {
        self.workers.sort_unstable_by(|a, b| b.cmp(a));
        self.publishers.sort_unstable_by(|a, b| b.cmp(a));
        self
    }
}
