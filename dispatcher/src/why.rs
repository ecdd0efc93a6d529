//! Why a job is where it is, in sentences. Pure but for [`surroundings`]: it works on rows.

use capacity::budget::{CAP_REACHED, Stop};
use capacity::money::MicroDollars;
use fleet::config::Config;
use fleet::state::{ChunkState, JobState};
use fleet::store::jobs::{ChunkRow, JobRow};
use fleet::store::{Store, StoreError};
use fleet::timeline::clock;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::routing::RegionView;

/// What is known about a job's surroundings.
#[derive(Clone, Debug)]
pub struct Surroundings {
    /// Regions.
    pub regions: Vec<RegionView>,
    /// Regions that are given up for now, and why.
    pub unhealthy: Vec<(String, String)>,
    /// Chunks of other jobs that come first, roughly.
    pub ahead: u64,
    /// Messages that were not sent yet.
    pub unsent: u64,
    /// Why capacity is as it is, in the words of the last decision.
    pub capacity: Vec<String>,
    /// What keeps the job's waiting chunks from being released, when its organisation's cap does.
    pub held: Option<Held>,
}

/// A cap that holds a job back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// What may be spent in a month.
    pub cap: MicroDollars,
    /// What the cap stops; `None` while the budget is still being reckoned.
    pub stops: Option<Stop>,
}

/// Looks around a job whose first waiting chunk is at `position`.
///
/// # Errors
/// The store does not answer.
pub async fn surroundings(
    config: &Config,
    store: &Store,
    job: Uuid,
    position: i64,
) -> Result<Surroundings, StoreError> {
    let alive = (config.timing.heartbeat * 4.0).max(config.timing.lease);
    let loads = store.region_loads(alive).await?;
    let unhealthy = store.unhealthy_regions().await?;
    let regions = config
        .regions
        .iter()
        .map(|r| RegionView::new(&r.name, !unhealthy.iter().any(|(u, _)| *u == r.name), &loads))
        .collect();
    let decision = if config.capacity.is_some() { store.decisions(1).await?.pop() } else { None };
    let (cap, is_held) = store.cap_of_job(job).await?;
    let held = cap
        .cap_micros
        .filter(|_| is_held)
        .map(|micros| Held { cap: MicroDollars(micros), stops: cap.capped.as_deref().and_then(Stop::from_word) });
    Ok(Surroundings {
        held,
        regions,
        unhealthy,
        capacity: decision.iter().flat_map(|d| d.sentences()).map(str::to_owned).collect(),
        ahead: store.ahead_of(job, position).await?,
        unsent: store.outbox_depth().await?,
    })
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Why {
    /// State of the job.
    pub state: String,
    /// Stable code of what holds it back or made it fail, when there is one.
    #[schema(required, example = "cap_reached")]
    pub code: Option<String>,
    /// What it waits for, the most important first.
    pub reasons: Vec<String>,
}

/// Explains.
#[must_use]
pub fn why(job: &JobRow, chunks: &[ChunkRow], around: &Surroundings) -> Why {
    let mut reasons = Vec::new();
    match job.job_state() {
        JobState::Succeeded => reasons.push("It is finished; nothing is waited for.".to_owned()),
        JobState::Cancelled => reasons.push("It was cancelled. `dispatcher retry` starts it again.".to_owned()),
        JobState::Failed => {
            let code = job.failure_code.as_deref().unwrap_or("internal");
            reasons.push(format!("It failed with {code}: {}", job.failure_message.as_deref().unwrap_or("no message")));
            if let Some(code) = job.code() {
                reasons.push(format!("For ops: {}.", code.for_ops()));
            }
        }
        JobState::Publishing => reasons.push(
            "All of it is encoded; the playlists are being checked and written. If this lasts, see the dispatcher's \
             log: the output store does not answer, or no dispatcher runs."
                .to_owned(),
        ),
        JobState::Queued | JobState::Planning | JobState::Running => at_work(job, chunks, around, &mut reasons),
    }
    let is_held = !job.job_state().is_final() && around.held.is_some_and(|held| held.stops.is_some());
    let code = job.failure_code.clone().or_else(|| is_held.then(|| CAP_REACHED.to_owned()));
    Why { state: job.state.clone(), code, reasons }
}

fn held_back(held: Held) -> String {
    let Held { cap, stops } = held;
    let what = match stops {
        None => return "It waits until its organisation's budget has been reckoned, which takes a second.".to_owned(),
        Some(Stop::NewJobs) => format!("The monthly cap of {cap} leaves too little for this job, so it is not begun"),
        Some(Stop::All) => {
            format!("The monthly cap of {cap} is spent, so nothing more of the organisation is released")
        }
    };
    format!(
        "{what} ({CAP_REACHED}). Raise it with `dispatcher organisation set NAME --monthly-cap USD`, or wait for the next month."
    )
}

fn at_work(job: &JobRow, chunks: &[ChunkRow], around: &Surroundings, reasons: &mut Vec<String>) {
    let of = |state: ChunkState| chunks.iter().filter(move |c| c.state == state.as_str());
    let (running, queued, waiting) =
        (of(ChunkState::Running).count(), of(ChunkState::Queued).count(), of(ChunkState::Waiting).count());
    let done = of(ChunkState::Done).count();
    let slots: u64 = around.regions.iter().map(|r| r.slots).sum();

    if let Some(held) = around.held.filter(|_| waiting > 0) {
        reasons.push(held_back(held));
    }
    for (region, reason) in &around.unhealthy {
        reasons.push(format!("Region {region} does not answer ({reason}); its work goes to other regions."));
    }
    for chunk in of(ChunkState::Running).filter(|c| c.lease_s.is_some_and(|s| s < 0.0)) {
        reasons.push(format!(
            "Chunk {} lost its worker {:.0} s ago and goes on elsewhere as soon as the dispatcher notices.",
            chunk.chunk,
            -chunk.lease_s.unwrap_or(0.0)
        ));
    }
    for chunk in chunks.iter().filter(|c| c.state != ChunkState::Done.as_str()) {
        let number = chunk.chunk;
        if let Some(slow) = chunk.split_from {
            let first = chunk.first_segment;
            reasons.push(format!(
                "Chunk {slow} was far slower than its siblings and was split: from segment {first} on it is chunk {number}."
            ));
        }
        if chunk.taken_back {
            reasons.push(format!("Chunk {number} was taken back from a worker that was far slower than others."));
        }
    }
    if running > 0 {
        reasons.push(format!("{running} chunk(s) are at work, {done} of {} are done.", chunks.len()));
    }
    for chunk in of(ChunkState::Waiting).filter(|c| c.tries > 0).take(3) {
        reasons.push(format!(
            "Chunk {} failed {} time(s), last with {}: {}; it is tried again at {}.",
            chunk.chunk,
            chunk.tries,
            chunk.last_code.as_deref().unwrap_or("internal"),
            chunk.last_message.as_deref().unwrap_or("no message"),
            chunk.not_before.time().to_string().split('.').next().unwrap_or_default(),
        ));
    }
    if queued > 0 {
        let region = of(ChunkState::Queued).find_map(|c| c.region.clone()).unwrap_or_default();
        let view = around.regions.iter().find(|r| r.name == region);
        let there = view.map_or(0, |v| v.slots);
        if there == 0 {
            reasons.push(format!(
                "{queued} chunk(s) are in the queue of {region}, where no worker is running yet; capacity has to start."
            ));
        } else {
            let busy = view.map_or(0, |v| v.running);
            reasons.push(format!(
                "{queued} chunk(s) are in the queue of {region} and start when one of its {there} slots is free ({busy} at work)."
            ));
        }
        if around.unsent > 0 {
            reasons.push(format!("{} message(s) are not sent yet.", around.unsent));
        }
    }
    if around.held.is_some() {
        // Neither a turn nor a worker would help.
    } else if waiting > 0 && slots > 0 && around.ahead > 0 {
        reasons.push(format!(
            "{waiting} chunk(s) wait for their turn; about {} chunk(s) of other jobs come first.",
            around.ahead
        ));
    } else if waiting > 0 && running == 0 && queued == 0 && slots == 0 {
        reasons.push("No worker is running; capacity has to start.".to_owned());
    } else if waiting > 0 {
        reasons.push(format!("{waiting} chunk(s) wait for a free slot; {slots} slot(s) are running in all."));
    }
    if slots == 0 && queued + waiting > 0 && around.held.is_none() {
        reasons.extend(around.capacity.iter().map(|reason| format!("Capacity: {reason}.")));
    }
    if running + queued + waiting == 0 {
        reasons.push("Every chunk is done; the publisher takes over.".to_owned());
    }
    if job.watchable_ms > 0 {
        #[expect(clippy::cast_precision_loss, reason = "media times")]
        let seconds = job.watchable_ms as f64 / 1000.0;
        reasons.push(format!("It can be watched up to {} already.", clock(seconds)));
    }
}
