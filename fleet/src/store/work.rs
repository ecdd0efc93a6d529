//! What a worker does: claim, keep the lease, commit, end an attempt. Each statement is fenced by the attempt's number.
//!
//! In the order of an attempt's life: `claim`, `lease`, `plan` or `commit`, `ending`.

mod claim;
mod commit;
mod ending;
mod lease;
mod plan;

use serde::Serialize;
use uuid::Uuid;

pub use claim::{Claim, Claimed};
pub use commit::{Commit, InitCommit, NewFile, NewSegment};
pub use ending::{Completed, Completion, Ending};
pub use lease::{Beat, Kept};
pub use plan::{NewChunk, NewPlan};

pub(super) use ending::plan_lost;

/// Names one attempt at a chunk, held by one worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct AttemptId {
    /// Job.
    pub job: Uuid,
    /// Chunk.
    pub chunk: i32,
    /// Attempt.
    pub attempt: i32,
    /// Holder.
    pub worker: Uuid,
}

/// What a claimed chunk asks for.
#[derive(Clone, Debug, PartialEq)]
pub enum Work {
    /// Look at the source and plan.
    Plan,
    /// All video renditions of a run of segments.
    Video {
        /// First segment.
        first: u64,
        /// Segment after the last; `None` to the end of the source.
        end: Option<u64>,
    },
    /// All of one sound track.
    Audio {
        /// Its name in the plan.
        rendition: String,
    },
    /// The file of a clip, from the segments of its match.
    Clip,
}
