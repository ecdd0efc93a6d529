//! The plan of a job: everything that is decided before the first frame is encoded, as data.
//!
//! A worker makes it from a probe and a ladder (`worker::plan`); the store keeps it, engines follow it, the publisher reads it.

use serde::{Deserialize, Serialize};

use crate::ladder::{Codec, Scaler};
use crate::timeline::{FrameRate, Grid};

/// Everything that is decided before the first frame is encoded.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobPlan {
    /// Name of the ladder.
    pub ladder: String,
    /// The pictures.
    pub video: VideoPlan,
    /// The sound, one plan a track.
    pub audio: Vec<AudioPlan>,
    /// Output frames expected from the container's duration; the end is where reading ends.
    pub expected_frames: Option<u64>,
    /// Sentences about decisions that a person may ask about.
    pub notes: Vec<String>,
}

/// How the pictures are made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VideoPlan {
    /// Stream of the source.
    pub stream: usize,
    /// Whether the container finds key frames by its index.
    pub indexed: bool,
    /// Seconds per source tick.
    pub time_base: (i32, i32),
    /// Source time of output zero, in ticks.
    pub origin: i64,
    /// The source's own frame rate after deinterlacing.
    pub source_rate: FrameRate,
    /// Output frame rate.
    pub rate: FrameRate,
    /// GOPs and segments.
    pub grid: Grid,
    /// Whether fields are made into frames.
    pub deinterlace: bool,
    /// How the picture is turned.
    pub turn: Turn,
    /// Colour numbers of the source.
    pub colour: [u32; 4],
    /// Whether the picture is brought to SDR BT.709.
    pub to_sdr: bool,
    /// Kernel.
    pub scaler: Scaler,
    /// Whether decoding is tried on the GPU.
    pub gpu_decode: bool,
    /// The outputs, the largest first.
    pub renditions: Vec<RenditionPlan>,
    /// Frames between thumbnails.
    pub thumbnail_every: u64,
    /// Size of a thumbnail.
    pub thumbnail_size: (u32, u32),
    /// The frame shown before playing.
    pub poster_frame: u64,
}

/// One video rendition.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RenditionPlan {
    /// Folder and name, for example `v720`.
    pub name: String,
    /// Width in pixels, even.
    pub width: u32,
    /// Height in pixels, even.
    pub height: u32,
    /// Codec.
    pub codec: Codec,
    /// Encode with these settings, or copy the source's packets when `None`.
    pub encode: Option<EncoderSettings>,
}

/// One sound track.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AudioPlan {
    /// Folder and name, for example `audio-eng`.
    pub name: String,
    /// Stream of the source.
    pub stream: usize,
    /// The film's stream: its times rule when a container's clock jumps.
    pub video_stream: usize,
    /// Whether the container finds places by its index.
    pub indexed: bool,
    /// Source time of output zero as ticks of `origin_time_base`.
    pub origin: i64,
    /// Seconds per tick of `origin`.
    pub origin_time_base: (i32, i32),
    /// ISO 639-2 language.
    pub language: Option<String>,
    /// Whether players choose it by themselves.
    pub is_default: bool,
    /// Copy the packets instead of encoding.
    pub copy: bool,
    /// Samples per second of the output.
    pub sample_rate: u32,
    /// Bits per second when encoding.
    pub bit_rate: u32,
    /// The grid of the pictures, whose borders the sound follows.
    pub grid: Grid,
    /// Frames per second of that grid.
    pub rate: FrameRate,
}

/// Longest chunk in seconds. What a lost worker's successor has to find again in the source is short beside it.
const LONGEST_CHUNK_S: f64 = 48.0;

/// Chunks of a source without an index, at most: each is found by reading the source from its start.
const MOST_UNINDEXED_CHUNKS: u64 = 8;

/// Runs of segments that workers take, in order of the match, the last one open-ended. The first are short, so that
/// there is something to watch soon; those near the end are shorter again, so that no worker is left with a long one
/// when all others are idle.
#[must_use]
pub fn spread(plan: &VideoPlan, expected_frames: Option<u64>) -> Vec<(u64, Option<u64>)> {
    let segments = plan.grid.segments(expected_frames.unwrap_or(0)).max(1);
    let segment_s = plan.rate.seconds(expected_frames.unwrap_or(1)).max(0.001) / to_f64(segments);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped")]
    let longest = (LONGEST_CHUNK_S / segment_s).round().clamp(1.0, 1000.0) as u64;
    let mut borders = Vec::new();
    let mut at = 0;
    while at < segments {
        borders.push(at);
        let left = segments - at;
        let number = borders.len() as u64 - 1;
        let growing = 1 << (number / 2).min(10);
        let length = if plan.indexed {
            let tail = if left * 12 < segments {
                longest / 4
            } else if left * 4 < segments {
                longest / 2
            } else {
                longest
            };
            growing.min(tail.max(1))
        } else {
            growing.max(segments.div_ceil(MOST_UNINDEXED_CHUNKS))
        };
        at += if number < 2 { 1 } else { length };
    }
    let ends = borders.iter().skip(1).copied().map(Some).chain([None]);
    borders.iter().copied().zip(ends).collect()
}

#[expect(clippy::cast_precision_loss, reason = "segment counts")]
fn to_f64(n: u64) -> f64 {
    n as f64
}

/// What encodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Backend {
    /// libx264 and libx265 on the CPU.
    X264,
    /// NVENC on an NVIDIA GPU.
    Nvenc,
}

impl std::fmt::Display for Backend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::X264 => "x264",
            Self::Nvenc => "nvenc",
        })
    }
}

/// Everything an encoder of one rendition is opened with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EncoderSettings {
    /// FFmpeg's name of the encoder.
    pub encoder: String,
    /// Average bit rate in bit/s, 0 for pure constant quality.
    pub bit_rate: i64,
    /// VBV rate in bit/s.
    pub max_rate: i64,
    /// VBV size in bits.
    pub buffer_bits: i32,
    /// Longest distance of IDR frames, in frames.
    pub gop: i32,
    /// Private options.
    pub options: Vec<(String, String)>,
}

/// One of the eight ways a camera can be held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Turn {
    /// As it is.
    #[default]
    None,
    /// A quarter to the right.
    Right,
    /// Upside down.
    Half,
    /// A quarter to the left.
    Left,
    /// Mirrored left to right.
    MirrorHorizontal,
    /// Mirrored top to bottom.
    MirrorVertical,
    /// Mirrored along the falling diagonal.
    Transpose,
    /// Mirrored along the rising diagonal.
    Transverse,
}

impl Turn {
    /// The turn nearest to a display matrix (ISO/IEC 14496-12, 8.3.2): `[a b u; c d v; x y w]` maps `(p, q)` to
    /// `(a·p + c·q, b·p + d·q)`, with y pointing down.
    #[must_use]
    pub fn from_matrix(matrix: &[i32; 9]) -> Self {
        let (a, b, c, d) = (i64::from(matrix[0]), i64::from(matrix[1]), i64::from(matrix[3]), i64::from(matrix[4]));
        let straight = a.abs() + d.abs() >= b.abs() + c.abs();
        match (straight, a >= 0, d >= 0, b >= 0, c >= 0) {
            (true, true, true, ..) => Self::None,
            (true, false, false, ..) => Self::Half,
            (true, false, true, ..) => Self::MirrorHorizontal,
            (true, true, false, ..) => Self::MirrorVertical,
            (false, _, _, true, false) => Self::Right,
            (false, _, _, false, true) => Self::Left,
            (false, _, _, true, true) => Self::Transpose,
            (false, _, _, false, false) => Self::Transverse,
        }
    }

    /// Whether width and height change places.
    #[must_use]
    pub fn swaps_sides(self) -> bool {
        matches!(self, Self::Right | Self::Left | Self::Transpose | Self::Transverse)
    }

    /// FFmpeg filters that do it on the CPU.
    #[must_use]
    pub fn filters(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Right => "transpose=clock,",
            Self::Half => "hflip,vflip,",
            Self::Left => "transpose=cclock,",
            Self::MirrorHorizontal => "hflip,",
            Self::MirrorVertical => "vflip,",
            Self::Transpose => "transpose=cclock_flip,",
            Self::Transverse => "transpose=clock_flip,",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn video(indexed: bool) -> VideoPlan {
        let rate = FrameRate::new(25, 1).unwrap();
        VideoPlan {
            stream: 0,
            indexed,
            time_base: (1, 25),
            origin: 0,
            source_rate: rate,
            rate,
            grid: Grid::even(rate, 2.0, 3),
            deinterlace: false,
            turn: Turn::None,
            colour: [1; 4],
            to_sdr: false,
            scaler: Scaler::Lanczos,
            gpu_decode: false,
            renditions: Vec::new(),
            thumbnail_every: 50,
            thumbnail_size: (160, 90),
            poster_frame: 0,
        }
    }

    #[test]
    fn chunks_cover_every_segment_once_and_start_and_end_short() {
        for segments in [1, 2, 3, 10, 37, 200, 900, 1800] {
            for indexed in [true, false] {
                let chunks = spread(&video(indexed), Some(segments * 150));
                assert_eq!(chunks[0].0, 0);
                for pair in chunks.windows(2) {
                    assert_eq!(pair[0].1, Some(pair[1].0));
                    assert!(pair[0].0 < pair[1].0);
                }
                assert_eq!(chunks.last().unwrap().1, None);
                assert!(chunks.last().unwrap().0 < segments);
                if segments > 1 {
                    assert_eq!(chunks[0].1, Some(1));
                }
                if !indexed {
                    assert!(chunks.len() <= 10, "{segments}: {chunks:?}");
                }
            }
        }
        let match_long = spread(&video(true), Some(900 * 150));
        let lengths: Vec<u64> = match_long.iter().filter_map(|(a, b)| Some(b.as_ref()? - a)).collect();
        assert_eq!(lengths.iter().max(), Some(&8));
        assert!(lengths.iter().rev().take(5).all(|l| *l <= 2), "{lengths:?}");
    }

    #[test]
    fn a_source_of_unknown_length_is_one_open_chunk() {
        assert_eq!(spread(&video(true), None), [(0, None)]);
    }

    #[test]
    fn display_matrices_become_turns() {
        const ONE: i32 = 1 << 16;
        for (a, b, c, d, want) in [
            (ONE, 0, 0, ONE, Turn::None),
            (0, ONE, -ONE, 0, Turn::Right),
            (-ONE, 0, 0, -ONE, Turn::Half),
            (0, -ONE, ONE, 0, Turn::Left),
            (-ONE, 0, 0, ONE, Turn::MirrorHorizontal),
            (ONE, 0, 0, -ONE, Turn::MirrorVertical),
            (0, ONE, ONE, 0, Turn::Transpose),
            (0, -ONE, -ONE, 0, Turn::Transverse),
        ] {
            assert_eq!(Turn::from_matrix(&[a, b, 0, c, d, 0, 0, 0, 1 << 30]), want);
        }
    }
}
