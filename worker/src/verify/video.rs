//! The pictures of one run of segments.

use std::time::Instant;

use fleet::cmaf::{InitFacts, TrackKind};
use fleet::ladder::Codec;
use fleet::timeline::PRESENTATION_DELAY_MS;

use super::{MAX_COUNT, expect, hostile, init, is_size, report, segment};
use crate::engine::MAX_DURATION_S;
use crate::failure::JobError;
use crate::guard;
use crate::plan::{RenditionPlan, VideoPlan};
use crate::protocol::{Event, SegmentEvent, TaskReport};

/// Shortest segment whose size is judged by rate, in seconds: a buffer's worth may come at once.
const LEAST_S: f64 = 4.0;
/// By how much a segment may exceed the ceiling of its rate.
const OVERSHOOT: f64 = 2.0;
/// Bytes that a segment may have whatever its rate.
const SMALL: u64 = 2 << 20;

/// What one task says, in order.
pub(crate) struct VideoCheck<'a> {
    plan: &'a VideoPlan,
    end: Option<u64>,
    first_frame: u64,
    tracks: Vec<Track<'a>>,
    started: Instant,
    /// Encoded pixels that were handed over.
    pixels: f64,
}

struct Track<'a> {
    plan: &'a RenditionPlan,
    init: Option<InitFacts>,
    /// The segment that comes next.
    next: u64,
    frames: u64,
    /// A segment shorter than the grid's was the last.
    ended: bool,
}

impl<'a> VideoCheck<'a> {
    /// For the segments from `first` up to `end`.
    pub(crate) fn new(plan: &'a VideoPlan, first: u64, end: Option<u64>) -> Self {
        let track = |plan| Track { plan, init: None, next: first, frames: 0, ended: false };
        let first_frame = plan.grid.start(first).unwrap_or(0);
        Self {
            plan,
            end,
            first_frame,
            tracks: plan.renditions.iter().map(track).collect(),
            started: Instant::now(),
            pixels: 0.0,
        }
    }

    /// Checks the next event.
    ///
    /// # Errors
    /// No sound engine could have said it now.
    pub(crate) fn admit(&mut self, event: &Event, payload: &[u8]) -> Result<(), JobError> {
        match event {
            Event::Init { rendition } => self.init(rendition, payload),
            Event::Segment(event) => self.segment(event, payload),
            Event::Thumbnail { index, width, height } => {
                let last = self.end.and_then(|end| self.plan.grid.start(end)).unwrap_or_else(|| self.most_frames());
                let range = self.first_frame..=last;
                let is_due = index.checked_mul(self.plan.thumbnail_every).is_some_and(|frame| range.contains(&frame));
                let is_size = (*width, *height) == self.plan.thumbnail_size;
                expect(is_due && is_size && is_picture(*width, *height, payload), || {
                    format!("thumbnail {index} of {width}×{height} in {} bytes", payload.len())
                })
            }
            Event::Poster { width, height } => {
                expect(is_size(*width, *height) && is_picture(*width, *height, payload), || {
                    format!("a poster of {width}×{height} in {} bytes", payload.len())
                })
            }
            Event::Progress { frames } => {
                expect(payload.is_empty() && *frames <= self.most_frames(), || format!("progress of {frames} frames"))
            }
            Event::Done(report) => {
                expect(payload.is_empty(), || "a report with a payload".to_owned())?;
                self.done(report)
            }
            other => Err(hostile(format!("unexpected event {}", other.name()))),
        }
    }

    fn most_frames(&self) -> u64 {
        to_u64(MAX_DURATION_S * self.plan.rate.as_f64()).saturating_add(1)
    }

    fn track(&mut self, name: &str) -> Result<&mut Track<'a>, JobError> {
        let known = self.tracks.iter_mut().find(|t| t.plan.name == name);
        known.ok_or_else(|| hostile(format!("rendition \"{}\" is not in the plan", crate::child::sentence(name))))
    }

    fn init(&mut self, name: &str, bytes: &[u8]) -> Result<(), JobError> {
        let timescale = self.plan.rate.timescale();
        let track = self.track(name)?;
        let facts = init(&track.plan.name, bytes, TrackKind::Video, timescale)?;
        let size = facts.video.as_ref().map(|v| (u32::from(v.width), u32::from(v.height)));
        let wanted = (track.plan.width, track.plan.height);
        // A copied rendition has the source's coded size, and its own pixel shape.
        let is_size =
            size.is_some_and(|size| size == wanted || (track.plan.encode.is_none() && super::is_size(size.0, size.1)));
        let entries: &[&[u8; 4]] = match track.plan.codec {
            Codec::H264 => &[b"avc1", b"avc3"],
            Codec::Hevc => &[b"hvc1", b"hev1"],
        };
        expect(is_size && entries.contains(&&facts.sample_entry.0), || {
            format!("{name}: an init segment for {} of {size:?}", facts.codec)
        })?;
        track.init = Some(facts);
        Ok(())
    }

    fn segment(&mut self, event: &SegmentEvent, bytes: &[u8]) -> Result<(), JobError> {
        let (rate, grid, end, most) = (self.plan.rate, &self.plan.grid, self.end, self.most_frames());
        let track = self.track(&event.rendition)?;
        let name = format!("{} segment {}", track.plan.name, event.index);
        expect(event.index == track.next && end.is_none_or(|end| event.index < end) && !track.ended, || {
            format!("{name} is not the next")
        })?;
        let start = grid.start(event.index);
        expect(start == Some(event.first) && event.first <= most && (1..=most).contains(&event.count), || {
            format!("{name}: {} frames from {}", event.count, event.first)
        })?;
        let full = grid.end(event.index).map(|end| end - event.first);
        expect(full.is_none_or(|full| event.count <= full), || format!("{name} is longer than the grid"))?;
        let ceiling = track.plan.encode.as_ref().map(|e| to_f64(u64::try_from(e.max_rate).unwrap_or(0)) / 8.0);
        if let Some(ceiling) = ceiling.filter(|c| *c > 0.0) {
            let seconds = rate.seconds(event.count).max(LEAST_S);
            let largest = SMALL + to_u64(OVERSHOOT * ceiling * seconds);
            expect(bytes.len() as u64 <= largest, || {
                format!("{name} has {} bytes; {largest} are the most", bytes.len())
            })?;
        }

        let init = track.init.as_ref().ok_or_else(|| hostile(format!("{name} before its init segment")))?;
        let facts = segment(&name, bytes, init)?;
        let ticks = i64::from(rate.frame_ticks());
        let delay = i64::from(rate.timescale()) * PRESENTATION_DELAY_MS / 1000;
        let shown = |frame: u64| i64::try_from(frame).unwrap_or(i64::MAX).saturating_mul(ticks).saturating_add(delay);
        let last = shown(event.first.saturating_add(event.count));
        let is_timed = facts.first_presentation() == shown(event.first)
            && facts.presentation_end() == last
            && facts.samples() == event.count
            && (0..=shown(event.first)).contains(&facts.tfdt())
            && facts.decode_end() <= last
            && facts.fragments.iter().all(|f| f.min_composition_offset >= 0);
        expect(is_timed, || {
            let (from, to) = (facts.first_presentation(), facts.presentation_end());
            format!("{name}: {} samples from {from} to {to} (1/{} s)", facts.samples(), rate.timescale())
        })?;
        let is_open = |f: &fleet::cmaf::FragmentFacts| f.starts_with_sync && f.starts_with_random_access == Some(true);
        expect(facts.fragments.iter().all(is_open), || format!("{name} begins without an IDR"))?;
        let pixels = f64::from(track.plan.width) * f64::from(track.plan.height) * to_f64(event.count);
        let is_encoded = track.plan.encode.is_some();
        track.next += 1;
        track.frames += event.count;
        track.ended = full.is_some_and(|full| event.count < full);
        if is_encoded {
            self.pixels += pixels;
        }
        guard::pace(self.pixels, self.started.elapsed())
    }

    fn done(&self, done: &TaskReport) -> Result<(), JobError> {
        report(done)?;
        let made = self.tracks.iter().all(|t| t.frames == done.frames);
        expect(made, || format!("{} frames are reported, and other numbers were handed over", done.frames))?;
        let reached = self.first_frame.saturating_add(done.frames);
        let most = MAX_COUNT.min(self.most_frames());
        let is_end = done.source_end.is_none_or(|end| (reached..=most).contains(&end) || done.frames == 0);
        expect(is_end, || format!("the source's end at {:?} after {reached} frames", done.source_end))
    }
}

fn is_picture(width: u32, height: u32, rgb: &[u8]) -> bool {
    u64::from(width) * u64::from(height) * 3 == rgb.len() as u64
}

#[expect(clippy::cast_precision_loss, reason = "rates and counts")]
fn to_f64(n: u64) -> f64 {
    n as f64
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
fn to_u64(x: f64) -> u64 {
    x as u64
}
