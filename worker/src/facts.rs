//! What a probe learns of a source: plain data, the only input of planning.

pub use fleet::plan::Turn;
use fleet::timeline::FrameRate;
use serde::{Deserialize, Serialize};

/// A source as found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SourceFacts {
    /// FFmpeg's name of the container.
    pub container: String,
    /// Whether the container has an index that finds key frames without reading from the start.
    pub indexed: bool,
    /// Duration in seconds as the container or a guess has it; the end is where reading ends.
    pub duration_s: Option<f64>,
    /// Size in bytes.
    pub size_bytes: u64,
    /// The film.
    pub video: VideoFacts,
    /// Sound tracks that can be decoded, in the order of the container.
    pub audio: Vec<AudioFacts>,
    /// Sentences about what was left out or looks odd.
    pub warnings: Vec<String>,
}

/// The video stream.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VideoFacts {
    /// Position in the container.
    pub stream: usize,
    /// Codec name.
    pub codec: String,
    /// Profile number of the codec; negative when unknown.
    pub profile: i32,
    /// Level number of the codec; negative when unknown.
    pub level: i32,
    /// Seconds per tick as a fraction.
    pub time_base: (i32, i32),
    /// Time of the first displayed frame in ticks: zero of the output.
    pub origin: i64,
    /// Width of a decoded frame in pixels.
    pub width: u32,
    /// Height of a decoded frame in pixels.
    pub height: u32,
    /// Shape of a pixel, width to height.
    pub pixel_aspect: (u32, u32),
    /// How the picture must be turned to be upright.
    pub turn: Turn,
    /// Pixel format name.
    pub pixel_format: String,
    /// Whether the pictures hold two fields.
    pub interlaced: bool,
    /// The source's own nominal frame rate.
    pub rate: FrameRate,
    /// Whether frames come at that rate without exception, as far as looked.
    pub constant_rate: bool,
    /// Numbers of range, matrix, primaries and transfer (ISO/IEC 23091-4).
    pub colour: [u32; 4],
    /// Bits per second, when known.
    pub bit_rate: Option<u64>,
    /// Key frames as output frame numbers, when the packets can be copied as they are: closed GOPs on an exact grid.
    pub copyable: Option<CopyFacts>,
}

/// What is needed to copy the video packets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CopyFacts {
    /// Output frame numbers of the key frames, ascending from 0.
    pub key_frames: Vec<u64>,
    /// Frames in the stream.
    pub frames: u64,
}

impl VideoFacts {
    /// Size on a display with square pixels, upright.
    #[must_use]
    pub fn display_size(&self) -> (u32, u32) {
        let (num, den) = self.pixel_aspect;
        let width = f64::from(self.width) * f64::from(num.max(1)) / f64::from(den.max(1));
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to 1..=65535")]
        let width = width.round().clamp(1.0, 65_535.0) as u32;
        if self.turn.swaps_sides() { (self.height, width) } else { (width, self.height) }
    }

    /// Whether the pictures have more brightness than SDR displays show.
    #[must_use]
    pub fn is_hdr(&self) -> bool {
        matches!(self.colour[3], TRANSFER_PQ | TRANSFER_HLG)
    }

    /// Whether the pictures use the wide BT.2020 colour space.
    #[must_use]
    pub fn is_wide_gamut(&self) -> bool {
        matches!(self.colour[1], 9 | 10)
    }
}

/// Transfer number of SMPTE ST 2084 (PQ).
pub const TRANSFER_PQ: u32 = 16;
/// Transfer number of ARIB STD-B67 (HLG).
pub const TRANSFER_HLG: u32 = 18;

/// One sound track.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AudioFacts {
    /// Position in the container.
    pub stream: usize,
    /// Codec name.
    pub codec: String,
    /// Profile number of the codec.
    pub profile: i32,
    /// Seconds per tick as a fraction.
    pub time_base: (i32, i32),
    /// First time in ticks, when known.
    pub start: Option<i64>,
    /// ISO 639-2 language.
    pub language: Option<String>,
    /// Flagged as the default track.
    pub is_default: bool,
    /// Channels.
    pub channels: u32,
    /// Samples per second.
    pub sample_rate: u32,
    /// Bits per second, when known.
    pub bit_rate: Option<u64>,
    /// `AudioSpecificConfig` and the like.
    pub extradata: Vec<u8>,
}
