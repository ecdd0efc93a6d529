//! Publishes an output folder: playlists, storyboard, poster, and the master playlist last.

use fleet::conformance::{self, Report};
use fleet::failure::FailureCode;
use fleet::hls::{Thumbnail, render_multivariant_playlist, render_thumbnails};
use fleet::presentation::{self, CompleteTrack, PublishedRendition};

use crate::failure::JobError;
use crate::output::{OutputFolder, segment_name};
use crate::plan::JobPlan;

/// Thumbnails on one storyboard sheet: 10 × 10.
const SHEET_SIDE: u64 = 10;
/// JPEG quality of storyboard and poster.
const JPEG_QUALITY: u8 = 80;

/// What was published.
#[derive(Debug)]
pub struct Published {
    /// Renditions, pictures first.
    pub renditions: Vec<PublishedRendition>,
    /// The conformance report.
    pub report: Report,
}

/// Publishes: every step may be repeated, the last one (`master.m3u8`) makes it visible.
///
/// # Errors
/// A segment is missing, a file cannot be written, or a MUST of the HLS rules fails.
pub fn publish(folder: &OutputFolder, plan: &JobPlan) -> Result<Published, JobError> {
    let frames = folder.end.ok_or_else(|| JobError::internal("the end of the source was never met"))?;
    if frames == 0 {
        return Err(JobError::new(FailureCode::Undecodable, "no picture could be decoded"));
    }
    let segments = plan.video.grid.segments(frames);
    for rendition in &plan.video.renditions {
        let state = folder.rendition(&rendition.name);
        let total: u64 = state.map_or(0, |s| s.segments.values().map(|s| s.count).sum());
        let contiguous = state.map_or(0, crate::output::RenditionState::contiguous);
        if contiguous != segments || total != frames {
            return Err(JobError::internal(format!(
                "{}: {contiguous} of {segments} segments, {total} of {frames} frames",
                rendition.name,
            )));
        }
    }
    let videos: Vec<CompleteTrack> =
        plan.video.renditions.iter().map(|r| track(folder, &r.name)).collect::<Result<_, _>>()?;
    // A track without one decodable packet is no track.
    let audios: Vec<CompleteTrack> = plan
        .audio
        .iter()
        .filter(|a| folder.rendition(&a.name).is_some_and(|s| !s.segments.is_empty()))
        .map(|a| track(folder, &a.name))
        .collect::<Result<_, _>>()?;
    let playlists = presentation::playlists(plan, &videos, &audios);
    drop((videos, audios));
    for (path, text) in playlists.files() {
        folder.write(path, text.as_bytes())?;
    }
    storyboard(folder, plan, frames)?;
    if let Some((size, rgb)) = folder.picture("poster").or_else(|| folder.picture("thumb_000000")) {
        folder.write("poster.jpg", &jpeg(&rgb, size)?)?;
    }

    // The rules are checked on what players will see, before any player can see it.
    let presentation = conformance::load_tracks(folder.dir(), playlists.master.clone())
        .map_err(|e| JobError::internal(format!("reading the output back: {e}")))?;
    let report = conformance::evaluate(&presentation);
    folder.write("report.json", &serde_json::to_vec_pretty(&report).map_err(JobError::internal)?)?;
    if !report.passed() {
        return Err(JobError::new(FailureCode::ConformanceFailed, report.failures()));
    }
    folder.write("master.m3u8", render_multivariant_playlist(&playlists.master).as_bytes())?;
    Ok(Published { renditions: playlists.renditions, report })
}

fn track(folder: &OutputFolder, name: &str) -> Result<CompleteTrack, JobError> {
    let missing = || JobError::internal(format!("{name}: nothing was committed"));
    let state = folder.rendition(name).ok_or_else(missing)?;
    let init = state.init.clone().ok_or_else(missing)?;
    let segments = state.segments.iter().map(|(index, s)| (segment_name(*index), s.facts.clone())).collect();
    Ok(CompleteTrack { name: name.to_owned(), init, init_uri: "init.mp4".to_owned(), segments })
}

/// Storyboard sheets and the WebVTT file that points into them.
fn storyboard(folder: &OutputFolder, plan: &JobPlan, frames: u64) -> Result<(), JobError> {
    let every = plan.video.thumbnail_every.max(1);
    let count = frames.div_ceil(every);
    let (width, height) = plan.video.thumbnail_size;
    let per_sheet = SHEET_SIDE * SHEET_SIDE;
    let ms = |frame: u64| {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "media times")]
        let ms = (plan.video.rate.seconds(frame) * 1000.0).round() as u64;
        ms
    };
    let mut cues = Vec::new();
    for sheet in 0..count.div_ceil(per_sheet) {
        let first = sheet * per_sheet;
        let tiles = per_sheet.min(count - first);
        let columns = tiles.min(SHEET_SIDE);
        let rows = tiles.div_ceil(SHEET_SIDE);
        let size = (width * u32_of(columns)?, height * u32_of(rows)?);
        let mut canvas = vec![0; size.0 as usize * size.1 as usize * 3];
        let image = format!("storyboard_{sheet:03}.jpg");
        for tile in 0..tiles {
            let (x, y) = (u32_of(tile % SHEET_SIDE)? * width, u32_of(tile / SHEET_SIDE)? * height);
            let index = first + tile;
            if let Some(((w, h), rgb)) = folder.picture(&thumbnail_name(index))
                && (w, h) == (width, height)
            {
                for row in 0..h as usize {
                    let at = ((y as usize + row) * size.0 as usize + x as usize) * 3;
                    let line = w as usize * 3;
                    canvas[at..at + line].copy_from_slice(&rgb[row * line..(row + 1) * line]);
                }
            }
            cues.push(Thumbnail {
                start_ms: ms(index * every),
                end_ms: ms(((index + 1) * every).min(frames)),
                image: image.clone(),
                x,
                y,
                width,
                height,
            });
        }
        folder.write(&image, &jpeg(&canvas, size)?)?;
    }
    folder.write("thumbnails.vtt", render_thumbnails(&cues).as_bytes())
}

/// Name under which a thumbnail is kept.
#[must_use]
pub fn thumbnail_name(index: u64) -> String {
    format!("thumb_{index:06}")
}

fn u32_of(n: u64) -> Result<u32, JobError> {
    u32::try_from(n).map_err(JobError::internal)
}

/// A JPEG of tightly packed RGB.
pub(crate) fn jpeg(rgb: &[u8], size: (u32, u32)) -> Result<Vec<u8>, JobError> {
    let (Ok(width), Ok(height)) = (u16::try_from(size.0), u16::try_from(size.1)) else {
        return Err(JobError::internal("a picture is too large for JPEG"));
    };
    let mut bytes = Vec::new();
    jpeg_encoder::Encoder::new(&mut bytes, JPEG_QUALITY)
        .encode(rgb, width, height, jpeg_encoder::ColorType::Rgb)
        .map_err(JobError::internal)?;
    Ok(bytes)
}
