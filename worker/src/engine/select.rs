//! Constant frame rate: which source frame each output frame shows. A pure function of source times, so it does not
//! matter where a chunk starts.
//!
//! Output frame *k* shows the last source frame whose time, rounded to the source's own grid, is at or before
//! *k*/rate. The rounding (half a source frame) keeps jittering and millisecond time stamps from doubling one frame
//! and dropping the next.

use std::ops::Range;

use fleet::timeline::FrameRate;

/// Output frames that one source frame may fill before the source counts as absurd: five minutes.
const MAX_FREEZE_S: f64 = 300.0;

/// Maps source times to output frame numbers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FrameClock {
    /// Output frames per tick = `per_tick.0 / per_tick.1`.
    per_tick: (i128, i128),
    /// Half a source frame, in output frames, as a fraction.
    slack: (i128, i128),
    origin: i64,
}

impl FrameClock {
    pub(crate) fn new(time_base: (i32, i32), origin: i64, source: FrameRate, output: FrameRate) -> Self {
        let (tb_num, tb_den) = (i128::from(time_base.0.max(1)), i128::from(time_base.1.max(1)));
        let (out_num, out_den) = (i128::from(output.num()), i128::from(output.den()));
        let (src_num, src_den) = (i128::from(source.num()), i128::from(source.den()));
        // output/source ≤ 1 is the length of a source frame in output frames.
        let slack = if source.as_f64() > output.as_f64() { (out_num * src_den, 2 * out_den * src_num) } else { (1, 2) };
        Self { per_tick: (tb_num * out_num, tb_den * out_den), slack, origin }
    }

    /// First output frame that may show a source frame with this time; negative before the origin.
    pub(crate) fn frame_of(&self, pts: i64) -> i64 {
        let ticks = i128::from(pts) - i128::from(self.origin);
        let (num, den) = self.per_tick;
        let (slack_num, slack_den) = self.slack;
        // ceil(x − slack) would be the first k with k ≥ x − slack; a frame exactly half-way belongs to the later one.
        let numerator = ticks * num * slack_den - slack_num * den;
        let denominator = den * slack_den;
        let first = numerator.div_euclid(denominator) + 1;
        i64::try_from(first).unwrap_or(if first < 0 { i64::MIN } else { i64::MAX })
    }

    /// Whether source frames are left out to stay at the output's rate.
    fn is_divided(&self) -> bool {
        self.slack != (1, 2)
    }

    /// Source time in ticks at which output frame `k` is due.
    pub(crate) fn time_of(&self, frame: u64) -> i64 {
        let (num, den) = self.per_tick;
        i64::try_from(i128::from(frame) * den / num).unwrap_or(i64::MAX).saturating_add(self.origin)
    }

    /// Number of output frames of a source that ends at `end` (time of the last frame plus its duration).
    pub(crate) fn frames_until(&self, end: i64) -> i64 {
        let (num, den) = self.per_tick;
        let doubled = 2 * (i128::from(end) - i128::from(self.origin)) * num + den;
        i64::try_from(doubled.div_euclid(2 * den)).unwrap_or(0)
    }
}

/// A source frame would be shown for longer than [`MAX_FREEZE_S`].
#[derive(Debug, thiserror::Error)]
#[error("one picture would be shown for {seconds:.0} s; the limit is {MAX_FREEZE_S:.0} s")]
pub(crate) struct FreezeTooLong {
    seconds: f64,
}

/// Turns a run of source frames into ranges of output frames.
#[derive(Debug)]
pub(crate) struct Selector<F> {
    clock: FrameClock,
    rate: FrameRate,
    /// Next output frame to fill.
    next: u64,
    /// Output frame after the last of this run.
    end: Option<u64>,
    held: Option<(F, i64)>,
}

impl<F> Selector<F> {
    pub(crate) fn new(clock: FrameClock, rate: FrameRate, first: u64, end: Option<u64>) -> Self {
        Self { clock, rate, next: first, end, held: None }
    }

    /// Whether all output frames of this run are filled.
    pub(crate) fn is_done(&self) -> bool {
        self.end.is_some_and(|end| self.next >= end)
    }

    /// Takes a source frame; gives the one before with the output frames that show it, if any do.
    pub(crate) fn push(&mut self, frame: F, pts: i64) -> Result<Option<(F, Range<u64>)>, FreezeTooLong> {
        let first = self.clock.frame_of(pts);
        let previous = self.held.replace((frame, first));
        match previous {
            Some((held, _)) => self.fill(held, first),
            // Zero of the output is the first frame, whatever its rounding.
            None => Ok(None),
        }
    }

    /// The source ended; `end` is the time after its last frame. Gives the last frame, which shows at least once, and
    /// the number of output frames of the whole source.
    #[expect(clippy::type_complexity, reason = "a pair that exists once")]
    pub(crate) fn finish(&mut self, end: i64) -> Result<(Option<(F, Range<u64>)>, u64), FreezeTooLong> {
        let Some((held, first)) = self.held.take() else { return Ok((None, self.next)) };
        // At full rate the last frame shows at least once; at a divided rate it may be one of those left out.
        let least = if self.clock.is_divided() { 1 } else { first.saturating_add(1).max(1) };
        let total = self.clock.frames_until(end).max(least);
        let total_frames = u64::try_from(total).unwrap_or(1);
        Ok((self.fill(held, total)?, total_frames))
    }

    fn fill(&mut self, frame: F, until: i64) -> Result<Option<(F, Range<u64>)>, FreezeTooLong> {
        let until = u64::try_from(until).unwrap_or(0);
        let until = self.end.map_or(until, |end| until.min(end));
        if until <= self.next {
            return Ok(None);
        }
        let range = self.next..until;
        let seconds = self.rate.seconds(until - self.next);
        if seconds > MAX_FREEZE_S {
            return Err(FreezeTooLong { seconds });
        }
        self.next = until;
        Ok(Some((frame, range)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(n: u32, d: u32) -> FrameRate {
        FrameRate::new(n, d).unwrap()
    }

    /// Source frame number shown by each output frame.
    fn shown(
        times: &[i64],
        tb: (i32, i32),
        source: FrameRate,
        output: FrameRate,
        duration: i64,
        from: u64,
        to: Option<u64>,
    ) -> Vec<usize> {
        let clock = FrameClock::new(tb, times[0], source, output);
        let mut selector = Selector::new(clock, output, from, to);
        let mut out = Vec::new();
        for (i, &t) in times.iter().enumerate() {
            if let Some((f, range)) = selector.push(i, t).unwrap() {
                out.extend(range.map(|_| f));
            }
        }
        let (last, _) = selector.finish(times[times.len() - 1] + duration).unwrap();
        if let Some((f, range)) = last {
            out.extend(range.map(|_| f));
        }
        out
    }

    #[test]
    fn a_constant_source_is_shown_frame_by_frame() {
        let times: Vec<i64> = (0..100).map(|k| 7 + k * 1001).collect();
        let out = shown(&times, (1, 30000), rate(30000, 1001), rate(30000, 1001), 1001, 0, None);
        assert_eq!(out, (0..100).collect::<Vec<_>>());
    }

    #[test]
    fn millisecond_time_stamps_neither_double_nor_drop() {
        let times: Vec<i64> = (0..1000i64).map(|k| (k * 1_001_000 + 15_000) / 30_000).collect();
        let out = shown(&times, (1, 1000), rate(30000, 1001), rate(30000, 1001), 33, 0, None);
        assert_eq!(out, (0..1000).collect::<Vec<_>>());
    }

    #[test]
    fn every_second_frame_of_120_is_shown_at_60_and_every_fourth_of_240() {
        let times: Vec<i64> = (0..240).collect();
        assert_eq!(
            shown(&times, (1, 120), rate(120, 1), rate(60, 1), 1, 0, None),
            (0..240).step_by(2).collect::<Vec<_>>()
        );
        assert_eq!(
            shown(&times, (1, 240), rate(240, 1), rate(60, 1), 1, 0, None),
            (0..240).step_by(4).collect::<Vec<_>>()
        );
    }

    #[test]
    fn a_missing_frame_is_filled_by_the_one_before() {
        assert_eq!(shown(&[0, 1, 2, 5, 6], (1, 25), rate(25, 1), rate(25, 1), 1, 0, None), [0, 1, 2, 2, 2, 3, 4]);
    }

    #[test]
    fn chunks_show_what_one_pass_shows() {
        let times: Vec<i64> = (0..500i64).filter(|k| k % 7 != 3).map(|k| k * 3600 + (k * 37) % 900).collect();
        let run = |from, to| shown(&times, (1, 90000), rate(25, 1), rate(25, 1), 3600, from, to);
        let whole = run(0, None);
        for size in [1, 13, 150] {
            let mut parts = Vec::new();
            let mut at = 0;
            while at + size < whole.len() as u64 {
                parts.extend(run(at, Some(at + size)));
                at += size;
            }
            parts.extend(run(at, None));
            assert_eq!(parts, whole, "{size}");
        }
    }

    #[test]
    fn one_frame_is_one_frame() {
        assert_eq!(shown(&[12345], (1, 90000), rate(24, 1), rate(24, 1), 0, 0, None), [0]);
    }

    #[test]
    fn a_picture_for_hours_is_refused() {
        let clock = FrameClock::new((1, 1), 0, rate(25, 1), rate(25, 1));
        let mut selector = Selector::new(clock, rate(25, 1), 0, None);
        assert!(selector.push((), 0).unwrap().is_none());
        assert!(selector.push((), 36_000).is_err());
    }
}
