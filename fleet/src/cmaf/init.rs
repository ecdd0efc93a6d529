//! What an init segment (`ftyp` + `moov`) says about its track.

use serde::{Deserialize, Serialize};

use super::boxes::{Boxes, CmafError, FourCc, Mp4Box};
use super::codec;

/// Facts of an init segment, about its first video track or, without video, its first audio track.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InitFacts {
    /// Brands of `ftyp`, the major one first.
    pub brands: Vec<FourCc>,
    /// Identifier that fragments refer to.
    pub track_id: u32,
    /// What the track carries.
    pub kind: TrackKind,
    /// Units per second of all times of the track.
    pub timescale: u32,
    /// Type of the sample entry: `avc1`, `hvc1`, `mp4a` …
    pub sample_entry: FourCc,
    /// Codec string (RFC 6381), read from the decoder configuration.
    pub codec: String,
    /// Codec strings of the other tracks; CMAF has none, a muxed file of another packager has its audio here.
    pub other_codecs: Vec<String>,
    /// Facts of a video track.
    pub video: Option<VideoFacts>,
    /// Facts of an audio track.
    pub audio: Option<AudioFacts>,
    /// Values of samples that a fragment does not give its own (`trex`).
    pub defaults: SampleDefaults,
    /// Media time at which presentation begins, in the timescale, when an edit list sets one (`elst`).
    pub edit_start: Option<i64>,
}

/// What a track carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TrackKind {
    /// Pictures (handler `vide`).
    Video,
    /// Sound (handler `soun`).
    Audio,
    /// Anything else: subtitles, metadata.
    Other,
}

/// Facts of a video sample entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VideoFacts {
    /// Width of the coded picture after cropping, in pixels.
    pub width: u16,
    /// Height of the coded picture after cropping, in pixels.
    pub height: u16,
    /// Width and height of a pixel relative to each other (`pasp`); 1:1 without one.
    pub pixel_aspect: (u32, u32),
    /// Colour of the samples (`colr`), when the file says.
    pub colour: Option<Colour>,
    /// Bytes of the length before each NAL unit, 1 to 4; `None` for a codec without NAL units.
    pub nal_length_size: Option<u8>,
}

/// Colour description of a `colr` box of type `nclx`; the numbers are those of ITU-T H.273.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Colour {
    /// Colour primaries; 1 is BT.709, 9 is BT.2020.
    pub primaries: u16,
    /// Transfer characteristics; 1 is BT.709, 16 is PQ, 18 is HLG.
    pub transfer: u16,
    /// Matrix coefficients; 1 is BT.709.
    pub matrix: u16,
    /// Whether luma uses 0 to 255 instead of 16 to 235.
    pub full_range: bool,
}

/// Facts of an audio sample entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AudioFacts {
    /// Number of channels.
    pub channels: u16,
    /// Samples a second.
    pub sample_rate: u32,
}

/// Values of `trex`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SampleDefaults {
    /// Duration of a sample in the timescale.
    pub duration: u32,
    /// Size of a sample in bytes.
    pub size: u32,
    /// Sample flags, ISO/IEC 14496-12 8.8.3.1.
    pub flags: u32,
}

/// Reads an init segment.
///
/// # Errors
///
/// [`CmafError`] when the boxes are damaged or there is no track.
pub fn parse_init(bytes: &[u8]) -> Result<InitFacts, CmafError> {
    let file = Boxes::of_file(bytes);
    let brands = match file.clone().find_kind(b"ftyp")? {
        Some(ftyp) => brands(ftyp)?,
        None => Vec::new(),
    };
    let moov = file.find_kind(b"moov")?.ok_or(CmafError::Missing(FourCc(*b"moov")))?;
    let mut tracks = Vec::new();
    for item in moov.children() {
        let item = item?;
        if item.kind.0 == *b"trak" {
            tracks.push(track(item)?);
        }
    }
    let rank = |track: &InitFacts| match track.kind {
        TrackKind::Video => 0,
        TrackKind::Audio => 1,
        TrackKind::Other => 2,
    };
    // Stable: among equals the first track of the file stays first.
    tracks.sort_by_key(rank);
    let mut tracks = tracks.into_iter();
    let mut facts = tracks.next().ok_or(CmafError::Missing(FourCc(*b"trak")))?;
    facts.brands = brands;
    facts.other_codecs = tracks.map(|track| track.codec).collect();
    if let Some(mvex) = moov.find(b"mvex")? {
        facts.defaults = defaults(mvex, facts.track_id)?;
    }
    Ok(facts)
}

fn brands(ftyp: Mp4Box<'_>) -> Result<Vec<FourCc>, CmafError> {
    let mut fields = ftyp.fields();
    let mut brands = vec![fields.four_cc()?];
    fields.u32()?;
    while !fields.left().is_empty() {
        let brand = fields.four_cc()?;
        if !brands.contains(&brand) {
            brands.push(brand);
        }
    }
    Ok(brands)
}

fn track(trak: Mp4Box<'_>) -> Result<InitFacts, CmafError> {
    let (version, _, mut tkhd) = trak.child(b"tkhd")?.full_fields()?;
    tkhd.bytes(if version == 1 { 16 } else { 8 })?;
    let track_id = tkhd.u32()?;

    let mdia = trak.child(b"mdia")?;
    let (version, _, mut mdhd) = mdia.child(b"mdhd")?.full_fields()?;
    mdhd.bytes(if version == 1 { 16 } else { 8 })?;
    let timescale = mdhd.u32()?;
    if timescale == 0 {
        return Err(CmafError::Invalid { kind: FourCc(*b"mdhd"), what: "timescale is zero" });
    }
    let (_, _, mut hdlr) = mdia.child(b"hdlr")?.full_fields()?;
    hdlr.u32()?;
    let kind = match &hdlr.four_cc()?.0 {
        b"vide" => TrackKind::Video,
        b"soun" => TrackKind::Audio,
        _ => TrackKind::Other,
    };
    // Version, flags and the number of entries lie before the first; a CMAF track has one.
    let stsd = mdia.child(b"minf")?.child(b"stbl")?.child(b"stsd")?;
    let entry = stsd.children_after(8).next().ok_or_else(|| stsd.invalid("no sample entry"))??;

    let mut facts = InitFacts {
        brands: Vec::new(),
        track_id,
        kind,
        timescale,
        sample_entry: entry.kind,
        codec: entry.kind.to_string(),
        other_codecs: Vec::new(),
        video: None,
        audio: None,
        defaults: SampleDefaults::default(),
        edit_start: edit_start(trak)?,
    };
    match kind {
        TrackKind::Video => video(entry, &mut facts)?,
        TrackKind::Audio => audio(entry, &mut facts)?,
        TrackKind::Other => {}
    }
    Ok(facts)
}

/// `VisualSampleEntry`, ISO/IEC 14496-12 12.1.3.
fn video(entry: Mp4Box<'_>, facts: &mut InitFacts) -> Result<(), CmafError> {
    const FIELDS: usize = 78;
    let mut fields = entry.fields();
    fields.bytes(24)?;
    let (width, height) = (fields.u16()?, fields.u16()?);
    let mut video = VideoFacts { width, height, pixel_aspect: (1, 1), colour: None, nal_length_size: None };
    for item in entry.children_after(FIELDS) {
        let item = item?;
        match &item.kind.0 {
            b"avcC" => {
                let (codec, length_size) = codec::avc(entry.kind, item)?;
                (facts.codec, video.nal_length_size) = (codec, Some(length_size));
            }
            b"hvcC" => {
                let (codec, length_size) = codec::hevc(entry.kind, item)?;
                (facts.codec, video.nal_length_size) = (codec, Some(length_size));
            }
            b"colr" => video.colour = video.colour.or(colour(item)?),
            b"pasp" => {
                let mut fields = item.fields();
                let aspect = (fields.u32()?, fields.u32()?);
                if aspect.0 > 0 && aspect.1 > 0 {
                    video.pixel_aspect = aspect;
                }
            }
            _ => {}
        }
    }
    facts.video = Some(video);
    Ok(())
}

fn colour(colr: Mp4Box<'_>) -> Result<Option<Colour>, CmafError> {
    let mut fields = colr.fields();
    if fields.four_cc()?.0 != *b"nclx" {
        return Ok(None);
    }
    let (primaries, transfer, matrix) = (fields.u16()?, fields.u16()?, fields.u16()?);
    Ok(Some(Colour { primaries, transfer, matrix, full_range: fields.u8()? & 0x80 != 0 }))
}

/// `AudioSampleEntry`, ISO/IEC 14496-12 12.2.3.
fn audio(entry: Mp4Box<'_>, facts: &mut InitFacts) -> Result<(), CmafError> {
    const FIELDS: usize = 28;
    let mut fields = entry.fields();
    fields.bytes(16)?;
    let channels = fields.u16()?;
    fields.bytes(6)?;
    // 16.16 fixed point.
    let sample_rate = fields.u32()? >> 16;
    let mut audio = AudioFacts { channels, sample_rate };
    for item in entry.children_after(FIELDS) {
        let item = item?;
        if item.kind.0 == *b"esds" {
            let read = codec::mpeg4_audio(entry.kind, item)?;
            facts.codec = read.codec;
            if let Some((channels, sample_rate)) = read.layout {
                audio = AudioFacts { channels, sample_rate };
            }
        }
    }
    facts.audio = Some(audio);
    Ok(())
}

/// The media time of the first edit that shows media.
fn edit_start(trak: Mp4Box<'_>) -> Result<Option<i64>, CmafError> {
    let Some(edts) = trak.find(b"edts")? else { return Ok(None) };
    let Some(elst) = edts.find(b"elst")? else { return Ok(None) };
    let (version, _, mut fields) = elst.full_fields()?;
    let entries = fields.u32()?;
    for _ in 0..entries {
        let time = if version == 1 {
            fields.u64()?;
            fields.u64()?.cast_signed()
        } else {
            fields.u32()?;
            i64::from(fields.i32()?)
        };
        fields.u32()?;
        // −1 marks an empty edit.
        if time >= 0 {
            return Ok(Some(time));
        }
    }
    Ok(None)
}

fn defaults(mvex: Mp4Box<'_>, track_id: u32) -> Result<SampleDefaults, CmafError> {
    for item in mvex.children() {
        let item = item?;
        if item.kind.0 != *b"trex" {
            continue;
        }
        let (_, _, mut fields) = item.full_fields()?;
        if fields.u32()? == track_id {
            fields.u32()?;
            return Ok(SampleDefaults { duration: fields.u32()?, size: fields.u32()?, flags: fields.u32()? });
        }
    }
    Ok(SampleDefaults::default())
}

#[cfg(test)]
pub(crate) mod tests;
