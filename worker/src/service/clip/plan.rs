//! How a clip's file is made. Pure: the match's plan, the clip's frames and a look at its segments give the plan.

use std::ops::Range;

use fleet::failure::FailureCode;
use fleet::ladder::{Codec, Effort, Rung};
use fleet::store::clips::ClipTrack;
use fleet::timeline::{Borders, Grid, PRESENTATION_DELAY_MS};

use crate::encoder;
use crate::facts::SourceFacts;
use crate::failure::JobError;
use crate::plan::{AudioPlan, Backend, JobPlan, RenditionPlan, Turn, VideoPlan};

/// Constant quality of x264: near to what was published, as it is encoded for the second time.
const QUALITY: f64 = 18.0;
/// Bits that a pixel may have at the most, and the bounds of the ceiling in kbit/s.
const BITS_A_PIXEL: f64 = 0.25;
const CEILING_KBPS: (f64, f64) = (4_000.0, 60_000.0);
/// Bits per second of the sound, at the least.
const SOUND_BITS: u32 = 192_000;
/// Samples per second of what is encoded.
const SAMPLE_RATE: u32 = 48_000;

/// The plan of the pictures: one rendition in H.264, whatever the match's is, as it is to play everywhere.
pub(super) fn pictures(
    of: &JobPlan,
    facts: &SourceFacts,
    rendition: &RenditionPlan,
    frames: &Range<u64>,
) -> Result<VideoPlan, JobError> {
    let (rate, video) = (of.video.rate, &facts.video);
    let timescale = rate.timescale();
    if u32::try_from(video.time_base.1) != Ok(timescale) || video.time_base.0 != 1 {
        let what = format!("segments with ticks of {:?} s; 1/{timescale} was planned", video.time_base);
        return Err(JobError::new(FailureCode::Internal, what));
    }
    let delay = i64::from(timescale) * PRESENTATION_DELAY_MS / 1000;
    let grid = grid(of, frames);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped")]
    let max_kbps = (f64::from(rendition.width) * f64::from(rendition.height) * rate.as_f64() * BITS_A_PIXEL / 1000.0)
        .clamp(CEILING_KBPS.0, CEILING_KBPS.1) as u32;
    let rung = Rung { height: rendition.height, codec: Codec::H264, quality: QUALITY, max_kbps, buffer_seconds: 2.0 };
    Ok(VideoPlan {
        stream: video.stream,
        // From its beginning on, in any case.
        indexed: true,
        time_base: video.time_base,
        origin: ticks(frames.start, rate.frame_ticks()) + delay,
        source_rate: rate,
        rate,
        deinterlace: false,
        turn: Turn::None,
        colour: video.colour,
        to_sdr: false,
        scaler: of.video.scaler,
        gpu_decode: false,
        renditions: vec![RenditionPlan {
            name: rendition.name.clone(),
            width: rendition.width,
            height: rendition.height,
            codec: Codec::H264,
            encode: Some(encoder::settings(Backend::X264, Effort::Fast, &rung, rate, grid.gop)),
        }],
        grid,
        // None beside the first, which nobody looks at.
        thumbnail_every: u64::MAX,
        thumbnail_size: (16, 16),
        poster_frame: u64::MAX,
    })
}

/// The plan of the sound: the track that plays by itself, if it reaches into the clip.
pub(super) fn sound(of: &JobPlan, tracks: &[ClipTrack], frames: &Range<u64>, grid: &Grid) -> Option<AudioPlan> {
    let is_there = |audio: &&AudioPlan| tracks.iter().any(|track| track.name == audio.name);
    let chosen = of.audio.iter().filter(is_there).max_by_key(|audio| audio.is_default)?;
    let track = tracks.iter().find(|track| track.name == chosen.name)?;
    let ticks_a_second = track.init.timescale;
    let rate = of.video.rate;
    #[expect(clippy::cast_possible_truncation, reason = "media times")]
    let start = (rate.seconds(frames.start) * f64::from(ticks_a_second)).round() as i64;
    Some(AudioPlan {
        name: chosen.name.clone(),
        stream: 0,
        video_stream: 0,
        indexed: true,
        origin: start + i64::from(ticks_a_second) * PRESENTATION_DELAY_MS / 1000,
        origin_time_base: (1, i32::try_from(ticks_a_second).ok()?),
        language: chosen.language.clone(),
        is_default: true,
        copy: false,
        sample_rate: SAMPLE_RATE,
        bit_rate: chosen.bit_rate.max(SOUND_BITS),
        grid: grid.clone(),
        rate,
    })
}

/// Segments of the usual length, the last of which ends with the clip.
fn grid(of: &JobPlan, frames: &Range<u64>) -> Grid {
    let length = frames.end - frames.start;
    let Grid { gop, .. } = Grid::even(of.video.rate, 2.0, 1);
    let segment = usize::try_from(gop).unwrap_or(1).saturating_mul(3).max(1);
    Grid { gop, borders: Borders::At { starts: (0..length).step_by(segment).chain([length]).collect() } }
}

fn ticks(frames: u64, frame_ticks: u32) -> i64 {
    i64::try_from(frames).unwrap_or(i64::MAX).saturating_mul(i64::from(frame_ticks))
}
