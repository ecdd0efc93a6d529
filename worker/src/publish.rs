//! From committed segments to a presentation: playlists, storyboard, poster, and the master playlist last.

use std::sync::Arc;

use fleet::conformance::{self, Report};
use fleet::failure::FailureCode;
use fleet::hls::{
    Bandwidth, ClosedCaptions, IframeVariant, Map, MediaKind, MediaPlaylist, MultivariantPlaylist, PlaylistType,
    Rendition, Segment, Thumbnail, Variant, measured_bandwidth, render_media_playlist, render_multivariant_playlist,
    render_thumbnails, target_duration,
};
use serde::Serialize;

use crate::failure::JobError;
use crate::output::{OutputFolder, RenditionState, segment_name};
use crate::plan::JobPlan;

/// Thumbnails on one storyboard sheet: 10 × 10.
const SHEET_SIDE: u64 = 10;
/// JPEG quality of storyboard and poster.
const JPEG_QUALITY: u8 = 80;
/// Name of the audio group.
const AUDIO_GROUP: &str = "audio";

/// A published rendition, measured.
#[derive(Clone, Debug, Serialize)]
pub struct PublishedRendition {
    /// Folder and name.
    pub name: String,
    /// Picture size; absent for sound.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub width: Option<u32>,
    /// See `width`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub height: Option<u32>,
    /// Codec string read from the bitstream.
    pub codecs: String,
    /// Bits per second over the whole, in kbit/s.
    pub average_kbps: u64,
    /// Bits per second of the busiest stretch, in kbit/s.
    pub peak_kbps: u64,
    /// Whether the packets are the source's own.
    pub copied: bool,
}

/// What was published.
#[derive(Debug)]
pub struct Published {
    /// Renditions, pictures first.
    pub renditions: Vec<PublishedRendition>,
    /// The conformance report.
    pub report: Report,
}

struct Track<'a> {
    name: &'a str,
    state: &'a RenditionState,
    codec: String,
    durations: Vec<f64>,
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
    let videos: Vec<Track<'_>> =
        plan.video.renditions.iter().map(|r| track(folder, &r.name)).collect::<Result<_, _>>()?;
    for video in &videos {
        let total: u64 = video.state.segments.values().map(|s| s.count).sum();
        if video.state.contiguous() != segments || total != frames {
            return Err(JobError::internal(format!(
                "{}: {} of {segments} segments, {total} of {frames} frames",
                video.name,
                video.state.contiguous()
            )));
        }
    }
    // A track without one decodable packet is no track.
    let audios: Vec<(usize, Track<'_>)> = plan
        .audio
        .iter()
        .enumerate()
        .filter(|(_, a)| folder.rendition(&a.name).is_some_and(|s| !s.segments.is_empty()))
        .map(|(i, a)| Ok((i, track(folder, &a.name)?)))
        .collect::<Result<_, JobError>>()?;

    let all = videos.iter().chain(audios.iter().map(|(_, t)| t));
    let target = target_duration(all.clone().flat_map(|t| t.durations.iter().copied()));
    for track in all {
        folder.write(
            &format!("{}/index.m3u8", track.name),
            render_media_playlist(&media_playlist(track, target)).as_bytes(),
        )?;
    }
    let audio_bandwidth =
        audios.iter().map(|(_, t)| bandwidth(t, target)).fold(Bandwidth { peak: 0, average: 0 }, |most, b| Bandwidth {
            peak: most.peak.max(b.peak),
            average: most.average.max(b.average),
        });
    let master = multivariant(folder, plan, &videos, &audios, audio_bandwidth, target)?;
    storyboard(folder, plan, frames)?;
    if let Some((size, rgb)) = folder.picture("poster").or_else(|| folder.picture("thumb_000000")) {
        folder.write("poster.jpg", &jpeg(&rgb, size)?)?;
    }

    // The rules are checked on what players will see, before any player can see it.
    let presentation = conformance::load_tracks(folder.dir(), master.clone())
        .map_err(|e| JobError::internal(format!("reading the output back: {e}")))?;
    let report = conformance::evaluate(&presentation);
    folder.write("report.json", &serde_json::to_vec_pretty(&report).map_err(JobError::internal)?)?;
    if !report.passed() {
        let failed: Vec<String> = report
            .broken()
            .filter(|r| r.verdict == conformance::Verdict::Fail)
            .map(|r| format!("{} ({})", r.id, r.measured))
            .collect();
        return Err(JobError::new(FailureCode::ConformanceFailed, failed.join("; ")));
    }
    folder.write("master.m3u8", render_multivariant_playlist(&master).as_bytes())?;

    let mut renditions: Vec<PublishedRendition> = videos
        .iter()
        .zip(&plan.video.renditions)
        .map(|(t, r)| published(t, target, Some((r.width, r.height)), r.encode.is_none()))
        .collect();
    renditions.extend(audios.iter().map(|(i, t)| published(t, target, None, plan.audio[*i].copy)));
    Ok(Published { renditions, report })
}

fn track<'a>(folder: &'a OutputFolder, name: &'a str) -> Result<Track<'a>, JobError> {
    let missing = || JobError::internal(format!("{name}: nothing was committed"));
    let state = folder.rendition(name).ok_or_else(missing)?;
    let init = state.init.as_ref().ok_or_else(missing)?;
    let timescale = f64::from(init.timescale.max(1));
    // As the playlist will say it, with six decimals: what is measured must hold for who reads it.
    #[expect(clippy::cast_precision_loss, reason = "a segment's ticks")]
    let durations =
        state.segments.values().map(|s| (s.facts.duration() as f64 / timescale * 1e6).round() / 1e6).collect();
    Ok(Track { name, state, codec: init.codec.clone(), durations })
}

fn map() -> Option<Arc<Map>> {
    Some(Arc::new(Map { uri: "init.mp4".to_owned(), byte_range: None }))
}

fn media_playlist(track: &Track<'_>, target: u32) -> MediaPlaylist {
    let map = map();
    let segments = track
        .state
        .segments
        .keys()
        .zip(&track.durations)
        .map(|(index, duration)| Segment::new(segment_name(*index), *duration, map.clone()))
        .collect();
    MediaPlaylist::new(PlaylistType::Vod, target, segments)
}

fn bandwidth(track: &Track<'_>, target: u32) -> Bandwidth {
    let sizes: Vec<(f64, u64)> =
        track.durations.iter().copied().zip(track.state.segments.values().map(|s| s.facts.size)).collect();
    measured_bandwidth(&sizes, f64::from(target))
}

/// Writes the I-frame playlist of a rendition and gives its bandwidth.
fn iframes(folder: &OutputFolder, track: &Track<'_>, timescale: u32) -> Result<Bandwidth, JobError> {
    let map = map();
    let mut entries = Vec::new();
    let mut sizes = Vec::new();
    for (index, segment) in &track.state.segments {
        for fragment in &segment.facts.fragments {
            #[expect(clippy::cast_precision_loss, reason = "a fragment's ticks")]
            let duration = (fragment.duration as f64 / f64::from(timescale.max(1)) * 1e6).round() / 1e6;
            let mut entry = Segment::new(segment_name(*index), duration, map.clone());
            entry.byte_range = Some(fragment.first_sample_range);
            sizes.push((duration, fragment.first_sample_range.length));
            entries.push(entry);
        }
    }
    let playlist = MediaPlaylist::iframes(entries);
    let target = f64::from(playlist.target_duration);
    folder.write(&format!("{}/iframe.m3u8", track.name), render_media_playlist(&playlist).as_bytes())?;
    Ok(measured_bandwidth(&sizes, target))
}

fn multivariant(
    folder: &OutputFolder,
    plan: &JobPlan,
    videos: &[Track<'_>],
    audios: &[(usize, Track<'_>)],
    audio_bandwidth: Bandwidth,
    target: u32,
) -> Result<MultivariantPlaylist, JobError> {
    let mut variants = Vec::new();
    let mut iframe_variants = Vec::new();
    let mut audio_codecs: Vec<String> = audios.iter().map(|(_, t)| t.codec.clone()).collect();
    audio_codecs.dedup();
    for (video, rendition) in videos.iter().zip(&plan.video.renditions) {
        let own = bandwidth(video, target);
        let mut codecs = vec![video.codec.clone()];
        codecs.extend(audio_codecs.iter().cloned());
        variants.push(Variant {
            uri: format!("{}/index.m3u8", video.name),
            bandwidth: own.peak + audio_bandwidth.peak,
            average_bandwidth: Some(own.average + audio_bandwidth.average),
            codecs,
            resolution: Some((rendition.width, rendition.height)),
            frame_rate: Some(plan.video.rate.as_f64()),
            video_range: None,
            audio: (!audios.is_empty()).then(|| AUDIO_GROUP.to_owned()),
            subtitles: None,
            closed_captions: Some(ClosedCaptions::None),
            score: None,
        });
        let trick = iframes(folder, video, plan.video.rate.timescale())?;
        iframe_variants.push(IframeVariant {
            uri: format!("{}/iframe.m3u8", video.name),
            bandwidth: trick.peak,
            average_bandwidth: Some(trick.average),
            codecs: vec![video.codec.clone()],
            resolution: Some((rendition.width, rendition.height)),
            video_range: None,
        });
    }
    let renditions = audios
        .iter()
        .map(|(i, t)| {
            let audio = &plan.audio[*i];
            let channels = t.state.init.as_ref().and_then(|f| f.audio.as_ref()).map_or(2, |a| a.channels);
            Rendition {
                kind: MediaKind::Audio,
                group_id: AUDIO_GROUP.to_owned(),
                name: track_label(audio.language.as_deref(), &audio.name),
                language: Some(audio.language.clone().unwrap_or_else(|| "und".to_owned())),
                default: audio.is_default,
                autoselect: true,
                channels: Some(channels.to_string()),
                uri: Some(format!("{}/index.m3u8", audio.name)),
            }
        })
        .collect();
    Ok(MultivariantPlaylist::new(variants, renditions, iframe_variants))
}

/// What a player shows in its sound menu; distinct for each track of a group, as RFC 8216 4.3.4.1.1 asks.
fn track_label(language: Option<&str>, name: &str) -> String {
    let number = name.rsplit('-').next().filter(|n| n.bytes().all(|b| b.is_ascii_digit()));
    let base = language.map_or("Sound", |l| match l {
        "eng" => "English",
        "fra" | "fre" => "Français",
        "deu" | "ger" => "Deutsch",
        "spa" => "Español",
        "ita" => "Italiano",
        "por" => "Português",
        "nld" | "dut" => "Nederlands",
        _ => "",
    });
    let base = if base.is_empty() { language.unwrap_or("Sound") } else { base };
    number.map_or_else(|| base.to_owned(), |n| format!("{base} {n}"))
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

fn jpeg(rgb: &[u8], size: (u32, u32)) -> Result<Vec<u8>, JobError> {
    let (Ok(width), Ok(height)) = (u16::try_from(size.0), u16::try_from(size.1)) else {
        return Err(JobError::internal("a picture is too large for JPEG"));
    };
    let mut bytes = Vec::new();
    jpeg_encoder::Encoder::new(&mut bytes, JPEG_QUALITY)
        .encode(rgb, width, height, jpeg_encoder::ColorType::Rgb)
        .map_err(JobError::internal)?;
    Ok(bytes)
}

fn published(track: &Track<'_>, target: u32, size: Option<(u32, u32)>, copied: bool) -> PublishedRendition {
    let measured = bandwidth(track, target);
    PublishedRendition {
        name: track.name.to_owned(),
        width: size.map(|s| s.0),
        height: size.map(|s| s.1),
        codecs: track.codec.clone(),
        average_kbps: measured.average / 1000,
        peak_kbps: measured.peak / 1000,
        copied,
    }
}
