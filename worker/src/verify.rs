//! What an engine says is checked against the plan before anything else looks at it.
//!
//! The engine decodes bytes from strangers, so it may have been taken over by them. What passes here is what a sound engine
//! could have said: names of the plan, segments in order and on the grid, boxes whose times and counts agree with them,
//! sizes within the rate that was asked for. What is left to a taken-over engine is wrong pictures in this one job.

mod sound;
#[cfg(test)]
mod tests;
mod video;

use fleet::cmaf::{InitFacts, SegmentFacts, TrackKind, foreign_box, parse_init, parse_segment};
use fleet::failure::FailureCode;
use media::decode::MAX_PIXELS;

pub(crate) use sound::SoundCheck;
pub(crate) use video::VideoCheck;

use crate::engine::MAX_DURATION_S;
use crate::facts::{AudioFacts, CopyFacts, SourceFacts};
use crate::failure::JobError;
use crate::protocol::TaskReport;

/// Names, languages and formats, in bytes.
const MAX_NAME: usize = 64;
/// Sentences that a probe or a task may add.
const MAX_SENTENCES: usize = 64;
/// Length of such a sentence in bytes.
const MAX_SENTENCE: usize = 1000;
/// Sound tracks of a source.
const MAX_TRACKS: usize = 128;
/// Codec headers in bytes.
const MAX_EXTRADATA: usize = 64 << 10;
/// Largest time in ticks: what a double holds exactly.
const MAX_TICKS: i64 = 1 << 53;
/// Damaged places, and frames of any kind.
const MAX_COUNT: u64 = 1 << 40;

/// The engine said what no sound one says.
fn hostile(what: impl Into<String>) -> JobError {
    JobError::new(FailureCode::EngineProtocol, what)
}

/// `Ok` when it holds, else an error that says what was expected.
fn expect(holds: bool, what: impl FnOnce() -> String) -> Result<(), JobError> {
    if holds { Ok(()) } else { Err(hostile(what())) }
}

/// Checks what a probe found in a source of `length` bytes.
///
/// # Errors
/// A value that no sound probe gives.
pub(crate) fn facts(facts: &SourceFacts, length: u64) -> Result<(), JobError> {
    let video = &facts.video;
    let ratio = |(num, den): (u32, u32)| (1..=1 << 20).contains(&num) && (1..=1 << 20).contains(&den);
    let holds = [
        ("container", is_name(&facts.container)),
        ("size", facts.size_bytes == length),
        ("duration", facts.duration_s.is_none_or(|s| (0.0..=MAX_DURATION_S).contains(&s))),
        ("codec", is_name(&video.codec)),
        ("pixel format", is_name(&video.pixel_format)),
        ("picture size", is_size(video.width, video.height)),
        ("pixel shape", ratio(video.pixel_aspect)),
        ("time base", is_time_base(video.time_base)),
        ("origin", is_time(video.origin)),
        ("colour", video.colour.iter().all(|number| *number <= 255)),
        ("copyable", video.copyable.as_ref().is_none_or(is_copyable)),
        ("sound tracks", facts.audio.len() <= MAX_TRACKS && facts.audio.iter().all(is_track)),
        ("warnings", are_sentences(&facts.warnings)),
    ];
    match holds.iter().find(|(_, holds)| !holds) {
        Some((field, _)) => Err(hostile(format!("a probe whose {field} cannot be"))),
        None => Ok(()),
    }
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.len() <= MAX_NAME && text.bytes().all(|b| b.is_ascii_graphic())
}

fn are_sentences(sentences: &[String]) -> bool {
    let is_sentence = |s: &String| s.len() <= MAX_SENTENCE && !s.chars().any(char::is_control);
    sentences.len() <= MAX_SENTENCES && sentences.iter().all(is_sentence)
}

fn is_size(width: u32, height: u32) -> bool {
    width > 0 && height > 0 && u64::from(width) * u64::from(height) <= u64::from(MAX_PIXELS)
}

fn is_time_base((num, den): (i32, i32)) -> bool {
    num > 0 && den > 0
}

fn is_time(ticks: i64) -> bool {
    (-MAX_TICKS..=MAX_TICKS).contains(&ticks)
}

fn is_copyable(copy: &CopyFacts) -> bool {
    let ascends = copy.key_frames.windows(2).all(|pair| pair[0] < pair[1]);
    copy.frames <= MAX_COUNT
        && copy.key_frames.first() == Some(&0)
        && ascends
        && copy.key_frames.last().is_some_and(|last| *last < copy.frames)
}

fn is_track(track: &AudioFacts) -> bool {
    is_name(&track.codec)
        && is_time_base(track.time_base)
        && track.start.is_none_or(is_time)
        && track.language.as_ref().is_none_or(|l| l.len() == 3 && l.bytes().all(|b| b.is_ascii_lowercase()))
        && (1..=64).contains(&track.channels)
        && (1..=768_000).contains(&track.sample_rate)
        && track.extradata.len() <= MAX_EXTRADATA
}

/// Checks the numbers of a finished task that mean the same for pictures and sound.
fn report(report: &TaskReport) -> Result<(), JobError> {
    let s = &report.cpu_s;
    let seconds = [s.demux, s.decode, s.filter, s.encode, s.package, s.audio];
    let counts = [report.frames, report.decoded, report.damaged, report.source_end.unwrap_or(0)];
    expect(
        seconds.iter().all(|s| (0.0..=1e9).contains(s))
            && counts.iter().all(|n| *n <= MAX_COUNT)
            && are_sentences(&report.warnings),
        || "a report whose numbers cannot be".to_owned(),
    )
}

/// An init segment of one track of this kind and time scale, and nothing beside it.
fn init(name: &str, bytes: &[u8], kind: TrackKind, timescale: u32) -> Result<InitFacts, JobError> {
    expect(bytes.len() <= 1 << 20, || format!("{name}: an init segment of {} bytes", bytes.len()))?;
    let facts = parse_init(bytes).map_err(|e| hostile(format!("{name}: init segment: {e}")))?;
    let is_alone = facts.other_codecs.is_empty() && facts.edit_start.is_none();
    expect(facts.kind == kind && facts.timescale == timescale && is_alone, || {
        format!("{name}: an init segment of another track")
    })?;
    Ok(facts)
}

/// A media segment of one track: its boxes, and no others.
fn segment(name: &str, bytes: &[u8], init: &InitFacts) -> Result<SegmentFacts, JobError> {
    let facts = parse_segment(bytes, init).map_err(|e| hostile(format!("{name}: {e}")))?;
    let foreign = foreign_box(bytes).map_err(|e| hostile(format!("{name}: {e}")))?;
    expect(foreign.is_none(), || format!("{name}: a box {foreign:?}"))?;
    let joined = facts.fragments.windows(2).all(|pair| pair[0].decode_end() == pair[1].tfdt);
    expect(joined, || format!("{name}: fragments that do not join"))?;
    let media: u64 = facts.fragments.iter().map(|f| f.mdat_bytes).sum();
    // `styp`, and for each fragment `moof` with 16 bytes a sample and a few boxes, and the header of `mdat`.
    let most = media + 256 + 512 * facts.fragments.len() as u64 + 32 * facts.samples();
    expect(facts.size <= most, || format!("{name}: {} bytes around {media} of media", facts.size - media))?;
    Ok(facts)
}
