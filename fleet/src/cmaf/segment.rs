//! What a media segment (`moof` + `mdat`, once or more) holds.

use serde::{Deserialize, Serialize};

use super::boxes::{Boxes, CmafError, Fields, FourCc, Mp4Box};
use super::init::{InitFacts, SampleDefaults, TrackKind};
use super::nal::{NalCodec, starts_at_random_access};

/// Most samples that are read from one segment. A segment of real media has a few hundred; a track run may claim
/// four thousand million in 20 bytes.
pub const MAX_SAMPLES: u32 = 1_000_000;

/// Facts of a media segment, about the track of its init segment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SegmentFacts {
    /// Size of the segment in bytes.
    pub size: u64,
    /// Its fragments in file order; at least one.
    pub fragments: Vec<FragmentFacts>,
}

/// A run of bytes of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ByteRange {
    /// First byte.
    pub offset: u64,
    /// Number of bytes.
    pub length: u64,
}

/// Facts of one movie fragment. Times are in the track's timescale.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FragmentFacts {
    /// Sequence number (`mfhd`).
    pub sequence: u32,
    /// Decode time of the first sample (`tfdt`).
    pub tfdt: i64,
    /// Number of samples.
    pub samples: u32,
    /// Sum of the sample durations.
    pub duration: i64,
    /// Shortest sample duration.
    pub min_sample_duration: u32,
    /// Longest sample duration.
    pub max_sample_duration: u32,
    /// Smallest presentation time.
    pub first_presentation: i64,
    /// Largest presentation time (of the beginning of a sample).
    pub last_presentation: i64,
    /// Largest end of a sample's presentation.
    pub presentation_end: i64,
    /// Smallest composition offset.
    pub min_composition_offset: i64,
    /// Whether the first sample is marked as a sync sample.
    pub starts_with_sync: bool,
    /// Whether the first sample's bytes are an IDR (H.264) or IRAP (H.265) picture; `None` for other codecs.
    pub starts_with_random_access: Option<bool>,
    /// Number of sync samples.
    pub sync_samples: u32,
    /// Presentation times of the sync samples of a video track, in decode order; empty for other tracks, where
    /// every sample is one.
    pub sync_presentations: Vec<i64>,
    /// From the first byte of `moof` to the last of the first sample: what an I-frame playlist addresses.
    pub first_sample_range: ByteRange,
    /// Bytes of media data: the body of the `mdat` boxes up to the next fragment.
    pub mdat_bytes: u64,
}

impl FragmentFacts {
    /// Decode time at which the next fragment must begin.
    #[must_use]
    pub fn decode_end(&self) -> i64 {
        self.tfdt.saturating_add(self.duration)
    }
}

impl SegmentFacts {
    /// Decode time of the first sample, in the timescale.
    #[must_use]
    pub fn tfdt(&self) -> i64 {
        self.fragments.first().map_or(0, |fragment| fragment.tfdt)
    }

    /// Decode time at which the next segment must begin, in the timescale.
    #[must_use]
    pub fn decode_end(&self) -> i64 {
        self.fragments.last().map_or(0, FragmentFacts::decode_end)
    }

    /// Smallest presentation time, in the timescale.
    #[must_use]
    pub fn first_presentation(&self) -> i64 {
        self.fragments.iter().map(|fragment| fragment.first_presentation).min().unwrap_or(0)
    }

    /// Largest end of a sample's presentation, in the timescale.
    #[must_use]
    pub fn presentation_end(&self) -> i64 {
        self.fragments.iter().map(|fragment| fragment.presentation_end).max().unwrap_or(0)
    }

    /// Sum of the sample durations, in the timescale.
    #[must_use]
    pub fn duration(&self) -> i64 {
        self.fragments.iter().map(|fragment| fragment.duration).sum()
    }

    /// Number of samples.
    #[must_use]
    pub fn samples(&self) -> u64 {
        self.fragments.iter().map(|fragment| u64::from(fragment.samples)).sum()
    }
}

/// Reads a media segment. Fragments of tracks other than that of `init` are passed over.
///
/// # Errors
///
/// [`CmafError`] when boxes or samples are damaged or lie outside `bytes`, or no fragment is of the track.
pub fn parse_segment(bytes: &[u8], init: &InitFacts) -> Result<SegmentFacts, CmafError> {
    let mut fragments: Vec<FragmentFacts> = Vec::new();
    let mut samples_left = MAX_SAMPLES;
    for item in Boxes::of_file(bytes) {
        let item = item?;
        match &item.kind.0 {
            b"moof" => {
                if let Some(fragment) = fragment(bytes, item, init, &mut samples_left)? {
                    fragments.push(fragment);
                }
            }
            b"mdat" => {
                if let Some(fragment) = fragments.last_mut() {
                    fragment.mdat_bytes += item.body.len() as u64;
                }
            }
            _ => {}
        }
    }
    if fragments.is_empty() {
        return Err(CmafError::NoFragment(init.track_id));
    }
    Ok(SegmentFacts { size: bytes.len() as u64, fragments })
}

/// A sample of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SampleFacts {
    /// First byte, from the start of the segment.
    pub offset: usize,
    /// Number of bytes.
    pub size: u32,
    /// How long it lasts, in the timescale.
    pub duration: u32,
    /// How long after it is decoded it is shown, in the timescale.
    pub composition_offset: i64,
    /// Whether decoding may start here.
    pub sync: bool,
}

/// The samples of the track of `init`, in the order in which they are decoded.
///
/// # Errors
///
/// [`CmafError`] when boxes or samples are damaged or lie outside `bytes`.
pub fn parse_samples(bytes: &[u8], init: &InitFacts) -> Result<Vec<SampleFacts>, CmafError> {
    let mut samples = Vec::new();
    let mut samples_left = MAX_SAMPLES;
    for moof in Boxes::of_file(bytes) {
        let moof = moof?;
        if moof.kind.0 != *b"moof" {
            continue;
        }
        for traf in moof.children() {
            let traf = traf?;
            if traf.kind.0 != *b"traf" {
                continue;
            }
            let header = TrackHeader::parse(traf.child(b"tfhd")?, moof.offset, init.defaults)?;
            if header.track_id != init.track_id {
                continue;
            }
            let mut data_at = header.base;
            for trun in traf.children() {
                let trun = trun?;
                if trun.kind.0 != *b"trun" {
                    continue;
                }
                for sample in TrackRun::parse(trun, &header, &mut data_at, &mut samples_left)? {
                    let sample = sample?;
                    let outside = CmafError::SampleOutside { sample: 0, offset: moof.offset, size: bytes.len() };
                    let end = data_at.checked_add(u64::from(sample.size)).filter(|end| *end <= bytes.len() as u64);
                    let (Ok(offset), Some(end)) = (usize::try_from(data_at), end) else { return Err(outside) };
                    samples.push(SampleFacts {
                        offset,
                        size: sample.size,
                        duration: sample.duration,
                        composition_offset: sample.offset,
                        sync: sample.sync,
                    });
                    data_at = end;
                }
            }
        }
    }
    Ok(samples)
}

/// The first box at the top of a segment that is none of a type, a fragment and its media; `None` when there is none.
///
/// # Errors
///
/// [`CmafError`] when a box does not fit.
pub fn foreign_box(bytes: &[u8]) -> Result<Option<FourCc>, CmafError> {
    for item in Boxes::of_file(bytes) {
        let kind = item?.kind;
        if !matches!(&kind.0, b"styp" | b"moof" | b"mdat") {
            return Ok(Some(kind));
        }
    }
    Ok(None)
}

fn fragment(
    file: &[u8],
    moof: Mp4Box<'_>,
    init: &InitFacts,
    samples_left: &mut u32,
) -> Result<Option<FragmentFacts>, CmafError> {
    let sequence = match moof.find(b"mfhd")? {
        Some(mfhd) => mfhd.full_fields()?.2.u32()?,
        None => 0,
    };
    for item in moof.children() {
        let item = item?;
        if item.kind.0 != *b"traf" {
            continue;
        }
        let header = TrackHeader::parse(item.child(b"tfhd")?, moof.offset, init.defaults)?;
        if header.track_id == init.track_id {
            return run(file, moof, item, header, init, samples_left)
                .map(|facts| Some(FragmentFacts { sequence, ..facts }));
        }
    }
    Ok(None)
}

/// `tfhd`, ISO/IEC 14496-12 8.8.7.
struct TrackHeader {
    track_id: u32,
    /// Where data offsets count from, in bytes of the file.
    base: u64,
    defaults: SampleDefaults,
}

impl TrackHeader {
    fn parse(tfhd: Mp4Box<'_>, moof_offset: usize, mut defaults: SampleDefaults) -> Result<Self, CmafError> {
        let (_, flags, mut fields) = tfhd.full_fields()?;
        let track_id = fields.u32()?;
        // Without `default-base-is-moof` the first track fragment counts from the `moof` as well.
        let base = if flags & 0x01 != 0 { fields.u64()? } else { moof_offset as u64 };
        if flags & 0x02 != 0 {
            fields.u32()?;
        }
        for (flag, value) in [(0x08, &mut defaults.duration), (0x10, &mut defaults.size), (0x20, &mut defaults.flags)] {
            if flags & flag != 0 {
                *value = fields.u32()?;
            }
        }
        Ok(Self { track_id, base, defaults })
    }
}

/// Bit of the sample flags that marks a sample that is no sync sample.
const IS_NON_SYNC: u32 = 0x0001_0000;

/// Reads the track runs of a track fragment.
fn run(
    file: &[u8],
    moof: Mp4Box<'_>,
    traf: Mp4Box<'_>,
    header: TrackHeader,
    init: &InitFacts,
    samples_left: &mut u32,
) -> Result<FragmentFacts, CmafError> {
    let (version, _, mut tfdt) = traf.child(b"tfdt")?.full_fields()?;
    let tfdt = if version == 1 { tfdt.u64()? } else { u64::from(tfdt.u32()?) };
    // Far above any real time, and low enough that no sum below overflows.
    let tfdt = i64::try_from(tfdt)
        .ok()
        .filter(|&time| time < 1 << 62)
        .ok_or(CmafError::Invalid { kind: FourCc(*b"tfdt"), what: "decode time out of range" })?;

    let mut facts = FragmentFacts {
        sequence: 0,
        tfdt,
        samples: 0,
        duration: 0,
        min_sample_duration: u32::MAX,
        max_sample_duration: 0,
        first_presentation: i64::MAX,
        last_presentation: i64::MIN,
        presentation_end: i64::MIN,
        min_composition_offset: i64::MAX,
        starts_with_sync: false,
        starts_with_random_access: None,
        sync_samples: 0,
        sync_presentations: Vec::new(),
        first_sample_range: ByteRange { offset: moof.offset as u64, length: 0 },
        mdat_bytes: 0,
    };
    // Data of a run without an offset follows that of the run before it.
    let mut data_at = header.base;
    for item in traf.children() {
        let item = item?;
        if item.kind.0 != *b"trun" {
            continue;
        }
        for sample in TrackRun::parse(item, &header, &mut data_at, samples_left)? {
            let sample = sample?;
            let outside = CmafError::SampleOutside { sample: facts.samples, offset: moof.offset, size: file.len() };
            let end = data_at.checked_add(u64::from(sample.size)).ok_or_else(|| outside.clone())?;
            let range = usize::try_from(data_at).ok().zip(usize::try_from(end).ok());
            let data = range.and_then(|(from, to)| file.get(from..to)).ok_or_else(|| outside.clone())?;
            if facts.samples == 0 {
                facts.starts_with_sync = sample.sync;
                facts.starts_with_random_access = random_access(data, init);
                facts.first_sample_range.length = end.checked_sub(moof.offset as u64).ok_or(outside)?;
            }
            add(&mut facts, sample, init.kind);
            data_at = end;
        }
    }
    if facts.samples == 0 {
        return Err(CmafError::Invalid { kind: FourCc(*b"traf"), what: "no samples" });
    }
    Ok(facts)
}

fn add(facts: &mut FragmentFacts, sample: RunSample, kind: TrackKind) {
    // At most a million 32-bit values are added to a start below 2^62.
    let shown = facts.tfdt + facts.duration + sample.offset;
    facts.samples += 1;
    facts.duration += i64::from(sample.duration);
    facts.min_sample_duration = facts.min_sample_duration.min(sample.duration);
    facts.max_sample_duration = facts.max_sample_duration.max(sample.duration);
    facts.first_presentation = facts.first_presentation.min(shown);
    facts.last_presentation = facts.last_presentation.max(shown);
    facts.presentation_end = facts.presentation_end.max(shown + i64::from(sample.duration));
    facts.min_composition_offset = facts.min_composition_offset.min(sample.offset);
    if sample.sync {
        facts.sync_samples += 1;
        if kind == TrackKind::Video {
            facts.sync_presentations.push(shown);
        }
    }
}

fn random_access(data: &[u8], init: &InitFacts) -> Option<bool> {
    let length_size = usize::from(init.video.as_ref()?.nal_length_size?);
    let codec = match &init.sample_entry.0 {
        b"avc1" | b"avc3" => NalCodec::Avc,
        b"hvc1" | b"hev1" => NalCodec::Hevc,
        _ => return None,
    };
    Some(starts_at_random_access(data, length_size, codec))
}

/// One sample of a track run.
#[derive(Clone, Copy)]
struct RunSample {
    duration: u32,
    size: u32,
    sync: bool,
    offset: i64,
}

/// `trun`, ISO/IEC 14496-12 8.8.8: yields its samples.
struct TrackRun<'a> {
    fields: Fields<'a>,
    version: u8,
    flags: u32,
    left: u32,
    first_flags: Option<u32>,
    defaults: SampleDefaults,
}

impl<'a> TrackRun<'a> {
    /// Takes the samples from the budget `samples_left` and moves `data_at` to where their data begins.
    fn parse(
        trun: Mp4Box<'a>,
        header: &TrackHeader,
        data_at: &mut u64,
        samples_left: &mut u32,
    ) -> Result<Self, CmafError> {
        let (version, flags, mut fields) = trun.full_fields()?;
        let count = fields.u32()?;
        *samples_left = samples_left.checked_sub(count).ok_or(CmafError::TooManySamples(MAX_SAMPLES))?;
        if flags & 0x01 != 0 {
            *data_at = header
                .base
                .checked_add_signed(i64::from(fields.i32()?))
                .ok_or_else(|| trun.invalid("data offset before the file"))?;
        }
        let first_flags = if flags & 0x04 != 0 { Some(fields.u32()?) } else { None };
        Ok(Self { fields, version, flags, left: count, first_flags, defaults: header.defaults })
    }

    fn sample(&mut self) -> Result<RunSample, CmafError> {
        let mut value = |flag: u32, default: u32| {
            if self.flags & flag != 0 { self.fields.u32() } else { Ok(default) }
        };
        let duration = value(0x100, self.defaults.duration)?;
        let size = value(0x200, self.defaults.size)?;
        let flags = value(0x400, self.first_flags.take().unwrap_or(self.defaults.flags))?;
        let offset = value(0x800, 0)?;
        let offset = if self.version == 0 { i64::from(offset) } else { i64::from(offset.cast_signed()) };
        Ok(RunSample { duration, size, sync: flags & IS_NON_SYNC == 0, offset })
    }
}

impl Iterator for TrackRun<'_> {
    type Item = Result<RunSample, CmafError>;
    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        Some(self.sample())
    }
}

#[cfg(test)]
mod tests;
