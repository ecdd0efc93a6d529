//! Looks at a source: streams, the first frames, the index. Decides nothing.

use fleet::failure::FailureCode;
use fleet::timeline::FrameRate;
use media::decode::{Decoder, MAX_PIXELS};
use media::demux::{Demuxer, StreamFacts, StreamKind};
use media::io::ReadAt;
use media::{Packet, Received};

use super::EngineError;
use super::range::RangeClient;
use super::reader::{Reader, open_demuxer};
use crate::facts::{AudioFacts, CopyFacts, SourceFacts, Turn, VideoFacts};

/// Longest source that is accepted, in seconds: 8 h.
pub(crate) const MAX_DURATION_S: f64 = 8.0 * 3600.0;
/// Video packets looked at.
const MAX_PACKETS: usize = 300;
/// Frames that decoding order may run behind display order: 16 in H.264 and HEVC.
const MAX_REORDER: usize = 16;
/// Frames decoded.
const MAX_FRAMES: usize = 24;
/// Key frames whose bytes are looked at before packets are copied.
const MAX_CHECKED_KEYS: usize = 64;

/// Probes the source.
pub(crate) fn probe(range: &RangeClient) -> Result<SourceFacts, EngineError> {
    if range.length() == 0 {
        return Err(EngineError::new(FailureCode::EmptyFile, "the source has no bytes"));
    }
    refuse_by_magic(range)?;
    let errors_before = media::log::container_errors();
    let demuxer = open_demuxer(range)?;
    let streams: Vec<StreamFacts> = (0..demuxer.streams()).filter_map(|i| demuxer.facts(i)).collect();
    let mut warnings = Vec::new();
    let stream = choose_video(&streams)?;
    let container = demuxer.container();
    let indexed = container.starts_with("mov") || container.starts_with("matroska");
    let mut duration_s = duration(&demuxer, stream, &streams);
    // The header of a fragmented MP4 is written before its content, and some recorders leave nonsense in it.
    if container.starts_with("mov") && stream.frames.is_none() && duration_s.is_some_and(|s| s > MAX_DURATION_S) {
        warnings.push("the duration in the header is not believed".to_owned());
        duration_s = None;
    }
    if let Some(seconds) = duration_s.filter(|s| *s > MAX_DURATION_S) {
        return Err(EngineError::new(
            FailureCode::LimitExceeded,
            format!("the source lasts {seconds:.0} s; the limit is {MAX_DURATION_S:.0} s"),
        ));
    }
    let sample = Sample::read(range, stream, indexed)?;
    if media::log::container_errors() > errors_before {
        warnings.push("the container has errors; something of the film may be missing".to_owned());
    }
    if sample.begins_mid_gop {
        warnings.push(
            "the source begins in the middle of the film; what lies before its first key frame is lost".to_owned(),
        );
    }
    let rate = sample.nominal_rate(stream)?;
    let interlaced = sample.interlaced * 2 > sample.frames;
    let duration_s = duration_s.filter(|s| *s > 0.0);
    let copyable = if interlaced { None } else { copy_facts(&demuxer, stream, rate, &sample, range) };
    let video = VideoFacts {
        stream: stream.index,
        codec: stream.codec.clone(),
        profile: stream.profile,
        level: stream.level,
        time_base: (stream.time_base.num, stream.time_base.den),
        origin: sample.origin,
        width: sample.width,
        height: sample.height,
        pixel_aspect: sample.aspect(stream),
        turn: stream.matrix.as_ref().map_or(Turn::None, Turn::from_matrix),
        pixel_format: sample.pixel_format.clone(),
        interlaced,
        rate,
        constant_rate: sample.is_constant(stream, rate),
        colour: sample.colour,
        bit_rate: stream.bit_rate,
        copyable,
    };
    let audio = choose_audio(&streams, &mut warnings);
    Ok(SourceFacts { container, indexed, duration_s, size_bytes: range.length(), video, audio, warnings })
}

#[expect(clippy::cast_precision_loss, reason = "sizes and rates of media")]
fn to_f64(n: u64) -> f64 {
    n as f64
}

/// Names what a file is that no video demuxer should even see.
fn refuse_by_magic(range: &RangeClient) -> Result<(), EngineError> {
    let mut head = [0; 64];
    let mut filled = 0;
    let mut source = range.clone();
    while filled < head.len() {
        let n = source
            .read_at(filled as u64, &mut head[filled..])
            .map_err(|e| EngineError::new(FailureCode::SourceUnavailable, e.to_string()))?;
        if n == 0 {
            break;
        }
        filled += n;
    }
    let head = &head[..filled];
    let code = match head {
        [0xff, 0xd8, 0xff, ..]
        | [0x89, b'P', b'N', b'G', ..]
        | [b'G', b'I', b'F', b'8', ..]
        | [b'B', b'M', _, _, 0, 0, ..] => Some((FailureCode::StillPicture, "a picture file")),
        [b'I', b'D', b'3', ..] | [0xff, 0xfb | 0xf3 | 0xf2, ..] => Some((FailureCode::NoVideo, "an MP3 file")),
        [b'f', b'L', b'a', b'C', ..] => Some((FailureCode::NoVideo, "a FLAC file")),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'A', b'V', b'E', ..] => Some((FailureCode::NoVideo, "a WAV file")),
        _ => None,
    };
    match code {
        Some((code, what)) => Err(EngineError::new(code, what)),
        None => Ok(()),
    }
}

fn choose_video(streams: &[StreamFacts]) -> Result<&StreamFacts, EngineError> {
    let videos: Vec<&StreamFacts> = streams.iter().filter(|s| s.kind == StreamKind::Video && !s.is_cover).collect();
    if videos.is_empty() {
        return Err(EngineError::new(FailureCode::NoVideo, "no stream holds a film"));
    }
    if videos.iter().any(|s| s.is_encrypted) {
        return Err(EngineError::new(FailureCode::Encrypted, "the video stream is encrypted"));
    }
    let best = videos
        .iter()
        .filter(|s| s.decodable)
        // A film has frames; then the default, then the largest.
        .max_by_key(|s| {
            let has_frames = s.frames.is_none_or(|n| n > 1) && !(s.pixel_format == "unknown" && s.width == 0);
            let decodes = s.pixel_format != "unknown";
            (has_frames, decodes, s.is_default, i64::from(s.width) * i64::from(s.height), std::cmp::Reverse(s.index))
        })
        .copied();
    let Some(best) = best else {
        let codec = &videos[0].codec;
        return Err(EngineError::new(FailureCode::UnsupportedFormat, format!("codec {codec} is not accepted")));
    };
    let (width, height) = (u64::try_from(best.width).unwrap_or(0), u64::try_from(best.height).unwrap_or(0));
    // The sample entry may lie about the size; the decoder, whose word counts, has the same limit.
    if width * height > u64::from(MAX_PIXELS) && best.pixel_format != "unknown" {
        return Err(EngineError::new(
            FailureCode::LimitExceeded,
            format!("pictures of {width}×{height}; the limit is {MAX_PIXELS} pixels"),
        ));
    }
    Ok(best)
}

fn choose_audio(streams: &[StreamFacts], warnings: &mut Vec<String>) -> Vec<AudioFacts> {
    let mut chosen = Vec::new();
    for stream in streams.iter().filter(|s| s.kind == StreamKind::Audio) {
        let usable = stream.decodable && !stream.is_encrypted && stream.sample_rate > 0 && stream.channels > 0;
        if !usable {
            warnings.push(format!("sound track {} ({}) cannot be decoded and is left out", stream.index, stream.codec));
            continue;
        }
        chosen.push(AudioFacts {
            stream: stream.index,
            codec: stream.codec.clone(),
            profile: stream.profile,
            time_base: (stream.time_base.num, stream.time_base.den),
            start: stream.start,
            language: stream.language.clone(),
            is_default: stream.is_default,
            channels: u32::try_from(stream.channels).unwrap_or(0),
            sample_rate: u32::try_from(stream.sample_rate).unwrap_or(0),
            bit_rate: stream.bit_rate,
            extradata: stream.extradata.clone(),
        });
    }
    chosen
}

/// Seconds of film: the stream's own duration, else the container's less what comes before the film.
#[expect(clippy::cast_precision_loss, reason = "durations in ticks or microseconds")]
fn duration(demuxer: &Demuxer, stream: &StreamFacts, streams: &[StreamFacts]) -> Option<f64> {
    let start = |s: &StreamFacts| s.start.zip(s.time_base.positive()).map(|(t, tick)| t as f64 * tick);
    let own = stream.duration.zip(stream.time_base.positive()).map(|(d, tick)| d as f64 * tick);
    own.or_else(|| {
        let whole = demuxer.duration_us()? as f64 / 1e6;
        // Matroska's duration is the time of its end; that of the others begins with their first stream.
        let zero = if demuxer.container().starts_with("matroska") {
            0.0
        } else {
            streams.iter().filter_map(start).fold(f64::INFINITY, f64::min)
        };
        let late = start(stream).map_or(0.0, |s| (s - zero).max(0.0));
        Some((whole - late).max(0.0))
    })
}

/// The first packets and frames of the film.
struct Sample {
    times: Vec<i64>,
    first_key: Option<Packet>,
    origin: i64,
    frames: usize,
    interlaced: usize,
    width: u32,
    height: u32,
    aspect: media::Rational,
    pixel_format: String,
    colour: [u32; 4],
    discards: bool,
    begins_mid_gop: bool,
}

impl Sample {
    fn read(range: &RangeClient, stream: &StreamFacts, indexed: bool) -> Result<Self, EngineError> {
        let mut reader = Reader::open(range, stream.index, &[stream.index], indexed)?;
        let parameters = reader.demuxer().parameters(stream.index).map_err(EngineError::internal)?;
        let mut decoder = Decoder::open(&parameters, 1, None).map_err(EngineError::undecodable)?;
        let mut sample = Self {
            times: Vec::new(),
            first_key: None,
            origin: i64::MAX,
            frames: 0,
            interlaced: 0,
            width: 0,
            height: 0,
            aspect: media::Rational::default(),
            pixel_format: String::new(),
            colour: [0; 4],
            discards: false,
            begins_mid_gop: false,
        };
        let mut failed = None;
        let mut limited = false;
        while sample.times.len() < MAX_PACKETS {
            let Some(packet) = reader.next()? else {
                if decoder.send_end().is_ok() {
                    sample.take_frames(&mut decoder, &mut failed);
                }
                break;
            };
            if packet.is_encrypted() {
                return Err(EngineError::new(FailureCode::Encrypted, "the packets are encrypted"));
            }
            sample.discards |= packet.is_discarded();
            sample.begins_mid_gop |= sample.first_key.is_none() && !packet.is_key();
            if let Some(time) = packet.pts().or_else(|| packet.dts()) {
                sample.times.push(time);
            } else if sample.times.len() < MAX_PACKETS {
                limited = true;
            }
            if sample.frames < MAX_FRAMES {
                if let Err(error) = decoder.send(&packet) {
                    failed = Some(error);
                }
                sample.take_frames(&mut decoder, &mut failed);
            }
            if sample.first_key.is_none() && packet.is_key() {
                sample.first_key = Some(packet);
            }
            if limited && sample.frames >= MAX_FRAMES {
                break;
            }
        }
        if sample.frames == 0 {
            let reason = failed.map_or_else(|| "no picture could be decoded".to_owned(), |e| e.to_string());
            return Err(EngineError::new(FailureCode::Undecodable, reason));
        }
        if u64::from(sample.width) * u64::from(sample.height) > u64::from(MAX_PIXELS) {
            return Err(EngineError::new(
                FailureCode::LimitExceeded,
                format!("pictures of {}×{}; the limit is {MAX_PIXELS} pixels", sample.width, sample.height),
            ));
        }
        sample.times.sort_unstable();
        // Packets come in decoding order: where the look ends, frames shown earlier are still missing.
        if sample.times.len() >= MAX_PACKETS {
            sample.times.truncate(MAX_PACKETS - MAX_REORDER);
        }
        Ok(sample)
    }

    fn take_frames(&mut self, decoder: &mut Decoder, failed: &mut Option<media::Error>) {
        loop {
            match decoder.receive() {
                Ok(Received::Item(frame)) => {
                    if self.frames == 0 {
                        let shape = frame.shape();
                        self.width = u32::try_from(shape.width).unwrap_or(0);
                        self.height = u32::try_from(shape.height).unwrap_or(0);
                        self.aspect = shape.aspect;
                        self.pixel_format = frame.pixel_format();
                        self.colour = shape.colour;
                    }
                    self.frames += 1;
                    self.interlaced += usize::from(frame.is_interlaced());
                    if let Some(time) = frame.best_effort_pts() {
                        self.origin = self.origin.min(time);
                    } else if self.origin == i64::MAX {
                        self.origin = 0;
                    }
                }
                Ok(Received::NeedInput | Received::End) => return,
                Err(error) => {
                    *failed = Some(error);
                    return;
                }
            }
        }
    }

    /// The container's aspect counts where it has one: it is what players show.
    fn aspect(&self, stream: &StreamFacts) -> (u32, u32) {
        let aspect = if stream.aspect.positive().is_some() { stream.aspect } else { self.aspect };
        match (u32::try_from(aspect.num), u32::try_from(aspect.den)) {
            (Ok(num), Ok(den)) if num > 0 && den > 0 && num / den < 20 && den / num < 20 => (num, den),
            _ => (1, 1),
        }
    }

    /// Time steps between successive frames in seconds, ascending.
    #[expect(clippy::cast_precision_loss, reason = "steps between frames")]
    fn steps(&self, stream: &StreamFacts) -> Vec<f64> {
        let tick = stream.time_base.positive().unwrap_or(0.0);
        let mut steps: Vec<f64> =
            self.times.windows(2).map(|w| (w[1] - w[0]) as f64 * tick).filter(|s| *s > 0.0).collect();
        steps.sort_unstable_by(f64::total_cmp);
        steps
    }

    /// The source's own rate: what its container says when the frames agree, else the most common step.
    fn nominal_rate(&self, stream: &StreamFacts) -> Result<FrameRate, EngineError> {
        let steps = self.steps(stream);
        let common = most_common(&steps);
        let base = stream.base_rate.positive();
        let average = stream.average_rate.positive();
        // A step in milliseconds is coarse: 33 ms may be 29.97 or 30. The container's rate decides between near ones.
        let near = |a: f64, b: f64| (a - b).abs() <= b * 0.04;
        let fps = match common {
            Some(step) => {
                let seen = 1.0 / step;
                [base, average].into_iter().flatten().find(|r| near(*r, seen)).unwrap_or(seen)
            }
            None => base.filter(|b| *b <= 240.0).or(average).unwrap_or(25.0),
        };
        FrameRate::snapped(fps.clamp(0.1, 960.0))
            .ok_or_else(|| EngineError::new(FailureCode::LimitExceeded, format!("{fps} frames a second")))
    }

    fn is_constant(&self, stream: &StreamFacts, rate: FrameRate) -> bool {
        let step = 1.0 / rate.as_f64();
        let tick = stream.time_base.positive().unwrap_or(1.0);
        self.steps(stream).iter().all(|s| (s - step).abs() <= tick.max(step * 0.01))
    }
}

/// The middle of the largest group of near-equal steps (within 5 %).
fn most_common(sorted: &[f64]) -> Option<f64> {
    let mut best = None;
    let mut best_count = 0;
    for (i, &low) in sorted.iter().enumerate() {
        let count = sorted[i..].iter().take_while(|s| **s <= low * 1.05).count();
        if count > best_count {
            best_count = count;
            best = Some(sorted[i..i + count].iter().sum::<f64>() / to_f64(count as u64));
        }
    }
    best
}

/// Key frames as frame numbers, when the index knows every frame and each lies on the grid.
fn copy_facts(
    demuxer: &Demuxer,
    stream: &StreamFacts,
    rate: FrameRate,
    sample: &Sample,
    range: &RangeClient,
) -> Option<CopyFacts> {
    // Four-byte lengths in an avcC; an index of every frame exists in MP4 alone.
    let lengths_ok = stream.codec == "h264"
        && stream.extradata.len() > 7
        && stream.extradata[0] == 1
        && stream.extradata[4] & 3 == 3;
    if !lengths_ok || !demuxer.container().starts_with("mov") || sample.discards {
        return None;
    }
    let entries = demuxer.index(stream.index);
    let first = entries.first().filter(|e| e.is_key)?;
    if stream.frames != Some(entries.len() as u64) {
        return None;
    }
    // The first frame shown must be the first key frame, whose distance between decoding and showing is that of all
    // key frames in a stream of closed GOPs.
    let first_shown = sample.first_key.as_ref().and_then(Packet::pts)?;
    if first_shown != sample.origin {
        return None;
    }
    let tick = stream.time_base.positive()?;
    let mut key_frames = Vec::new();
    let mut keys = Vec::new();
    for (i, entry) in entries.iter().enumerate() {
        #[expect(clippy::cast_precision_loss, reason = "media times")]
        let frame = (entry.time - first.time) as f64 * tick * rate.as_f64();
        if (frame - to_f64(i as u64)).abs() > 0.05 {
            return None;
        }
        if entry.is_key {
            key_frames.push(i as u64);
            keys.push(entry.position);
        }
    }
    let step = keys.len().div_ceil(MAX_CHECKED_KEYS).max(1);
    let mut source = range.clone();
    for position in keys.iter().step_by(step) {
        let mut bytes = [0; 4096];
        let n = source.read_at(*position, &mut bytes).ok()?;
        if !begins_with_idr(&bytes[..n]) {
            return None;
        }
    }
    Some(CopyFacts { key_frames, frames: entries.len() as u64 })
}

/// Whether the first picture of a length-prefixed access unit is an IDR, looking at its first bytes only.
fn begins_with_idr(mut unit: &[u8]) -> bool {
    while let [a, b, c, d, header, ..] = unit {
        match header & 31 {
            5 => return true,
            1..=4 => return false,
            _ => {}
        }
        let length = u32::from_be_bytes([*a, *b, *c, *d]) as usize;
        unit = unit.get(4 + length..).unwrap_or(&[]);
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_common_step_outvotes_gaps_and_jitter() {
        let mut steps: Vec<f64> = (0..90).map(|i| 0.0333 + f64::from(i % 3) * 0.0002).collect();
        steps.extend([0.0667, 0.1, 0.2, 0.001]);
        steps.sort_unstable_by(f64::total_cmp);
        let step = most_common(&steps).unwrap();
        assert!((step - 0.0335).abs() < 0.0005, "{step}");
        assert_eq!(most_common(&[]), None);
    }

    #[test]
    fn an_idr_is_found_behind_parameter_sets_and_a_recovery_point_is_none() {
        let unit = |types: &[u8]| types.iter().flat_map(|t| [0, 0, 0, 2, *t, 0]).collect::<Vec<u8>>();
        assert!(begins_with_idr(&unit(&[9, 7, 8, 6, 5])));
        assert!(!begins_with_idr(&unit(&[9, 6, 1])));
        assert!(!begins_with_idr(&[]));
    }
}
