//! The two state machines, as pure functions. Every UPDATE of the store names the state that it leaves, the state that
//! it enters, and the attempt; both come from here.

use serde::{Deserialize, Serialize};

/// A state machine's step that does not exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{state} does not allow {event}")]
pub struct Illegal {
    /// Where it was.
    pub state: &'static str,
    /// What was asked.
    pub event: &'static str,
}

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum $name { $($(#[$vdoc])* $variant),* }

        impl $name {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The word used in SQL, JSON and logs.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),* }
            }

            /// Reads the word; `None` for one of a later version.
            #[must_use]
            pub fn from_word(word: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|s| s.as_str() == word)
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }
    };
}

words! {
    /// State of a job.
    JobState {
        /// Accepted; no worker has looked at its source yet.
        Queued = "queued",
        /// A worker looks at the source and plans.
        Planning = "planning",
        /// Its chunks wait or are being encoded.
        Running = "running",
        /// All chunks are done; playlists are being written.
        Publishing = "publishing",
        /// Published.
        Succeeded = "succeeded",
        /// Given up, with a code.
        Failed = "failed",
        /// Somebody asked for it to stop.
        Cancelled = "cancelled",
    }
}

words! {
    /// What happens to a job.
    JobEvent {
        /// A worker claimed the plan.
        PlanClaimed = "plan_claimed",
        /// The claim on the plan was lost or handed back.
        PlanLost = "plan_lost",
        /// The plan and its chunks are stored.
        Planned = "planned",
        /// The last chunk is done.
        ChunksDone = "chunks_done",
        /// The presentation is complete and readable.
        Published = "published",
        /// A failure that no retry mends.
        Failed = "failed",
        /// Somebody asked for it to stop.
        Cancelled = "cancelled",
        /// Somebody asks for another try of a job without a plan.
        Retried = "retried",
        /// Somebody asks for another try of a job with a plan: it goes on, and what is committed stays.
        Resumed = "resumed",
        /// The plan proved wrong (the source's packets cannot be copied); another is made.
        Replanned = "replanned",
    }
}

words! {
    /// State of a chunk.
    ChunkState {
        /// In Postgres only; not yet given to a region.
        Waiting = "waiting",
        /// A message says so in a region's queue, or will soon.
        Queued = "queued",
        /// A worker holds the lease.
        Running = "running",
        /// All its segments are committed.
        Done = "done",
        /// Given up.
        Failed = "failed",
        /// Its job was cancelled or failed.
        Cancelled = "cancelled",
    }
}

words! {
    /// What happens to a chunk.
    ChunkEvent {
        /// The dispatcher gives it to a region.
        Released = "released",
        /// The region does not answer; it goes back.
        Recalled = "recalled",
        /// A worker claims the attempt.
        Claimed = "claimed",
        /// The lease expired.
        Lost = "lost",
        /// The worker gives it back in order (drain).
        HandedBack = "handed_back",
        /// The attempt failed in a way that may pass.
        TryAgain = "try_again",
        /// All its segments are committed.
        Completed = "completed",
        /// The attempt failed in a way that no retry mends.
        GaveUp = "gave_up",
        /// Its job ended.
        JobEnded = "job_ended",
        /// Its job is tried again.
        Retried = "retried",
        /// The device that made it proved faulty; what it made is made again.
        Withdrawn = "withdrawn",
    }
}

impl JobState {
    /// Whether nothing happens to it any more by itself.
    #[must_use]
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Cancelled)
    }

    /// The state after `event`.
    ///
    /// # Errors
    /// The event does not happen in this state.
    #[inline]
    pub const fn after(self, event: JobEvent) -> Result<Self, Illegal> {
        use JobEvent as E;
        Ok(match (self, event) {
            (Self::Queued, E::PlanClaimed) => Self::Planning,
            (Self::Planning, E::PlanLost) | (Self::Running, E::Replanned) => Self::Queued,
            (Self::Planning, E::Planned) => Self::Running,
            (Self::Running, E::ChunksDone) => Self::Publishing,
            (Self::Publishing, E::Published) => Self::Succeeded,
            (Self::Queued | Self::Planning | Self::Running | Self::Publishing, E::Failed) => Self::Failed,
            (Self::Queued | Self::Planning | Self::Running | Self::Publishing, E::Cancelled) => Self::Cancelled,
            (Self::Failed | Self::Cancelled, E::Retried) => Self::Queued,
            (Self::Failed | Self::Cancelled, E::Resumed) => Self::Running,
            _ => return Err(Illegal { state: self.as_str(), event: event.as_str() }),
        })
    }
}

impl ChunkState {
    /// Whether nothing happens to it any more by itself.
    #[must_use]
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Done | Self::Failed | Self::Cancelled)
    }

    /// The state after `event`.
    ///
    /// # Errors
    /// The event does not happen in this state.
    #[inline]
    pub const fn after(self, event: ChunkEvent) -> Result<Self, Illegal> {
        use ChunkEvent as E;
        Ok(match (self, event) {
            (Self::Waiting, E::Released) => Self::Queued,
            (Self::Queued, E::Recalled)
            | (Self::Running, E::Lost | E::HandedBack | E::TryAgain)
            | (Self::Failed | Self::Cancelled, E::Retried)
            | (Self::Done, E::Withdrawn) => Self::Waiting,
            (Self::Queued, E::Claimed) => Self::Running,
            (Self::Running, E::Completed) => Self::Done,
            (Self::Running, E::GaveUp) => Self::Failed,
            (Self::Waiting | Self::Queued | Self::Running, E::JobEnded) => Self::Cancelled,
            _ => return Err(Illegal { state: self.as_str(), event: event.as_str() }),
        })
    }

    /// Whether `event` makes the attempt's number void: what the old attempt still does must change nothing.
    #[must_use]
    pub const fn renumbers(event: ChunkEvent) -> bool {
        matches!(
            event,
            ChunkEvent::Recalled
                | ChunkEvent::Lost
                | ChunkEvent::HandedBack
                | ChunkEvent::TryAgain
                | ChunkEvent::JobEnded
                | ChunkEvent::Retried
                | ChunkEvent::Withdrawn
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_final_job_leaves_its_state_only_by_a_retry_and_a_success_never() {
        for state in JobState::ALL.iter().filter(|s| s.is_final()) {
            for event in JobEvent::ALL {
                let again = matches!(event, JobEvent::Retried | JobEvent::Resumed);
                let allowed = again && *state != JobState::Succeeded;
                assert_eq!(state.after(*event).is_ok(), allowed, "{state} {event}");
            }
        }
    }

    #[test]
    fn every_job_that_is_not_final_can_be_cancelled_and_can_fail() {
        for state in JobState::ALL.iter().filter(|s| !s.is_final()) {
            assert_eq!(state.after(JobEvent::Cancelled), Ok(JobState::Cancelled));
            assert_eq!(state.after(JobEvent::Failed), Ok(JobState::Failed));
        }
    }

    #[test]
    fn a_done_chunk_stays_done_unless_its_maker_proves_faulty() {
        for event in ChunkEvent::ALL {
            let allowed = *event == ChunkEvent::Withdrawn;
            assert_eq!(ChunkState::Done.after(*event).is_ok(), allowed, "{event}");
        }
    }

    #[test]
    fn a_chunk_leaves_running_or_the_queue_without_being_done_only_with_a_new_number() {
        for state in [ChunkState::Running, ChunkState::Queued] {
            for event in ChunkEvent::ALL {
                match state.after(*event) {
                    Ok(ChunkState::Waiting | ChunkState::Cancelled) => {
                        assert!(ChunkState::renumbers(*event), "{event}")
                    }
                    Ok(ChunkState::Running | ChunkState::Done | ChunkState::Failed) => {
                        assert!(!ChunkState::renumbers(*event), "{event}");
                    }
                    _ => {}
                }
            }
        }
    }

    #[test]
    fn words_are_read_back() {
        for state in JobState::ALL {
            assert_eq!(JobState::from_word(state.as_str()), Some(*state));
            assert_eq!(serde_json::to_string(state).unwrap(), format!("\"{state}\""));
        }
        for state in ChunkState::ALL {
            assert_eq!(ChunkState::from_word(state.as_str()), Some(*state));
        }
        assert_eq!(ChunkState::from_word("dreaming"), None);
    }
}
