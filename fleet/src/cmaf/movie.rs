//! What goes before the media in an ordinary MP4 file (ISO/IEC 14496-12, 8.1 to 8.8): `ftyp`, `moov` and the header of
//! `mdat`. The index comes first, so that a file plays while it is being fetched.
//!
//! The samples are those of fragments, with their durations and composition offsets; an edit list says which media time
//! is zero of the film, so that tracks that begin apart are shown together.

use std::ops::Range;

use super::boxes::{Boxes, CmafError, FourCc};
use super::init::{InitFacts, TrackKind};
use super::segment::SampleFacts;

/// A track of a movie.
#[derive(Clone, Copy, Debug)]
pub struct MovieTrack<'a> {
    /// The init segment of its fragments: the description of its samples is taken from there.
    pub init: &'a [u8],
    /// What that holds.
    pub facts: &'a InitFacts,
    /// Its samples in decoding order; where their bytes were does not matter.
    pub samples: &'a [SampleFacts],
    /// Media time that is shown at the film's zero, in the timescale, when the first sample is decoded at 0; negative when
    /// the track begins later than the film.
    pub shown_from: i64,
    /// How long the track is shown from there on, in the timescale.
    pub shown_for: u64,
}

/// Why a movie could not be written.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum MovieError {
    /// The init segment is damaged.
    #[error("init segment: {0}")]
    Init(#[from] CmafError),
    /// There is no track, or one without samples.
    #[error("a movie or a track of it is empty")]
    Empty,
    /// A value leaves its field.
    #[error("{0} does not fit its field of an MP4 file")]
    OutOfRange(&'static str),
}

/// Seconds of a track that lie together in the file.
const CHUNK_S: u64 = 1;
/// The matrix of a picture that is shown as it is.
const UPRIGHT: [u32; 9] = [0x0001_0000, 0, 0, 0, 0x0001_0000, 0, 0, 0, 0x4000_0000];
/// "und", undetermined, as three letters of five bits.
const NO_LANGUAGE: u16 = 0x55c4;

/// The order of the media in the file: track and samples of it, about a second each, by the time of decoding.
#[must_use]
pub fn movie_order(tracks: &[MovieTrack<'_>]) -> Vec<(usize, Range<usize>)> {
    let mut chunks = Vec::new();
    for (number, track) in tracks.iter().enumerate() {
        let timescale = u64::from(track.facts.timescale);
        let (mut from, mut at, mut begun) = (0, 0_u64, 0_u64);
        for (index, sample) in track.samples.iter().enumerate() {
            if at - begun >= CHUNK_S * timescale {
                chunks.push((u128::from(begun) * 1_000_000 / u128::from(timescale), number, from..index));
                (from, begun) = (index, at);
            }
            at += u64::from(sample.duration);
        }
        chunks.push((u128::from(begun) * 1_000_000 / u128::from(timescale), number, from..track.samples.len()));
    }
    chunks.sort_by_key(|(at, number, _)| (*at, *number));
    chunks.into_iter().map(|(_, number, samples)| (number, samples)).collect()
}

/// Everything before the media, which follows in `order` (see [`movie_order`]) without a gap. Times of the film are in the
/// first track's timescale.
///
/// # Errors
///
/// [`MovieError`].
pub fn movie_header(tracks: &[MovieTrack<'_>], order: &[(usize, Range<usize>)]) -> Result<Vec<u8>, MovieError> {
    if tracks.is_empty() || tracks.iter().any(|track| track.samples.is_empty()) {
        return Err(MovieError::Empty);
    }
    let size = |(number, samples): &(usize, Range<usize>)| -> u64 {
        let samples = tracks.get(*number).and_then(|track| track.samples.get(samples.clone())).unwrap_or_default();
        samples.iter().map(|sample| u64::from(sample.size)).sum()
    };
    let media: u64 = order.iter().map(size).sum();
    let mut file = boxed(*b"ftyp", &[b"isom", &512_u32.to_be_bytes(), b"isomiso2avc1mp41"])?;
    // All offsets have 64 bits, so the index is as long with any of them.
    let index = moov(tracks, order, 0)?.len() as u64;
    let first = file.len() as u64 + index + 16;
    file.extend(moov(tracks, order, first)?);
    file.extend_from_slice(&1_u32.to_be_bytes());
    file.extend_from_slice(b"mdat");
    file.extend_from_slice(&(media + 16).to_be_bytes());
    Ok(file)
}

fn moov(tracks: &[MovieTrack<'_>], order: &[(usize, Range<usize>)], first: u64) -> Result<Vec<u8>, MovieError> {
    let timescale = tracks.first().map_or(1, |track| track.facts.timescale);
    let mut places: Vec<Vec<(u64, Range<usize>)>> = vec![Vec::new(); tracks.len()];
    let mut at = first;
    for (number, samples) in order {
        let Some((track, places)) = tracks.get(*number).zip(places.get_mut(*number)) else { continue };
        places.push((at, samples.clone()));
        let samples = track.samples.get(samples.clone()).unwrap_or_default();
        at += samples.iter().map(|sample| u64::from(sample.size)).sum::<u64>();
    }
    let longest = tracks.iter().map(|track| in_film(track, timescale)).max().unwrap_or(0);
    let mut body = mvhd(timescale, longest, tracks.len())?;
    for ((number, track), chunks) in (1_u32..).zip(tracks).zip(&places) {
        body.extend(trak(number, track, chunks, timescale)?);
    }
    boxed(*b"moov", &[&body])
}

/// How long a track is shown, with the wait before it, in the film's timescale.
fn in_film(track: &MovieTrack<'_>, timescale: u32) -> u64 {
    scaled(track.shown_for, track, timescale) + wait(track, timescale)
}

/// Time before the track is shown, in the film's timescale.
fn wait(track: &MovieTrack<'_>, timescale: u32) -> u64 {
    scaled(u64::try_from(-track.shown_from).unwrap_or(0), track, timescale)
}

/// A time of a track in the film's timescale, rounded to the nearest.
fn scaled(time: u64, track: &MovieTrack<'_>, timescale: u32) -> u64 {
    let own = u128::from(track.facts.timescale.max(1));
    let scaled = (u128::from(time) * u128::from(timescale) + own / 2) / own;
    u64::try_from(scaled).unwrap_or(u64::MAX)
}

fn mvhd(timescale: u32, duration: u64, tracks: usize) -> Result<Vec<u8>, MovieError> {
    let next = u32::try_from(tracks + 1).map_err(|_| MovieError::OutOfRange("the number of tracks"))?;
    let matrix = words(&UPRIGHT);
    full(
        *b"mvhd",
        1,
        0,
        &[
            &[0; 16],
            &timescale.to_be_bytes(),
            &duration.to_be_bytes(),
            // Rate 1, volume 1, reserved.
            &0x0001_0000_u32.to_be_bytes(),
            &0x0100_u16.to_be_bytes(),
            &[0; 10],
            &matrix,
            &[0; 24],
            &next.to_be_bytes(),
        ],
    )
}

fn trak(
    number: u32,
    track: &MovieTrack<'_>,
    chunks: &[(u64, Range<usize>)],
    timescale: u32,
) -> Result<Vec<u8>, MovieError> {
    let is_video = track.facts.kind == TrackKind::Video;
    let (width, height) = track.facts.video.as_ref().map_or((0, 0), |video| {
        let (num, den) = (u64::from(video.pixel_aspect.0), u64::from(video.pixel_aspect.1.max(1)));
        let wide = (u64::from(video.width) << 16) * num / den;
        (u32::try_from(wide).unwrap_or(u32::MAX), u32::from(video.height) << 16)
    });
    let volume: u16 = if is_video { 0 } else { 0x0100 };
    // Flags: enabled, in the movie.
    let tkhd = full(
        *b"tkhd",
        1,
        3,
        &[
            &[0; 16],
            &number.to_be_bytes(),
            &[0; 4],
            &in_film(track, timescale).to_be_bytes(),
            &[0; 12],
            &volume.to_be_bytes(),
            &[0; 2],
            &words(&UPRIGHT),
            &width.to_be_bytes(),
            &height.to_be_bytes(),
        ],
    )?;
    let media: u64 = track.samples.iter().map(|sample| u64::from(sample.duration)).sum();
    let mdhd = full(
        *b"mdhd",
        1,
        0,
        &[&[0; 16], &track.facts.timescale.to_be_bytes(), &media.to_be_bytes(), &NO_LANGUAGE.to_be_bytes(), &[0; 2]],
    )?;
    let (handler, name): (&[u8; 4], &[u8]) = if is_video { (b"vide", b"Video\0") } else { (b"soun", b"Sound\0") };
    let hdlr = full(*b"hdlr", 0, 0, &[&[0; 4], handler, &[0; 12], name])?;
    let header = if is_video { full(*b"vmhd", 0, 1, &[&[0; 8]])? } else { full(*b"smhd", 0, 0, &[&[0; 4]])? };
    // The media is in this file.
    let url = full(*b"url ", 0, 1, &[])?;
    let dinf = boxed(*b"dinf", &[&full(*b"dref", 0, 0, &[&1_u32.to_be_bytes(), &url])?])?;
    let minf = boxed(*b"minf", &[&header, &dinf, &stbl(track, chunks)?])?;
    let mdia = boxed(*b"mdia", &[&mdhd, &hdlr, &minf])?;
    boxed(*b"trak", &[&tkhd, &edts(track, timescale)?, &mdia])
}

fn edts(track: &MovieTrack<'_>, timescale: u32) -> Result<Vec<u8>, MovieError> {
    let mut entries = Vec::new();
    let mut edit = |duration: u64, media_time: i64| {
        entries.extend_from_slice(&duration.to_be_bytes());
        entries.extend_from_slice(&media_time.to_be_bytes());
        entries.extend_from_slice(&0x0001_0000_u32.to_be_bytes());
    };
    let wait = wait(track, timescale);
    if wait > 0 {
        edit(wait, -1);
    }
    edit(scaled(track.shown_for, track, timescale), track.shown_from.max(0));
    let count = if wait > 0 { 2_u32 } else { 1 };
    boxed(*b"edts", &[&full(*b"elst", 1, 0, &[&count.to_be_bytes(), &entries])?])
}

fn stbl(track: &MovieTrack<'_>, chunks: &[(u64, Range<usize>)]) -> Result<Vec<u8>, MovieError> {
    let samples = track.samples;
    let durations = runs(samples.iter().map(|sample| sample.duration));
    let mut tables = vec![sample_description(track.init)?, table(*b"stts", 0, &durations)?];
    if samples.iter().any(|sample| sample.composition_offset != 0) {
        let offsets: Result<Vec<u32>, MovieError> = samples
            .iter()
            .map(|sample| {
                u32::try_from(sample.composition_offset).map_err(|_| MovieError::OutOfRange("a composition offset"))
            })
            .collect();
        tables.push(table(*b"ctts", 0, &runs(offsets?.into_iter()))?);
    }
    if samples.iter().any(|sample| !sample.sync) {
        let sync: Vec<[u32; 1]> =
            (1_u32..).zip(samples).filter(|(_, sample)| sample.sync).map(|(number, _)| [number]).collect();
        tables.push(table(*b"stss", 0, &sync)?);
    }
    let mut lengths: Vec<[u32; 3]> = Vec::new();
    for (number, (_, samples)) in (1_u32..).zip(chunks) {
        let count = u32::try_from(samples.len()).map_err(|_| MovieError::OutOfRange("a chunk"))?;
        if lengths.last().is_none_or(|last| last[1] != count) {
            lengths.push([number, count, 1]);
        }
    }
    tables.push(table(*b"stsc", 0, &lengths)?);
    let count = u32::try_from(samples.len()).map_err(|_| MovieError::OutOfRange("the number of samples"))?;
    let sizes: Vec<u8> = samples.iter().flat_map(|sample| sample.size.to_be_bytes()).collect();
    tables.push(full(*b"stsz", 0, 0, &[&[0; 4], &count.to_be_bytes(), &sizes])?);
    let count = u32::try_from(chunks.len()).map_err(|_| MovieError::OutOfRange("the number of chunks"))?;
    let offsets: Vec<u8> = chunks.iter().flat_map(|(at, _)| at.to_be_bytes()).collect();
    tables.push(full(*b"co64", 0, 0, &[&count.to_be_bytes(), &offsets])?);
    boxed(*b"stbl", &[&tables.concat()])
}

/// The `stsd` of an init segment, as it is.
fn sample_description(init: &[u8]) -> Result<Vec<u8>, MovieError> {
    let missing = |kind: &[u8; 4]| CmafError::Missing(FourCc(*kind));
    let moov = Boxes::of_file(init).find_kind(b"moov")?.ok_or_else(|| missing(b"moov"))?;
    let mdia = moov.child(b"trak")?.child(b"mdia")?;
    let stsd = mdia.child(b"minf")?.child(b"stbl")?.child(b"stsd")?;
    boxed(*b"stsd", &[stsd.body])
}

/// Equal values in a row: how many, and which.
fn runs(values: impl Iterator<Item = u32>) -> Vec<[u32; 2]> {
    let mut runs: Vec<[u32; 2]> = Vec::new();
    for value in values {
        match runs.last_mut().filter(|run| run[1] == value) {
            Some(run) => run[0] += 1,
            None => runs.push([1, value]),
        }
    }
    runs
}

fn table<const N: usize>(kind: [u8; 4], version: u8, entries: &[[u32; N]]) -> Result<Vec<u8>, MovieError> {
    let count = u32::try_from(entries.len()).map_err(|_| MovieError::OutOfRange("the length of a table"))?;
    full(kind, version, 0, &[&count.to_be_bytes(), &words(entries.as_flattened())])
}

fn words(values: &[u32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_be_bytes()).collect()
}

fn full(kind: [u8; 4], version: u8, flags: u32, parts: &[&[u8]]) -> Result<Vec<u8>, MovieError> {
    let word = (u32::from(version) << 24 | flags).to_be_bytes();
    let parts: Vec<&[u8]> = [word.as_slice()].into_iter().chain(parts.iter().copied()).collect();
    boxed(kind, &parts)
}

fn boxed(kind: [u8; 4], parts: &[&[u8]]) -> Result<Vec<u8>, MovieError> {
    let length = 8 + parts.iter().map(|part| part.len()).sum::<usize>();
    let length = u32::try_from(length).map_err(|_| MovieError::OutOfRange("a box"))?;
    Ok([&length.to_be_bytes(), kind.as_slice(), &parts.concat()].concat())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cmaf::{aac_entry, avc_entry, movie, parse_init};

    fn sample(size: u32, duration: u32, composition_offset: i64, sync: bool) -> SampleFacts {
        SampleFacts { offset: 0, size, duration, composition_offset, sync }
    }

    #[test]
    fn offsets_name_the_media_in_the_order_it_follows_and_edits_begin_both_tracks_at_zero() {
        let inits =
            [movie(&[(b"vide", 25_000, avc_entry(320, 180, (1, 1)))], 0), movie(&[(b"soun", 48_000, aac_entry(2))], 0)];
        let facts = inits.each_ref().map(|init| parse_init(init).unwrap());
        let video: Vec<SampleFacts> = (0..60).map(|i| sample(100 + i, 1000, 5000, i % 25 == 0)).collect();
        let audio: Vec<SampleFacts> = (0..113).map(|_| sample(7, 1024, 0, true)).collect();
        let tracks = [
            MovieTrack { init: &inits[0], facts: &facts[0], samples: &video, shown_from: 5000, shown_for: 60_000 },
            MovieTrack { init: &inits[1], facts: &facts[1], samples: &audio, shown_from: 0, shown_for: 115_200 },
        ];
        let order = movie_order(&tracks);
        let counts: Vec<(usize, usize)> = order.iter().map(|(track, samples)| (*track, samples.len())).collect();
        assert_eq!(counts, [(0, 25), (1, 47), (0, 25), (1, 47), (0, 10), (1, 19)]);
        let header = movie_header(&tracks, &order).unwrap();

        let moov = Boxes::of_file(&header).find_kind(b"moov").unwrap().unwrap();
        let media: u64 = [&video, &audio].iter().flat_map(|s| s.iter()).map(|s| u64::from(s.size)).sum();
        assert_eq!(header[header.len() - 8..], (media + 16).to_be_bytes());
        let mut offsets = Vec::new();
        for trak in moov.children().map(Result::unwrap).filter(|b| b.kind.0 == *b"trak") {
            let elst = trak.child(b"edts").unwrap().child(b"elst").unwrap();
            let (_, _, mut fields) = elst.full_fields().unwrap();
            assert_eq!(fields.u32().unwrap(), 1);
            assert_eq!(fields.u64().unwrap(), 60_000, "both last as long, in the film's time");
            let stbl = trak.child(b"mdia").unwrap().child(b"minf").unwrap().child(b"stbl").unwrap();
            let (_, _, mut co64) = stbl.child(b"co64").unwrap().full_fields().unwrap();
            let count = co64.u32().unwrap();
            offsets.extend((0..count).map(|_| co64.u64().unwrap()));
        }
        let mut at = header.len() as u64;
        let mut expected = [Vec::new(), Vec::new()];
        for (track, samples) in &order {
            expected[*track].push(at);
            at += tracks[*track].samples[samples.clone()].iter().map(|s| u64::from(s.size)).sum::<u64>();
        }
        assert_eq!(offsets, expected.concat());
    }

    #[test]
    fn a_track_that_begins_later_waits() {
        let init = movie(&[(b"soun", 48_000, aac_entry(2))], 0);
        let facts = parse_init(&init).unwrap();
        let samples = [sample(7, 1024, 0, true)];
        let track = MovieTrack { init: &init, facts: &facts, samples: &samples, shown_from: -4800, shown_for: 1024 };
        let tracks = [track];
        let header = movie_header(&tracks, &movie_order(&tracks)).unwrap();
        let moov = Boxes::of_file(&header).find_kind(b"moov").unwrap().unwrap();
        let elst = moov.child(b"trak").unwrap().child(b"edts").unwrap().child(b"elst").unwrap();
        let (_, _, mut fields) = elst.full_fields().unwrap();
        assert_eq!((fields.u32().unwrap(), fields.u64().unwrap(), fields.u64().unwrap()), (2, 4800, u64::MAX));
        assert_eq!(movie_header(&[], &[]), Err(MovieError::Empty));
    }
}
