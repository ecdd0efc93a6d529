//! Samples of two engines into one MP4 file, the index first.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, Write};
use std::ops::Range;

use fleet::cmaf::{
    InitFacts, MovieTrack, SampleFacts, movie_header, movie_order, parse_init, parse_samples, parse_segment,
};
use fleet::failure::FailureCode;
use fleet::timeline::PRESENTATION_DELAY_MS;

use crate::failure::JobError;
use crate::plan::JobPlan;

/// What an engine made of one track. The samples wait in a file without a name.
pub(super) struct Track {
    init: Vec<u8>,
    facts: Option<InitFacts>,
    samples: Vec<SampleFacts>,
    /// Decode and presentation time of the first sample.
    begins: Option<(i64, i64)>,
    spool: BufWriter<File>,
}

impl Track {
    pub(super) fn new() -> Result<Self, JobError> {
        let spool = BufWriter::new(tempfile::tempfile().map_err(JobError::internal)?);
        Ok(Self { init: Vec::new(), facts: None, samples: Vec::new(), begins: None, spool })
    }

    pub(super) fn init(&mut self, bytes: Vec<u8>) -> Result<(), JobError> {
        self.facts = Some(parse_init(&bytes).map_err(hostile)?);
        self.init = bytes;
        Ok(())
    }

    pub(super) fn segment(&mut self, bytes: &[u8]) -> Result<(), JobError> {
        let init = self.facts.as_ref().ok_or_else(|| hostile("a segment before its init segment"))?;
        let samples = parse_samples(bytes, init).map_err(hostile)?;
        if self.begins.is_none() {
            let facts = parse_segment(bytes, init).map_err(hostile)?;
            self.begins = Some((facts.tfdt(), facts.first_presentation()));
        }
        for sample in &samples {
            let range = sample.offset..sample.offset + sample.size as usize;
            let sample = bytes.get(range).ok_or_else(|| hostile("a sample outside its segment"))?;
            self.spool.write_all(sample).map_err(JobError::internal)?;
        }
        self.samples.extend(samples);
        Ok(())
    }

    pub(super) fn is_filled(&self) -> bool {
        !self.samples.is_empty()
    }

    /// Leaves out the samples that are decoded `length` or later, counted from the first.
    fn cut(&mut self, length: u64) {
        let mut at = 0;
        let within = self.samples.iter().take_while(|sample| {
            let is_within = at < length;
            at += u64::from(sample.duration);
            is_within
        });
        let count = within.count();
        self.samples.truncate(count);
    }

    fn media(&self) -> u64 {
        self.samples.iter().map(|sample| u64::from(sample.duration)).sum()
    }

    fn facts(&self) -> Result<&InitFacts, JobError> {
        self.facts.as_ref().ok_or_else(|| hostile("no init segment"))
    }
}

fn hostile(what: impl std::fmt::Display) -> JobError {
    JobError::new(FailureCode::EngineProtocol, what.to_string())
}

/// Writes the film: both tracks begin at its zero and end with the clip.
pub(super) fn write(job: &JobPlan, pictures: Track, sound: Option<Track>, file: &File) -> Result<(), JobError> {
    let frames = job.expected_frames.unwrap_or(0);
    let (decoded, shown) = pictures.begins.ok_or_else(|| hostile("no picture"))?;
    let shown_for = frames * u64::from(job.video.rate.frame_ticks());
    let mut shares = vec![(shown - decoded, shown_for)];
    let mut tracks = vec![pictures];
    if let Some(mut sound) = sound {
        let rate = sound.facts()?.timescale;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "media times")]
        let length = (job.video.rate.seconds(frames) * f64::from(rate)).round() as u64;
        let begins = sound.begins.map_or(0, |(decoded, _)| decoded) - i64::from(rate) * PRESENTATION_DELAY_MS / 1000;
        let (early, late) = (u64::try_from(-begins).unwrap_or(0), u64::try_from(begins).unwrap_or(0));
        sound.cut(length.saturating_sub(late) + early);
        let shown_for = length.saturating_sub(late).min(sound.media().saturating_sub(early));
        if shown_for > 0 && sound.is_filled() {
            shares.push((-begins, shown_for));
            tracks.push(sound);
        }
    }
    let movie: Result<Vec<MovieTrack<'_>>, JobError> = tracks
        .iter()
        .zip(&shares)
        .map(|(track, (shown_from, shown_for))| {
            let facts = track.facts()?;
            let (shown_from, shown_for) = (*shown_from, *shown_for);
            Ok(MovieTrack { init: &track.init, facts, samples: &track.samples, shown_from, shown_for })
        })
        .collect();
    let movie = movie?;
    let order = movie_order(&movie);
    let header = movie_header(&movie, &order).map_err(hostile)?;
    let lengths: Vec<(usize, u64)> =
        order.iter().map(|(track, samples)| (*track, length(&movie, *track, samples))).collect();
    drop(movie);
    copy(tracks, &header, &lengths, file).map_err(JobError::internal)
}

/// Bytes of some samples of a track.
fn length(movie: &[MovieTrack<'_>], track: usize, samples: &Range<usize>) -> u64 {
    let samples = movie.get(track).and_then(|track| track.samples.get(samples.clone())).unwrap_or_default();
    samples.iter().map(|sample| u64::from(sample.size)).sum()
}

fn copy(tracks: Vec<Track>, header: &[u8], order: &[(usize, u64)], file: &File) -> io::Result<()> {
    let mut spools = Vec::with_capacity(tracks.len());
    for track in tracks {
        let mut spool = track.spool.into_inner().map_err(io::IntoInnerError::into_error)?;
        spool.rewind()?;
        spools.push(BufReader::new(spool));
    }
    let mut out = BufWriter::new(file);
    out.write_all(header)?;
    for (track, length) in order {
        let Some(spool) = spools.get_mut(*track) else { continue };
        let copied = io::copy(&mut spool.take(*length), &mut out)?;
        if copied != *length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    out.flush()
}
