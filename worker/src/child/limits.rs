//! What one task may take: time, memory, bytes. Generous against slow machines, small against a source that was made to
//! cost.

use std::time::Duration;

use fleet::ladder::Codec;

use crate::confinement::MEMORY;
use crate::plan::{AudioPlan, JobPlan, RenditionPlan};
use crate::protocol::{MAX_HEADER, MAX_PAYLOAD};

const MIB: u64 = 1 << 20;
/// Time that any encoding may take, beside what its length explains.
const SLACK: Duration = Duration::from_secs(600);
/// Output pixels a second that the slowest machine encodes.
const SLOWEST_H264: f64 = 20e6;
/// The same of x265, which takes about seven times as long.
const SLOWEST_HEVC: f64 = 3e6;
/// The expected time is exceeded by this before an engine is given up.
const PATIENCE: f64 = 3.0;
/// Largest share by which a rate control may miss its ceiling over a whole task.
const OVERSHOOT: f64 = 1.2;
/// Length of a source whose container does not tell, in seconds.
const UNKNOWN_S: f64 = crate::engine::MAX_DURATION_S;
/// JSON of an event other than a probe's.
const HEADER: u64 = 64 << 10;

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TaskLimits {
    /// Time that the parent waits in all.
    pub(crate) time: Duration,
    /// Resident memory in bytes.
    pub(crate) memory: u64,
    /// Bytes handed over in all.
    pub(crate) output: u64,
    /// Largest JSON header in bytes.
    pub(crate) header: u64,
    /// Largest payload in bytes.
    pub(crate) payload: u64,
}

impl TaskLimits {
    /// Before there is a task; a GPU driver starts.
    pub(crate) const START: Self =
        Self { time: Duration::from_secs(60), memory: 2048 * MIB, output: 0, header: HEADER, payload: 0 };
    /// A look at a source: a few pictures of up to 8K are decoded.
    pub(crate) const PROBE: Self =
        Self { time: Duration::from_secs(120), memory: 1536 * MIB, output: 0, header: MAX_HEADER as u64, payload: 0 };
    /// A try of the hardware, or of a lock.
    pub(crate) const TRY: Self = Self::START;

    /// A run of segments; open-ended without `end`.
    pub(crate) fn video(plan: &JobPlan, first: u64, end: Option<u64>) -> Self {
        let video = &plan.video;
        let frame = |segment| video.grid.start(segment);
        // To the end: what containers tell of it is not to be relied on.
        let until = end.and_then(frame);
        let frames = until.map(|until| until.saturating_sub(frame(first).unwrap_or(until)));
        let seconds = frames.map_or(UNKNOWN_S, |frames| video.rate.seconds(frames) + 60.0);
        let pixels = |r: &RenditionPlan| f64::from(r.width) * f64::from(r.height);
        let per_second: f64 = video
            .renditions
            .iter()
            .map(|r| match (r.codec, &r.encode) {
                (_, None) => 0.0,
                (Codec::H264, Some(_)) => pixels(r) / SLOWEST_H264,
                (Codec::Hevc, Some(_)) => pixels(r) / SLOWEST_HEVC,
            })
            .sum();
        let time = SLACK + Duration::from_secs_f64(PATIENCE * seconds * (1.0 + per_second * video.rate.as_f64()));
        // Measured: 92 bytes for each pixel of x264's pictures, about twice that for x265's; decoder, scaler and the
        // packets of a container without an index come on top.
        let memory: f64 = video
            .renditions
            .iter()
            .map(|r| pixels(r) * if r.codec == Codec::Hevc { 400.0 } else { 200.0 })
            .sum::<f64>()
            + 1536.0 * to_f64(MIB);
        // A copied rendition has no ceiling that the plan knows.
        let bits: f64 =
            video.renditions.iter().map(|r| r.encode.as_ref().map_or(200e6, |e| to_f64_i(e.max_rate))).sum();
        let (width, height) = video.thumbnail_size;
        let pictures = f64::from(width) * f64::from(height) * 3.0 * (seconds * video.rate.as_f64())
            / to_f64(video.thumbnail_every.max(1));
        Self {
            time,
            memory: (to_u64(memory)).min(MEMORY),
            output: 256 * MIB + to_u64(OVERSHOOT * seconds * bits / 8.0 + pictures),
            header: HEADER,
            payload: u64::from(MAX_PAYLOAD),
        }
    }

    /// A sound track.
    pub(crate) fn audio(audio: &AudioPlan) -> Self {
        let bits = f64::from(audio.bit_rate.max(512_000)) * 2.0;
        Self {
            time: SLACK + Duration::from_secs_f64(UNKNOWN_S),
            memory: 1024 * MIB,
            output: 64 * MIB + to_u64(UNKNOWN_S * bits / 8.0),
            header: HEADER,
            payload: 16 * MIB,
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "sizes and counts")]
fn to_f64(n: u64) -> f64 {
    n as f64
}

#[expect(clippy::cast_precision_loss, reason = "bit rates")]
fn to_f64_i(n: i64) -> f64 {
    n as f64
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
fn to_u64(x: f64) -> u64 {
    x as u64
}
