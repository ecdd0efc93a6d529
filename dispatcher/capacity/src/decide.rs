//! From a view of the fleet to actions, with the reason for each. Pure, total and deterministic: any view gives a
//! decision, and the same view gives the same one.
//!
//! Whatever the rule says, these hold, and property tests keep them:
//! - what is started fits the quota ledger, the pool's own limit, and only pools that are not blocked;
//! - an instance is ended only while idle; a busy one is asked to drain only by a rule that says it may;
//! - nothing starts in a region that does not answer.

mod desk;
#[cfg(test)]
mod tests;

use std::fmt;

use serde::Serialize;
use uuid::Uuid;

pub(crate) use desk::{Desk, Load, Need, finite, rate_of};

use crate::memory::FailureKind;
use crate::moment::Moment;
use crate::policy::Policy;
use crate::pools::{InstanceId, PoolId, PurchaseOption, RegionName};
use crate::view::FleetView;

/// What to do, and why.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Decision {
    /// When it was made.
    pub at: Moment,
    /// The rule that made it.
    pub policy: &'static str,
    /// What to do, in this order.
    pub actions: Vec<Action>,
    /// Why this and no more, with numbers; not empty when there is work or an instance.
    pub reasons: Vec<Reason>,
}

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "action")]
pub enum Action {
    /// Raise the pool's desired count.
    Start {
        /// Pool.
        pool: PoolId,
        /// Instances more, at least 1.
        count: u32,
    },
    /// End this instance, which is idle; not when it has work by now.
    End {
        /// Pool.
        pool: PoolId,
        /// Instance.
        instance: InstanceId,
    },
    /// Ask this instance's worker to finish the segments in work, hand back the rest and take nothing new; the instance
    /// ends when that is done.
    Drain {
        /// Pool.
        pool: PoolId,
        /// Instance.
        instance: InstanceId,
    },
    /// Split a chunk after the segment in work: what follows is released elsewhere.
    Split {
        /// Job.
        job: Uuid,
        /// Chunk.
        chunk: i32,
        /// The attempt that is slow.
        attempt: i32,
        /// Who is slow with it.
        slow: InstanceId,
    },
    /// Take a chunk back in order: its next attempt goes on elsewhere after the last committed segment.
    TakeBack {
        /// Job.
        job: Uuid,
        /// Chunk.
        chunk: i32,
        /// The attempt that is slow.
        attempt: i32,
        /// Who is slow with it.
        slow: InstanceId,
    },
}

/// One reason. `Display` is the sentence for a person; the fields are for filters and plots.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case", tag = "because")]
pub enum Reason {
    /// What a region has to do and what does it.
    Load {
        /// Region.
        region: RegionName,
        /// Work that can start, encode-seconds.
        work_s: f64,
        /// Encode-seconds a second, of instances that are there or boot.
        have: f64,
        /// Encode-seconds a second that the rule asks for.
        want: f64,
    },
    /// A pool's rate is the one that was measured, not the one that its file promises.
    Measured {
        /// Pool.
        pool: PoolId,
        /// Encode-seconds a second of one instance.
        rate: f64,
        /// As promised.
        promised: f64,
        /// Of how many chunks it is the median.
        chunks: u32,
    },
    /// Instances are started.
    Started {
        /// Pool.
        pool: PoolId,
        /// How many.
        count: u32,
        /// What for.
        cause: Cause,
    },
    /// A pool that the rule would have used is not used.
    PassedOver {
        /// Pool.
        pool: PoolId,
        /// Why.
        obstacle: Obstacle,
    },
    /// The rule asks for more than the region can give now.
    Short {
        /// Region.
        region: RegionName,
        /// Encode-seconds a second that are missing.
        missing: f64,
    },
    /// An idle instance is ended.
    IdleEnds {
        /// Instance.
        instance: InstanceId,
        /// Seconds without work.
        idle_s: f64,
    },
    /// An idle instance stays.
    IdleStays {
        /// Region.
        region: RegionName,
        /// Instances.
        count: u32,
        /// Seconds until the first of them ends, or work arrives.
        for_s: f64,
    },
    /// A busy on-demand instance is asked to drain.
    AheadOfPlan {
        /// Instance.
        instance: InstanceId,
        /// Encode-seconds done beyond uniform progress.
        ahead_s: f64,
    },
    /// A chunk is far slower than its siblings.
    Straggler {
        /// Job.
        job: Uuid,
        /// Chunk.
        chunk: i32,
        /// Times slower than its siblings, each beside what its machine should do.
        times: f64,
        /// Whether segments follow the one in work, which go elsewhere; else that one does.
        is_split: bool,
    },
    /// A region cannot work on what is there; its work is planned for another.
    Elsewhere {
        /// From here.
        from: RegionName,
        /// To there.
        to: RegionName,
        /// Encode-seconds.
        work_s: f64,
    },
}

/// What instances are started for.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// There is work.
    Work,
    /// An upload will be complete before an instance would have booted.
    Upload,
    /// Spot did not come within the time that the rule waits.
    SpotWaited {
        /// Seconds that the oldest work has waited.
        waited_s: f64,
    },
    /// Progress is behind the straight line from hand-in to ready-by.
    BehindUniformProgress {
        /// Encode-seconds behind.
        behind_s: f64,
    },
    /// On-demand must start now to meet a ready-by.
    SafetyNet {
        /// Seconds that are left beyond what on-demand needs, negative when too few.
        slack_s: f64,
    },
    /// The share that a fixed mix gives this option.
    Share,
    /// A spare in case that spot is taken back.
    Spare,
}

/// Why a pool is not used.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Obstacle {
    /// It failed.
    Failed {
        /// Why.
        kind: FailureKind,
        /// Seconds until it is tried again.
        for_s: f64,
    },
    /// The quota admits no instance more.
    Quota,
    /// Its own limit is reached.
    Limit,
}

/// Decides. `now` is the moment of the view.
#[must_use]
pub fn decide(now: Moment, view: &FleetView, policy: &Policy) -> Decision {
    let mut desk = Desk::new(now, view, policy);
    policy.rule.apply(&mut desk);
    desk.end_idle(policy.idle_after_s);
    desk.decision(policy.rule.name())
}

impl Decision {
    /// Instances that are started in pools of this option.
    #[must_use]
    pub fn started(&self, option: PurchaseOption) -> u32 {
        let suffix = option.as_str();
        self.actions
            .iter()
            .map(|a| match a {
                Action::Start { pool, count } if pool.as_str().ends_with(&format!("/{suffix}")) => *count,
                _ => 0,
            })
            .sum()
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Load { region, work_s, have, want } => write!(
                f,
                "{region} has {work_s:.0} encode-seconds to do, does {have:.1} a second and should do {want:.1}"
            ),
            Self::Measured { pool, rate, promised, chunks } => write!(
                f,
                "{pool} counts with {rate:.1} encode-seconds a second, the median of its last {chunks} chunks; its file says {promised:.1}"
            ),
            Self::Started { pool, count, cause } => write!(f, "{count} more in {pool}: {cause}"),
            Self::PassedOver { pool, obstacle } => write!(f, "nothing in {pool}: {obstacle}"),
            Self::Short { region, missing } => {
                write!(f, "{region} lacks {missing:.1} encode-seconds a second, and no pool can give them now")
            }
            Self::IdleEnds { instance, idle_s } => {
                write!(f, "{instance} ends: it has had no work for {idle_s:.0} s and none is left")
            }
            Self::IdleStays { region, count, for_s } => {
                write!(f, "{count} idle instance(s) stay in {region} for up to {for_s:.0} s, in case that work comes")
            }
            Self::AheadOfPlan { instance, ahead_s } => {
                write!(f, "{instance} drains: {ahead_s:.0} encode-seconds ahead of uniform progress, spot can go on")
            }
            Self::Straggler { job, chunk, times, is_split } => {
                let what = if *is_split { "what follows the segment in work" } else { "its last segment" };
                write!(
                    f,
                    "chunk {chunk} of {job} is {times:.1} times slower than its siblings, so {what} goes elsewhere"
                )
            }
            Self::Elsewhere { from, to, work_s } => {
                write!(f, "{from} can start nothing, so its {work_s:.0} encode-seconds count for {to}")
            }
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Work => f.write_str("there is work"),
            Self::Upload => f.write_str("an upload will be complete before an instance would have booted"),
            Self::SpotWaited { waited_s } => write!(f, "work has waited {waited_s:.0} s and spot does not suffice"),
            Self::BehindUniformProgress { behind_s } => {
                write!(f, "{behind_s:.0} encode-seconds behind uniform progress, and spot does not suffice")
            }
            Self::SafetyNet { slack_s } => {
                write!(f, "on-demand must start now to meet a ready-by ({slack_s:.0} s of slack)")
            }
            Self::Share => f.write_str("its share of the mix"),
            Self::Spare => f.write_str("a spare in case that spot is taken back"),
        }
    }
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed { kind, for_s } => write!(f, "{kind}; tried again in {for_s:.0} s"),
            Self::Quota => f.write_str("the quota admits no more"),
            Self::Limit => f.write_str("its limit is reached"),
        }
    }
}
