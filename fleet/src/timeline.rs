//! The output timeline: everything is counted in whole frames at one constant rate.
//!
//! Output frame *k* is shown at *k*/rate. GOPs and segments are whole numbers of frames on one global grid,
//! so a chunk may start at any segment, on any machine, and the borders are the same.

use serde::{Deserialize, Serialize};

/// Presentation delay common to every track, in milliseconds: all media is shown this much after its place on
/// the timeline, so that no composition offset is ever negative (players built on libavformat mis-time those).
pub const PRESENTATION_DELAY_MS: i64 = 200;

/// Frames per second as an exact fraction in lowest terms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "(u32, u32)", into = "(u32, u32)")]
pub struct FrameRate {
    num: u32,
    den: u32,
}

/// The fraction is zero, infinite or above 1000 frames per second.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("frame rate {0}/{1} is not between 1/1000 and 1000 frames per second")]
pub struct BadFrameRate(u32, u32);

impl TryFrom<(u32, u32)> for FrameRate {
    type Error = BadFrameRate;
    fn try_from((num, den): (u32, u32)) -> Result<Self, BadFrameRate> {
        Self::new(num, den).ok_or(BadFrameRate(num, den))
    }
}

impl From<FrameRate> for (u32, u32) {
    fn from(rate: FrameRate) -> Self {
        (rate.num, rate.den)
    }
}

/// Rates that cameras and broadcasters really use; measured rates within [`SNAP`] of one become it.
const STANDARD: [(u32, u32); 17] = [
    (60, 1),
    (60000, 1001),
    (50, 1),
    (48, 1),
    (48000, 1001),
    (40, 1),
    (30, 1),
    (30000, 1001),
    (25, 1),
    (24, 1),
    (24000, 1001),
    (20, 1),
    (15, 1),
    (15000, 1001),
    (25, 2),
    (12, 1),
    (10, 1),
];

/// Relative distance within which a measured rate is taken for a standard one. 30 and 30000/1001 are 0.1 % apart:
/// the nearest wins.
const SNAP: f64 = 0.02;

impl FrameRate {
    /// `num/den` frames per second, reduced; `None` outside 1/1000..=1000.
    #[must_use]
    pub fn new(num: u32, den: u32) -> Option<Self> {
        if num == 0 || den == 0 {
            return None;
        }
        let divisor = gcd(num, den);
        let rate = Self { num: num / divisor, den: den / divisor };
        (0.001..=1000.0).contains(&rate.as_f64()).then_some(rate)
    }

    /// Numerator in lowest terms.
    #[must_use]
    pub fn num(self) -> u32 {
        self.num
    }

    /// Denominator in lowest terms.
    #[must_use]
    pub fn den(self) -> u32 {
        self.den
    }

    /// Frames per second as a float, for display and estimates only.
    #[must_use]
    pub fn as_f64(self) -> f64 {
        f64::from(self.num) / f64::from(self.den)
    }

    /// The rate nearest to `fps` that real devices use, or `fps` itself in thousandths when none is near.
    #[must_use]
    pub fn snapped(fps: f64) -> Option<Self> {
        if !fps.is_finite() || fps <= 0.0 {
            return None;
        }
        let nearest = STANDARD
            .iter()
            .map(|&(n, d)| (f64::from(n) / f64::from(d), n, d))
            .min_by(|a, b| (a.0 - fps).abs().total_cmp(&(b.0 - fps).abs()))?;
        if (nearest.0 - fps).abs() <= fps * SNAP {
            return Self::new(nearest.1, nearest.2);
        }
        if (fps - fps.round()).abs() <= fps * 0.002 && fps >= 1.0 {
            return Self::new(to_u32(fps.round())?, 1);
        }
        Self::new(to_u32((fps * 1000.0).round())?, 1000)
    }

    /// This rate divided by the smallest whole number that brings it to at most `max` frames per second:
    /// 120 becomes 60, 240 becomes 60, 119.88 becomes 59.94, 90 becomes 45. Whole divisors keep motion even.
    #[must_use]
    pub fn capped(self, max: u32) -> Self {
        let mut divisor = 1;
        while u64::from(self.num) > u64::from(max) * u64::from(self.den) * divisor {
            divisor += 1;
        }
        // At most 1000 frames per second exist, so the divisor is small and the product fits.
        let den = u64::from(self.den) * divisor;
        u32::try_from(den).ok().and_then(|den| Self::new(self.num, den)).unwrap_or(self)
    }

    /// This rate doubled: what a field-rate deinterlacer gives.
    #[must_use]
    pub fn doubled(self) -> Self {
        self.num.checked_mul(2).and_then(|num| Self::new(num, self.den)).unwrap_or(self)
    }

    /// Ticks per second of a track at this rate: a multiple of the numerator, so that a frame lasts a whole number
    /// of ticks, fine enough for players, and divisible by 5, so that the presentation delay is whole too.
    #[must_use]
    pub fn timescale(self) -> u32 {
        if self.num < 1000 {
            self.num * 1000
        } else if self.num.is_multiple_of(5) {
            self.num
        } else {
            self.num.saturating_mul(5)
        }
    }

    /// Ticks of [`timescale`](Self::timescale) that one frame lasts.
    #[must_use]
    pub fn frame_ticks(self) -> u32 {
        self.den * (self.timescale() / self.num)
    }

    /// Seconds from the start of the timeline to frame `k`.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "frame counts stay far below 2^52")]
    pub fn seconds(self, frames: u64) -> f64 {
        frames as f64 * f64::from(self.den) / f64::from(self.num)
    }
}

impl std::fmt::Display for FrameRate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.den == 1 { write!(f, "{}", self.num) } else { write!(f, "{:.3}", self.as_f64()) }
    }
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "range checked")]
fn to_u32(x: f64) -> Option<u32> {
    (x >= 1.0 && x < f64::from(u32::MAX)).then_some(x as u32)
}

/// Where GOPs and segments begin, in output frames. One grid serves all renditions of a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grid {
    /// Frames in a GOP; a GOP never crosses a segment border.
    pub gop: u32,
    /// Where segments begin.
    pub borders: Borders,
}

/// How segment borders are given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Borders {
    /// Every `frames` frames from zero on.
    Every {
        /// Frames in a segment.
        frames: u32,
    },
    /// At these frames (the first is 0), because a copied rendition has its key frames there. The last segment ends
    /// with the source.
    At {
        /// First frame of each segment, ascending.
        starts: Vec<u64>,
    },
}

impl Grid {
    /// The usual grid: GOPs of `gop_seconds`, segments of `gops_per_segment` GOPs, in whole frames.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a few seconds of at most 1000 fps")]
    pub fn even(rate: FrameRate, gop_seconds: f64, gops_per_segment: u32) -> Self {
        let gop = (rate.as_f64() * gop_seconds).round().clamp(1.0, 10_000.0) as u32;
        Self { gop, borders: Borders::Every { frames: gop * gops_per_segment.max(1) } }
    }

    /// First frame of segment `index`; past the last border of [`Borders::At`] this is `None`.
    #[must_use]
    pub fn start(&self, index: u64) -> Option<u64> {
        match &self.borders {
            Borders::Every { frames } => Some(index * u64::from(*frames)),
            Borders::At { starts } => usize::try_from(index).ok().and_then(|i| starts.get(i)).copied(),
        }
    }

    /// Frame at which segment `index` ends, when the grid knows one; the source may end earlier.
    #[must_use]
    pub fn end(&self, index: u64) -> Option<u64> {
        self.start(index + 1)
    }

    /// The segment that holds `frame`.
    #[must_use]
    pub fn segment_of(&self, frame: u64) -> u64 {
        match &self.borders {
            Borders::Every { frames } => frame / u64::from(*frames),
            Borders::At { starts } => starts.partition_point(|&s| s <= frame).saturating_sub(1) as u64,
        }
    }

    /// Whether `frame` is an IDR: a segment border, or a whole number of GOPs after one.
    #[must_use]
    pub fn is_idr(&self, frame: u64) -> bool {
        let start = self.start(self.segment_of(frame)).unwrap_or(0);
        (frame - start).is_multiple_of(u64::from(self.gop))
    }

    /// Segments that `frames` frames fill; the last may be short.
    #[must_use]
    pub fn segments(&self, frames: u64) -> u64 {
        if frames == 0 { 0 } else { self.segment_of(frames - 1) + 1 }
    }
}

/// `h:mm:ss` for people.
#[must_use]
pub fn clock(seconds: f64) -> String {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped")]
    let s = seconds.clamp(0.0, 1e7) as u64;
    if s >= 3600 {
        format!("{}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60)
    } else {
        format!("{}:{:02}", s / 60, s % 60)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(n: u32, d: u32) -> FrameRate {
        FrameRate::new(n, d).unwrap()
    }

    #[test]
    fn measured_rates_snap_to_what_devices_use() {
        for (fps, want) in [
            (29.97, (30000, 1001)),
            (30.0, (30, 1)),
            (30.002, (30, 1)),
            (29.95, (30000, 1001)),
            (59.93, (60000, 1001)),
            (60.058, (60, 1)),
            (23.98, (24000, 1001)),
            (24.038, (24, 1)),
            (12.5, (25, 2)),
            (14.97, (15000, 1001)),
            (1.0, (1, 1)),
            (7.3, (73, 10)),
            (16.0, (16, 1)),
        ] {
            assert_eq!(FrameRate::snapped(fps), FrameRate::new(want.0, want.1), "{fps}");
        }
        assert_eq!(FrameRate::snapped(f64::NAN), None);
        assert_eq!(FrameRate::snapped(0.0), None);
    }

    #[test]
    fn rates_above_the_cap_are_divided_by_whole_numbers() {
        assert_eq!(rate(120, 1).capped(60), rate(60, 1));
        assert_eq!(rate(240, 1).capped(60), rate(60, 1));
        assert_eq!(rate(120_000, 1001).capped(60), rate(60_000, 1001));
        assert_eq!(rate(90, 1).capped(60), rate(45, 1));
        assert_eq!(rate(60, 1).capped(60), rate(60, 1));
    }

    #[test]
    fn ticks_are_whole_for_frames_and_for_the_delay() {
        for (n, d) in STANDARD.iter().copied().chain([(73, 10), (14985, 1000), (999_999, 1001), (1, 1)]) {
            let Some(rate) = FrameRate::new(n, d) else { continue };
            let timescale = rate.timescale();
            assert_eq!(
                u64::from(rate.frame_ticks()) * u64::from(rate.num()),
                u64::from(timescale) * u64::from(rate.den())
            );
            assert_eq!(i64::from(timescale) * PRESENTATION_DELAY_MS % 1000, 0, "{rate}");
        }
    }

    #[test]
    fn ntsc_segments_are_180_frames() {
        let grid = Grid::even(rate(30000, 1001), 2.0, 3);
        assert_eq!(grid.gop, 60);
        assert_eq!(grid.start(1), Some(180));
        assert_eq!(grid.segment_of(179), 0);
        assert_eq!(grid.segment_of(180), 1);
        assert_eq!(grid.segments(181), 2);
        assert!(grid.is_idr(60) && !grid.is_idr(61));
    }

    #[test]
    fn a_grid_of_copied_key_frames_restarts_its_gops_at_each_border() {
        let grid = Grid { gop: 48, borders: Borders::At { starts: vec![0, 250, 378] } };
        assert_eq!(grid.segment_of(249), 0);
        assert_eq!(grid.segment_of(250), 1);
        assert_eq!(grid.segment_of(10_000), 2);
        assert_eq!(grid.end(2), None);
        assert!(grid.is_idr(240) && grid.is_idr(250) && grid.is_idr(298) && !grid.is_idr(288));
        assert_eq!(grid.segments(379), 3);
    }
}
