//! The plan of a job: look at the source, decide, store the plan with its chunks.

use std::sync::Arc;

use fleet::failure::FailureCode;
use fleet::plan::spread;
use fleet::store::work::{Claim, NewChunk, NewPlan, Work};

use super::Service;
use super::commit::{Stop, again};
use crate::failure::JobError;
use crate::hardware::{self, EncoderChoice};
use crate::plan::{self, JobPlan};
use crate::transcode;

/// Share of a sound track's length that it weighs in estimates of work.
const AUDIO_WEIGHT: f64 = 0.02;

pub(super) async fn run(service: &Arc<Service>, claim: &Claim) -> Result<(), Stop> {
    let job = claim.id.job;
    let choice = match claim.encoder.as_str() {
        "nvenc" => EncoderChoice::Nvenc,
        "x264" => EncoderChoice::X264,
        _ => service.encoder,
    };
    let source = service.stash.source(job, &claim.source, None).await?;
    let mut engine = service.stash.engine(job, &source).await?;
    let facts = transcode::probe_with(&mut engine, &source).await?;
    service.stash.keep(job, engine).await;
    let machine = match service.pretend {
        Some(_) => plan::Machine { backend: plan::Backend::X264, nvenc_hevc: false, gpu: false },
        None => hardware::choose(service.stash.engines(), choice).await?.machine,
    };
    let plan = plan::plan(&facts, &claim.ladder, machine);
    if plan.video.renditions.is_empty() {
        return Err(JobError::new(FailureCode::UnsupportedFormat, "no rendition of the ladder fits").into());
    }
    let chunks = chunks(&plan);
    tracing::info!(chunks = chunks.len(), renditions = plan.video.renditions.len(), encoder = %machine.backend, "Planned job {job}");
    let identity = source.identity();
    let new = NewPlan {
        plan: &plan,
        backend: machine.backend,
        source_identity: &identity,
        source_bytes: facts.size_bytes,
        warnings: &facts.warnings,
        chunks: &chunks,
    };
    let stored = again(service, claim.id, || service.store.store_plan(claim.id, &new)).await?;
    if stored { Ok(()) } else { Err(Stop::LeaseLost) }
}

/// The chunks of a plan in order of release: the first of the pictures, then the sound, then the rest of the match.
fn chunks(plan: &JobPlan) -> Vec<NewChunk> {
    let video = &plan.video;
    let total = plan.expected_frames;
    let start = |segment: u64| video.grid.start(segment).or(total).unwrap_or(0);
    let runs = spread(video, total);
    let mut chunks: Vec<NewChunk> = runs
        .into_iter()
        .map(|(first, end)| {
            let last = end.map(start).or(total).unwrap_or_else(|| start(first));
            NewChunk {
                work: Work::Video { first, end },
                position: first * 2,
                seconds: video.rate.seconds(last.saturating_sub(start(first))),
            }
        })
        .collect();
    let length = total.map_or(0.0, |frames| video.rate.seconds(frames));
    for audio in plan.audio.iter().rev() {
        let work = Work::Audio { rendition: audio.name.clone() };
        chunks.insert(1, NewChunk { work, position: 1, seconds: length * AUDIO_WEIGHT });
    }
    chunks
}
