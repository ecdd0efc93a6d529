//! One sound track from a segment to its end.

use fleet::cmaf::{InitFacts, TrackKind};
use fleet::timeline::PRESENTATION_DELAY_MS;

use super::{expect, hostile, init, report, segment};
use crate::engine::MAX_DURATION_S;
use crate::failure::JobError;
use crate::plan::AudioPlan;
use crate::protocol::{Event, SegmentEvent};

/// Longest segment in seconds: five minutes of filled silence, and what is around.
const LONGEST_S: u64 = 400;
/// How much later than the longest film sound may end, in seconds.
const LATE_S: f64 = 3600.0;
/// Samples by which a first packet may straddle zero.
const PACKET: u64 = 2048;

/// What one task says, in order.
pub(crate) struct SoundCheck<'a> {
    plan: &'a AudioPlan,
    init: Option<InitFacts>,
    /// Least number that the next segment may have.
    next: u64,
    /// Decode time at which the last segment ended.
    reached: Option<i64>,
}

impl<'a> SoundCheck<'a> {
    /// For the segments from `first` on.
    pub(crate) fn new(plan: &'a AudioPlan, first: u64) -> Self {
        Self { plan, init: None, next: first, reached: None }
    }

    /// Checks the next event.
    ///
    /// # Errors
    /// No sound engine could have said it now.
    pub(crate) fn admit(&mut self, event: &Event, payload: &[u8]) -> Result<(), JobError> {
        match event {
            Event::Init { rendition } => {
                self.expect_name(rendition)?;
                let facts = init(&self.plan.name, payload, TrackKind::Audio, self.plan.sample_rate)?;
                expect(facts.sample_entry.0 == *b"mp4a", || format!("{}: {}", self.plan.name, facts.codec))?;
                self.init = Some(facts);
                Ok(())
            }
            Event::Segment(event) => self.segment(event, payload),
            Event::Progress { .. } if payload.is_empty() => Ok(()),
            Event::Done(done) if payload.is_empty() => report(done),
            other => Err(hostile(format!("unexpected event {}", other.name()))),
        }
    }

    fn expect_name(&self, name: &str) -> Result<(), JobError> {
        expect(self.plan.name == name, || format!("rendition \"{}\" is not asked for", crate::child::sentence(name)))
    }

    fn segment(&mut self, event: &SegmentEvent, bytes: &[u8]) -> Result<(), JobError> {
        self.expect_name(&event.rendition)?;
        let (name, rate) = (format!("{} segment {}", self.plan.name, event.index), u64::from(self.plan.sample_rate));
        // One that holds no sound is left out.
        expect(event.index >= self.next, || format!("{name} is not the next"))?;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "hours of samples")]
        let most = ((MAX_DURATION_S + LATE_S) * f64::from(self.plan.sample_rate)) as u64;
        expect(event.index <= most && event.first <= most && (1..=LONGEST_S * rate).contains(&event.count), || {
            format!("{name}: {} samples from {}", event.count, event.first)
        })?;
        let init = self.init.as_ref().ok_or_else(|| hostile(format!("{name} before its init segment")))?;
        let facts = segment(&name, bytes, init)?;
        let delay = rate * PRESENTATION_DELAY_MS.unsigned_abs() / 1000;
        let at = u64::try_from(facts.tfdt()).map_err(|_| hostile(format!("{name} begins before zero")))?;
        let is_at =
            at == event.first + delay || (event.first == 0 && (delay.saturating_sub(PACKET)..=delay).contains(&at));
        let is_long = u64::try_from(facts.duration()).is_ok_and(|d| d == event.count);
        let joins = self.reached.is_none_or(|reached| reached == facts.tfdt());
        expect(is_at && is_long && joins, || {
            format!("{name}: samples from {at} on, {} of them, do not lie where they should", facts.duration())
        })?;
        self.next = event.index + 1;
        self.reached = Some(facts.decode_end());
        Ok(())
    }
}
