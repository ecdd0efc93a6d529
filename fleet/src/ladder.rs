//! A ladder: the set of renditions a source is made into, as validated data.
//!
//! Ladders are YAML files (`worker/profiles/*.yaml`, documented in `docs/LADDERS.md`). Quality and speed are given
//! once, in words that mean the same for x264, x265 and NVENC; the mapping to encoder options lives in the worker.

use serde::{Deserialize, Serialize};

/// A validated ladder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ladder {
    /// Name used on the command line and in reports; lower-case letters, digits and dashes.
    pub name: String,
    /// One line for people who choose.
    pub description: String,
    /// What happens to a source that already is a legal top rendition.
    #[serde(default)]
    pub top: Top,
    /// Output frames per second are at most this; sources above are divided by a whole number.
    #[serde(default = "default_max_frame_rate")]
    pub max_frame_rate: u32,
    /// Seconds between IDR frames; rounded to whole frames.
    #[serde(default = "default_gop_seconds")]
    pub gop_seconds: f64,
    /// GOPs in a segment: 3 × 2 s is the 6 s that the HLS authoring specification asks for.
    #[serde(default = "default_segment_gops")]
    pub segment_gops: u32,
    /// How much work the encoder may spend.
    pub effort: Effort,
    /// Scaling kernel.
    #[serde(default)]
    pub scaler: Scaler,
    /// Video renditions, the highest first.
    pub renditions: Vec<Rung>,
    /// Sound.
    #[serde(default)]
    pub audio: Audio,
}

/// One video rendition of a ladder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rung {
    /// Length of the picture's shorter side in pixels: 1080 is 1920×1080, or 1080×1920 when the picture is upright.
    pub height: u32,
    /// Video codec.
    #[serde(default)]
    pub codec: Codec,
    /// Constant quality as an x264 CRF (0 best, 51 worst); other encoders use their nearest equal.
    pub quality: f64,
    /// Bit rate that is never exceeded over `buffer_seconds`, in kbit/s.
    pub max_kbps: u32,
    /// Size of the decoder buffer model (VBV) in seconds at `max_kbps`.
    #[serde(default = "default_buffer_seconds")]
    pub buffer_seconds: f64,
}

/// Sound of a ladder: always AAC-LC, stereo.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Audio {
    /// Bit rate in kbit/s.
    pub kbps: u32,
}

impl Default for Audio {
    fn default() -> Self {
        Self { kbps: 128 }
    }
}

/// What happens to a source whose own packets are a legal top rendition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Top {
    /// Copy when every rule for a top rendition holds, key frames at most one segment apart; else encode.
    Auto,
    /// Always encode.
    #[default]
    Encode,
    /// Copy also when key frames are up to 12 s apart (segments then follow the source); encode only what cannot be
    /// copied at all.
    Copy,
}

/// Video codec of a rendition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Codec {
    /// H.264/AVC.
    #[default]
    H264,
    /// H.265/HEVC.
    Hevc,
}

/// How much work the encoder may spend on a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effort {
    /// x264 `veryfast`, NVENC `p4`.
    Fast,
    /// x264 `medium`, NVENC `p5`.
    Balanced,
    /// x264 `slow`, NVENC `p7`.
    Best,
}

/// Scaling kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scaler {
    /// Sharpest; the default.
    #[default]
    Lanczos,
    /// The kernel of the FFmpeg command line's default, for comparisons at equal bytes.
    Bicubic,
}

fn default_max_frame_rate() -> u32 {
    60
}
fn default_gop_seconds() -> f64 {
    2.0
}
fn default_segment_gops() -> u32 {
    3
}
fn default_buffer_seconds() -> f64 {
    2.0
}

/// A ladder that cannot be used, with every reason.
#[derive(Debug, thiserror::Error)]
pub enum LadderError {
    /// Not YAML, an unknown field, or a value of the wrong kind.
    #[error("ladder {name}: {detail}")]
    Syntax {
        /// What was being read.
        name: String,
        /// Line, column and reason.
        detail: String,
    },
    /// Well-formed, but the values make no sense.
    #[error("ladder {name}: {}", problems.join("; "))]
    Invalid {
        /// What was being read.
        name: String,
        /// All problems, so that one run shows them all.
        problems: Vec<String>,
    },
}

/// Largest ladder file that is read, in bytes.
pub const MAX_FILE_BYTES: usize = 64 * 1024;

impl Ladder {
    /// Reads and validates a ladder; `origin` names it in errors.
    ///
    /// # Errors
    /// [`LadderError`] with every problem found.
    pub fn from_yaml(origin: &str, text: &str) -> Result<Self, LadderError> {
        let syntax = |detail: String| LadderError::Syntax { name: origin.to_owned(), detail };
        if text.len() > MAX_FILE_BYTES {
            return Err(syntax(format!("is larger than {MAX_FILE_BYTES} bytes")));
        }
        let ladder: Self = serde_saphyr::from_str(text).map_err(|e| syntax(e.to_string()))?;
        let problems = ladder.problems();
        if problems.is_empty() { Ok(ladder) } else { Err(LadderError::Invalid { name: origin.to_owned(), problems }) }
    }

    fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let mut check = |ok: bool, text: String| {
            if !ok {
                problems.push(text);
            }
        };
        let name_ok = !self.name.is_empty()
            && self.name.len() <= 40
            && self.name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        check(name_ok, "name: use 1 to 40 of a-z, 0-9 and '-'".into());
        check((1..=60).contains(&self.max_frame_rate), "max_frame_rate: must be 1 to 60 (HLS allows no more)".into());
        check(
            self.gop_seconds.is_finite() && (0.5..=4.0).contains(&self.gop_seconds),
            "gop_seconds: must be 0.5 to 4".into(),
        );
        check((1..=10).contains(&self.segment_gops), "segment_gops: must be 1 to 10".into());
        let segment = self.gop_seconds * f64::from(self.segment_gops);
        check(
            !segment.is_finite() || (2.0..=10.0).contains(&segment),
            format!("gop_seconds × segment_gops is {segment} s: a segment must last 2 to 10 s"),
        );
        check((1..=8).contains(&self.renditions.len()), "renditions: give 1 to 8".into());
        check((32..=160).contains(&self.audio.kbps), "audio.kbps: must be 32 to 160".into());
        for (i, rung) in self.renditions.iter().enumerate() {
            let at = format!("renditions[{i}] ({}p)", rung.height);
            check(
                (64..=4320).contains(&rung.height) && rung.height.is_multiple_of(2),
                format!("{at}: height must be even, 64 to 4320"),
            );
            check(
                rung.quality.is_finite() && (1.0..=51.0).contains(&rung.quality),
                format!("{at}: quality must be 1 to 51"),
            );
            check((100..=100_000).contains(&rung.max_kbps), format!("{at}: max_kbps must be 100 to 100000"));
            check(
                rung.buffer_seconds.is_finite() && (0.5..=10.0).contains(&rung.buffer_seconds),
                format!("{at}: buffer_seconds must be 0.5 to 10"),
            );
        }
        for pair in self.renditions.windows(2) {
            check(
                pair[0].height > pair[1].height,
                format!("renditions: {}p must come after {}p, the highest first", pair[0].height, pair[1].height),
            );
        }
        problems
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "
name: test
description: for tests
effort: fast
renditions:
  - { height: 720, quality: 23, max_kbps: 3000 }
  - { height: 360, quality: 23, max_kbps: 800 }
";

    #[test]
    fn a_text_larger_than_any_ladder_is_not_read() {
        let padded = |length: usize| format!("{GOOD}#{}", "x".repeat(length - GOOD.len() - 1));
        assert!(Ladder::from_yaml("test", &padded(MAX_FILE_BYTES)).is_ok());
        assert!(Ladder::from_yaml("test", &padded(MAX_FILE_BYTES + 1)).is_err());
    }

    #[test]
    fn defaults_are_two_second_gops_in_six_second_segments_at_most_sixty_frames() {
        let ladder = Ladder::from_yaml("test", GOOD).unwrap();
        assert_eq!((ladder.gop_seconds, ladder.segment_gops, ladder.max_frame_rate), (2.0, 3, 60));
        assert_eq!((ladder.top, ladder.scaler, ladder.audio.kbps), (Top::Encode, Scaler::Lanczos, 128));
        assert_eq!(ladder.renditions[0].codec, Codec::H264);
    }

    #[test]
    fn all_problems_are_reported_at_once() {
        let bad = GOOD
            .replace("name: test", "name: Größe")
            .replace("height: 360", "height: 1081")
            .replace("23, max_kbps: 800", "99, max_kbps: 1");
        let text = Ladder::from_yaml("x.yaml", &bad).unwrap_err().to_string();
        for part in ["x.yaml", "name:", "height must be even", "quality must be", "max_kbps must be", "highest first"] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }

    #[test]
    fn an_unknown_field_is_refused_with_its_name() {
        let text = Ladder::from_yaml("x", &GOOD.replace("effort", "efort")).unwrap_err().to_string();
        assert!(text.contains("efort"), "{text}");
    }

    #[test]
    fn numbers_that_are_not_finite_are_refused() {
        for field in ["gop_seconds: .nan", "gop_seconds: .inf"] {
            assert!(Ladder::from_yaml("x", &format!("{GOOD}{field}\n")).is_err(), "{field}");
        }
    }
}
