//! The store of a simulated fleet: what the statements of [`fleet::store`] do, over maps, at a clock that is given.
//!
//! Each function is one statement or one transaction there, under the same name, with the same conditions; steps of jobs
//! and chunks are those of [`fleet::state`]. [`equivalence`](super::equivalence) holds it against Postgres.

mod guard;
mod people;
mod publication;
mod release;
mod rescue;
mod retention;
mod stragglers;
mod work;
mod workers;

use std::collections::BTreeMap;

use fleet::failure::FailureCode;
use fleet::queue::Message;
use fleet::state::{ChunkEvent, ChunkState, JobEvent, JobState};
use fleet::store::work::{NewChunk, Work};
use uuid::Uuid;

use super::deviation::Deviation;

pub(crate) use publication::{LockLost, PublicationLock};
pub(crate) use retention::{RemovedJob, Unswept};
pub(crate) use stragglers::Slow;
pub(crate) use work::{Claimed, PlanRow, Task};

/// Virtual time in milliseconds.
pub(crate) type Ms = i64;

/// Number of the chunk that is the plan.
pub(crate) const PLAN: i32 = 0;

/// All tables.
#[derive(Clone, Debug, Default)]
pub(crate) struct Memory {
    /// The database's clock.
    pub(crate) now: Ms,
    pub(crate) jobs: BTreeMap<Uuid, Job>,
    pub(crate) outbox: BTreeMap<i64, Outgoing>,
    pub(crate) workers: BTreeMap<Uuid, Worker>,
    pub(crate) regions: BTreeMap<String, RegionRow>,
    pub(crate) devices: BTreeMap<String, Device>,
    /// Jobs whose rows are gone: organisation, and since when.
    pub(crate) removed: BTreeMap<Uuid, (Uuid, Ms)>,
    /// Weights.
    pub(crate) organisations: BTreeMap<Uuid, u32>,
    /// The planted fault of this run.
    pub(crate) deviation: Option<Deviation>,
    /// Jobs that changed since somebody looked.
    pub(crate) touched: Vec<Uuid>,
    /// The row of `segments` that was written since somebody looked.
    pub(crate) last_commit: Option<(Uuid, (String, u64))>,
    last_outbox: i64,
}

/// A row of `jobs` with the rows that belong to it.
#[derive(Clone, Debug)]
pub(crate) struct Job {
    pub(crate) organisation: Uuid,
    pub(crate) state: JobState,
    pub(crate) home_region: String,
    pub(crate) focus_segment: i64,
    pub(crate) generation: i32,
    /// The ladder lets the source's packets be copied.
    pub(crate) copies: bool,
    pub(crate) plan: Option<PlanRow>,
    pub(crate) end_frames: Option<i64>,
    pub(crate) damaged: i64,
    pub(crate) watchable_ms: i64,
    pub(crate) failure: Option<FailureCode>,
    pub(crate) created_at: Ms,
    pub(crate) planned_at: Option<Ms>,
    pub(crate) first_playable_at: Option<Ms>,
    pub(crate) finished_at: Option<Ms>,
    /// Types, in order.
    pub(crate) events: Vec<&'static str>,
    pub(crate) usage: u32,
    pub(crate) chunks: BTreeMap<i32, Chunk>,
    pub(crate) renditions: BTreeMap<String, Rendition>,
    pub(crate) segments: BTreeMap<(String, u64), Segment>,
    pub(crate) attempts: BTreeMap<(i32, i32), Attempt>,
    pub(crate) publication: Option<Publication>,
}

/// A row of `chunks`.
#[derive(Clone, Debug)]
pub(crate) struct Chunk {
    pub(crate) work: Work,
    pub(crate) state: ChunkState,
    pub(crate) attempt: i32,
    pub(crate) position: i64,
    pub(crate) region: Option<String>,
    pub(crate) worker: Option<Uuid>,
    pub(crate) lease_until: Option<Ms>,
    pub(crate) deaths: i32,
    pub(crate) tries: i32,
    pub(crate) not_before: Ms,
    pub(crate) queued_at: Option<Ms>,
    pub(crate) sent_at: Option<Ms>,
    pub(crate) sends: i32,
    pub(crate) progress: i64,
    pub(crate) last_code: Option<FailureCode>,
    pub(crate) splits: i32,
    pub(crate) split_from: Option<i32>,
    pub(crate) taken_back: bool,
    pub(crate) avoid_worker: Option<Uuid>,
}

/// A row of `attempts`; nothing asks for its code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Attempt {
    pub(crate) worker: Uuid,
    pub(crate) claimed_at: Ms,
    pub(crate) ended_at: Option<Ms>,
    pub(crate) outcome: Option<&'static str>,
    pub(crate) made: i64,
}

/// A row of `renditions`.
#[derive(Clone, Debug)]
pub(crate) struct Rendition {
    /// `video`, `audio`, `storyboard` or `poster`.
    pub(crate) kind: &'static str,
    pub(crate) init: Option<String>,
    pub(crate) ended: bool,
}

/// A row of `segments`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) chunk: i32,
    pub(crate) attempt: i32,
    pub(crate) uri: String,
    pub(crate) bytes: u64,
    pub(crate) first: u64,
    pub(crate) count: u64,
    pub(crate) committed_at: Ms,
}

/// A row of `publications`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Publication {
    pub(crate) listed: u64,
    pub(crate) promised: u64,
    pub(crate) appended_at: Option<Ms>,
    pub(crate) etags: BTreeMap<String, String>,
    pub(crate) master: bool,
    pub(crate) swept: bool,
    /// Who holds the row's lock, and until when the server lets the transaction idle.
    pub(crate) lock: Option<(u64, Ms)>,
}

/// A row of `outbox`.
#[derive(Clone, Debug)]
pub(crate) struct Outgoing {
    pub(crate) region: String,
    pub(crate) message: Message,
    pub(crate) not_before: Ms,
}

/// A row of `workers`.
#[derive(Clone, Debug)]
pub(crate) struct Worker {
    pub(crate) region: String,
    pub(crate) device: String,
    pub(crate) slots: i64,
    /// `ready`, `draining` or `gone`.
    pub(crate) state: &'static str,
    pub(crate) drain: bool,
    pub(crate) heartbeat_at: Ms,
    pub(crate) gone_at: Option<Ms>,
}

/// A row of `regions`.
#[derive(Clone, Debug)]
pub(crate) struct RegionRow {
    pub(crate) healthy: bool,
    pub(crate) reason: String,
    pub(crate) failing_since: Option<Ms>,
    pub(crate) marked_at: Ms,
}

/// A row of `devices`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Device {
    pub(crate) checked_at: Option<Ms>,
    pub(crate) quarantined_at: Option<Ms>,
    pub(crate) withdrawn_at: Option<Ms>,
}

impl Memory {
    /// An empty store, with a planted fault or none.
    pub(crate) fn new(deviation: Option<Deviation>) -> Self {
        Self { deviation, ..Self::default() }
    }

    /// Whether a fault was planted.
    pub(crate) fn does(&self, deviation: Deviation) -> bool {
        self.deviation == Some(deviation)
    }

    fn touch(&mut self, job: Uuid) {
        if self.touched.last() != Some(&job) {
            self.touched.push(job);
        }
    }

    fn send(&mut self, region: String, message: Message) {
        self.last_outbox += 1;
        let row = Outgoing { region, message, not_before: self.now };
        self.outbox.insert(self.last_outbox, row);
    }
}

impl Job {
    /// Takes `event`, from `from` only.
    fn step(&mut self, from: JobState, event: JobEvent) -> bool {
        let to = from.after(event).expect("the statements name steps that exist");
        let here = self.state == from;
        if here {
            self.state = to;
        }
        here
    }

    /// A job whose plan is not being made any more is queued again.
    fn plan_lost(&mut self) {
        if self.chunks.get(&PLAN).is_some_and(|c| c.state == ChunkState::Waiting) {
            self.step(JobState::Planning, JobEvent::PlanLost);
        }
    }

    fn is_held(&self, chunk: i32, attempt: i32, worker: Uuid) -> bool {
        self.chunks
            .get(&chunk)
            .is_some_and(|c| c.attempt == attempt && c.worker == Some(worker) && c.state == ChunkState::Running)
    }

    fn end_attempt(&mut self, chunk: i32, attempt: i32, outcome: &'static str, made: Option<i64>, now: Ms) {
        if let Some(row) = self.attempts.get_mut(&(chunk, attempt)) {
            row.ended_at = Some(now);
            row.outcome = Some(outcome);
            row.made = made.unwrap_or(row.made);
        }
    }
}

impl Chunk {
    fn new(work: Work, position: i64, attempt: i32, now: Ms) -> Self {
        Self {
            work,
            state: ChunkState::Waiting,
            attempt,
            position,
            region: None,
            worker: None,
            lease_until: None,
            deaths: 0,
            tries: 0,
            not_before: now,
            queued_at: None,
            sent_at: None,
            sends: 0,
            progress: 0,
            last_code: None,
            splits: 0,
            split_from: None,
            taken_back: false,
            avoid_worker: None,
        }
    }

    fn planned(new: &NewChunk, attempt: i32, now: Ms) -> Self {
        let position = i64::try_from(new.position).unwrap_or(i64::MAX);
        Self::new(new.work.clone(), position, attempt, now)
    }

    fn enter(&mut self, event: ChunkEvent) {
        self.state = self.state.after(event).expect("the statements name steps that exist");
    }

    /// Segment after the last of a chunk of pictures, when there is one.
    pub(crate) fn end(&self) -> Option<u64> {
        match self.work {
            Work::Video { end, .. } => end,
            _ => None,
        }
    }

    /// First segment, as the column has it.
    pub(crate) fn first_segment(&self) -> i64 {
        match self.work {
            Work::Video { first, .. } => i64::try_from(first).unwrap_or(i64::MAX),
            _ => 0,
        }
    }
}
