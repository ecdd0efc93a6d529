//! What parent and engine say to each other over inherited sockets.
//!
//! Every message is `u32 header length, u32 payload length` (little endian), a JSON header, raw payload bytes.
//! The parent treats what the engine says as hostile: lengths are bounded here, the content is checked against the plan
//! (`verify`).

use std::io::{self, Read, Write};

use fleet::failure::FailureCode;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::confinement::Confinement;
use crate::facts::SourceFacts;
use crate::plan::{AudioPlan, VideoPlan};

/// Largest JSON header in bytes.
pub const MAX_HEADER: u32 = 4 << 20;
/// Largest payload in bytes: a segment of 10 s at 100 Mbit/s is 125 MB.
pub const MAX_PAYLOAD: u32 = 192 << 20;
/// Largest read of the source that an engine may ask for, in bytes.
pub const MAX_READ: u32 = 4 << 20;

/// Parent to engine.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case")]
pub enum Command {
    /// Look at the source.
    Probe,
    /// Encode a run of segments of all video renditions.
    Video {
        /// What to make.
        plan: Box<VideoPlan>,
        /// Which part.
        task: VideoTask,
    },
    /// Make a sound track, from a segment to its end.
    Audio {
        /// What to make.
        plan: Box<AudioPlan>,
        /// First segment that is missing.
        first_segment: u64,
    },
    /// Try the hardware: open a decoder and encoders on the GPU.
    TryHardware,
    /// Encode and decode a known film.
    Golden {
        /// FFmpeg's name of the encoder.
        encoder: String,
    },
    /// Try one of the things that must not be possible (`media::forbidden`), to see that it is not.
    TryForbidden {
        /// Its name.
        operation: String,
    },
}

/// A run of segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VideoTask {
    /// First segment.
    pub first_segment: u64,
    /// Segment after the last; `None` to go on to the end of the source.
    pub end_segment: Option<u64>,
    /// Threads to use: 1 for one of many slots, else one per rendition.
    pub threads: u32,
}

/// Engine to parent.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The first message: the engine is locked, and has read nothing yet.
    Ready(Confinement),
    /// Answer to [`Command::Probe`].
    Probed {
        /// What was found.
        facts: Box<SourceFacts>,
    },
    /// The init segment of a rendition is the payload.
    Init {
        /// Rendition name.
        rendition: String,
    },
    /// A finished segment is the payload.
    Segment(SegmentEvent),
    /// A thumbnail is the payload: tightly packed RGB.
    Thumbnail {
        /// Number on the storyboard.
        index: u64,
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
    },
    /// The poster is the payload: tightly packed RGB.
    Poster {
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
    },
    /// Output frames of the current task done so far.
    Progress {
        /// Frames.
        frames: u64,
    },
    /// The current task is done.
    Done(TaskReport),
    /// The current task failed; the engine lives on.
    Failed {
        /// Why.
        code: FailureCode,
        /// One sentence for the log.
        message: String,
    },
    /// Answer to [`Command::TryHardware`].
    Hardware(Hardware),
    /// Answer to [`Command::Golden`].
    Golden(Golden),
    /// Answer to [`Command::TryForbidden`], unless the attempt was the end of the engine.
    Forbidden {
        /// Whether it was refused.
        refused: bool,
    },
}

impl Event {
    /// Its kind, for errors.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Ready(_) => "ready",
            Self::Probed { .. } => "probed",
            Self::Init { .. } => "init",
            Self::Segment(_) => "segment",
            Self::Thumbnail { .. } => "thumbnail",
            Self::Poster { .. } => "poster",
            Self::Progress { .. } => "progress",
            Self::Done(_) => "done",
            Self::Failed { .. } => "failed",
            Self::Hardware(_) => "hardware",
            Self::Golden(_) => "golden",
            Self::Forbidden { .. } => "forbidden",
        }
    }
}

/// A finished segment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SegmentEvent {
    /// Rendition name.
    pub rendition: String,
    /// Segment number.
    pub index: u64,
    /// First output frame (video) or sample (audio).
    pub first: u64,
    /// Frames (video) or samples (audio).
    pub count: u64,
}

/// How a task ended.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TaskReport {
    /// Output frames of the whole source, when this task met its end.
    pub source_end: Option<u64>,
    /// Output frames made.
    pub frames: u64,
    /// Source frames decoded.
    pub decoded: u64,
    /// Packets or frames that were damaged.
    pub damaged: u64,
    /// CPU seconds by stage, for the benchmark.
    pub cpu_s: StageSeconds,
    /// What a person should know.
    pub warnings: Vec<String>,
}

/// CPU seconds by stage, of the threads that do the work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StageSeconds {
    /// Reading and demuxing.
    pub demux: f64,
    /// Video decoding.
    pub decode: f64,
    /// Scaling, turning, deinterlacing, tone mapping.
    pub filter: f64,
    /// Video encoding.
    pub encode: f64,
    /// Fragments, hand-over.
    pub package: f64,
    /// All of sound.
    pub audio: f64,
}

impl StageSeconds {
    /// Adds another task's seconds.
    pub fn add(&mut self, other: &Self) {
        self.demux += other.demux;
        self.decode += other.decode;
        self.filter += other.filter;
        self.encode += other.encode;
        self.package += other.package;
        self.audio += other.audio;
    }
}

/// What hardware answered when it was tried.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hardware {
    /// NVDEC decoded frames, and for NVENC, CUDA filters deinterlaced and scaled them.
    pub cuda: bool,
    /// `h264_nvenc` encoded frames on the GPU.
    pub h264_nvenc: bool,
    /// `hevc_nvenc` encoded frames on the GPU.
    pub hevc_nvenc: bool,
    /// Why not, in FFmpeg's words.
    pub reasons: Vec<String>,
}

/// What came out of a known film.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Golden {
    /// Frames.
    pub frames: u64,
    /// Likeness of the worst of them, in dB.
    pub worst_db: f64,
}

/// Serialises a message.
///
/// # Errors
/// Larger than the limits.
pub fn encode<T: Serialize>(message: &T, payload: &[u8]) -> io::Result<Vec<u8>> {
    let header = serde_json::to_vec(message)?;
    let too_large = || io::Error::new(io::ErrorKind::InvalidData, "message exceeds its limit");
    let header_length = u32::try_from(header.len()).ok().filter(|n| *n <= MAX_HEADER).ok_or_else(too_large)?;
    let payload_length = u32::try_from(payload.len()).ok().filter(|n| *n <= MAX_PAYLOAD).ok_or_else(too_large)?;
    let mut bytes = Vec::with_capacity(8 + header.len());
    bytes.extend_from_slice(&header_length.to_le_bytes());
    bytes.extend_from_slice(&payload_length.to_le_bytes());
    bytes.extend_from_slice(&header);
    Ok(bytes)
}

/// Lengths of header and payload from the first eight bytes.
///
/// # Errors
/// Larger than the limits.
pub fn lengths(prefix: [u8; 8]) -> io::Result<(usize, usize)> {
    let header = u32::from_le_bytes([prefix[0], prefix[1], prefix[2], prefix[3]]);
    let payload = u32::from_le_bytes([prefix[4], prefix[5], prefix[6], prefix[7]]);
    if header > MAX_HEADER || payload > MAX_PAYLOAD {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "message exceeds its limit"));
    }
    Ok((header as usize, payload as usize))
}

/// Writes a message, blocking.
///
/// # Errors
/// The other side is gone.
pub fn write<T: Serialize>(stream: &mut impl Write, message: &T, payload: &[u8]) -> io::Result<()> {
    stream.write_all(&encode(message, payload)?)?;
    stream.write_all(payload)?;
    stream.flush()
}

/// Reads a message without payload, blocking; `None` when the other side has closed.
///
/// # Errors
/// Broken framing or JSON, or the other side is gone within a message.
pub fn read<T: DeserializeOwned>(stream: &mut impl Read) -> io::Result<Option<T>> {
    let mut prefix = [0; 8];
    match stream.read_exact(&mut prefix) {
        Ok(()) => {}
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(e) => return Err(e),
    }
    let (header, payload) = lengths(prefix)?;
    if payload != 0 {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "commands carry no payload"));
    }
    let mut bytes = vec![0; header];
    stream.read_exact(&mut bytes)?;
    Ok(Some(serde_json::from_slice(&bytes)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_survives_the_wire() {
        let mut wire = Vec::new();
        write(&mut wire, &Command::Probe, &[]).unwrap();
        assert!(matches!(read::<Command>(&mut wire.as_slice()).unwrap(), Some(Command::Probe)));
        assert!(read::<Command>(&mut [].as_slice()).unwrap().is_none());
    }

    #[test]
    fn a_length_beyond_the_limit_is_refused_before_memory_is_taken() {
        let mut prefix = [0xff; 8];
        assert!(lengths(prefix).is_err());
        prefix[..4].copy_from_slice(&16u32.to_le_bytes());
        assert!(lengths(prefix).is_err());
    }
}
