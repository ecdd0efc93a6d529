//! From committed segments to playlists. Pure: it works on facts, so a folder and a database publish the same way.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::cmaf::{InitFacts, SegmentFacts};
use crate::conformance::{LoadedSegment, Presentation, Role, Track};
use crate::hls::{
    Bandwidth, ClosedCaptions, IframeVariant, Map, MediaKind, MediaPlaylist, MultivariantPlaylist, PlaylistType,
    Rendition, Segment, Variant, measured_bandwidth, render_media_playlist, target_duration,
};
use crate::plan::JobPlan;

/// Name of the audio group.
const AUDIO_GROUP: &str = "audio";

/// One rendition, all of whose segments are committed.
#[derive(Clone, Debug)]
pub struct CompleteTrack {
    /// Folder and name, for example `v720`.
    pub name: String,
    /// What the init segment holds.
    pub init: InitFacts,
    /// File of the init segment, in the track's folder.
    pub init_uri: String,
    /// Segments in order: file in the track's folder, and what it holds.
    pub segments: Vec<(String, SegmentFacts)>,
}

/// A published rendition, measured.
#[derive(Clone, Debug, Serialize, Deserialize)]
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

/// All playlists of a finished presentation.
#[derive(Debug)]
pub struct Playlists {
    /// The multivariant playlist, which names all others.
    pub master: MultivariantPlaylist,
    /// Media and I-frame playlists: path below the presentation, and the playlist.
    pub media: Vec<(String, MediaPlaylist)>,
    /// What was made, pictures first.
    pub renditions: Vec<PublishedRendition>,
}

impl Playlists {
    /// The playlists below the multivariant one as text: path, content.
    pub fn files(&self) -> impl Iterator<Item = (&str, String)> {
        self.media.iter().map(|(path, playlist)| (path.as_str(), render_media_playlist(playlist)))
    }
}

/// Makes the playlists. `videos` are those of the plan, in its order; `audios` may leave out tracks that held nothing.
#[must_use]
pub fn playlists(plan: &JobPlan, videos: &[CompleteTrack], audios: &[CompleteTrack]) -> Playlists {
    let tracks = || videos.iter().chain(audios);
    let target = target_duration(tracks().flat_map(durations));
    let mut media: Vec<(String, MediaPlaylist)> =
        tracks().map(|t| (format!("{}/index.m3u8", t.name), media_playlist(t, target))).collect();
    let sound = audios.iter().map(|t| bandwidth(t, target)).fold(Bandwidth { peak: 0, average: 0 }, |most, b| {
        Bandwidth { peak: most.peak.max(b.peak), average: most.average.max(b.average) }
    });
    let mut audio_codecs: Vec<String> = audios.iter().map(|t| t.init.codec.clone()).collect();
    audio_codecs.dedup();
    let (mut variants, mut iframe_variants) = (Vec::new(), Vec::new());
    for (video, rendition) in videos.iter().zip(&plan.video.renditions) {
        let own = bandwidth(video, target);
        let resolution = Some((rendition.width, rendition.height));
        let mut codecs = vec![video.init.codec.clone()];
        codecs.extend(audio_codecs.iter().cloned());
        variants.push(Variant {
            uri: format!("{}/index.m3u8", video.name),
            bandwidth: own.peak + sound.peak,
            average_bandwidth: Some(own.average + sound.average),
            codecs,
            resolution,
            frame_rate: Some(plan.video.rate.as_f64()),
            video_range: None,
            audio: (!audios.is_empty()).then(|| AUDIO_GROUP.to_owned()),
            subtitles: None,
            closed_captions: Some(ClosedCaptions::None),
            score: None,
        });
        let (playlist, trick) = iframes(video, plan.video.rate.timescale());
        media.push((format!("{}/iframe.m3u8", video.name), playlist));
        iframe_variants.push(IframeVariant {
            uri: format!("{}/iframe.m3u8", video.name),
            bandwidth: trick.peak,
            average_bandwidth: Some(trick.average),
            codecs: vec![video.init.codec.clone()],
            resolution,
            video_range: None,
        });
    }
    let names: Vec<(&str, &InitFacts)> = audios.iter().map(|t| (t.name.as_str(), &t.init)).collect();
    let master = MultivariantPlaylist::new(
        variants,
        audio_group(plan, &names, &|name| format!("{name}/index.m3u8")),
        iframe_variants,
    );
    let mut renditions: Vec<PublishedRendition> = videos
        .iter()
        .zip(&plan.video.renditions)
        .map(|(t, r)| published(t, target, Some((r.width, r.height)), r.encode.is_none()))
        .collect();
    renditions.extend(audios.iter().map(|t| {
        let copied = plan.audio.iter().any(|a| a.name == t.name && a.copy);
        published(t, target, None, copied)
    }));
    Playlists { master, media, renditions }
}

/// The presentation as the conformance rules see it, from facts alone.
#[must_use]
pub fn presentation(playlists: &Playlists, videos: &[CompleteTrack], audios: &[CompleteTrack]) -> Presentation {
    let by_name = |path: &str| {
        let name = path.split('/').next().unwrap_or_default();
        videos
            .iter()
            .map(|t| (t, Role::Variant))
            .chain(audios.iter().map(|t| (t, Role::Audio)))
            .find(|(t, _)| t.name == name)
    };
    let tracks = playlists
        .media
        .iter()
        .filter_map(|(path, playlist)| {
            let (track, role) = by_name(path)?;
            let segments = if playlist.iframes_only {
                playlist
                    .segments
                    .iter()
                    .map(|s| LoadedSegment { bytes: s.byte_range.map(|r| r.length), facts: None })
                    .collect()
            } else {
                track
                    .segments
                    .iter()
                    .map(|(_, facts)| LoadedSegment { bytes: Some(facts.size), facts: Some(facts.clone()) })
                    .collect()
            };
            Some(Track {
                uri: path.clone(),
                role: if playlist.iframes_only { Role::Iframe } else { role },
                playlist: Some(playlist.clone()),
                init: Some(track.init.clone()),
                segments,
                faults: Vec::new(),
            })
        })
        .collect();
    Presentation { multivariant: playlists.master.clone(), tracks, partial_files: Vec::new() }
}

/// A rendition of a presentation that still grows.
#[derive(Clone, Debug)]
pub struct GrowingTrack {
    /// Folder and name.
    pub name: String,
    /// What the init segment holds.
    pub init: InitFacts,
    /// File of the init segment, in the track's folder.
    pub init_uri: String,
    /// Segments in order: file in the track's folder, and seconds.
    pub segments: Vec<(String, f64)>,
}

/// The EVENT playlist of a growing rendition. The target duration comes from the plan, since it may never change.
#[must_use]
pub fn growing_playlist(plan: &JobPlan, track: &GrowingTrack, ended: bool) -> MediaPlaylist {
    let map = map(&track.init_uri);
    let segments =
        track.segments.iter().map(|(uri, seconds)| Segment::new(uri.clone(), *seconds, map.clone())).collect();
    let mut playlist = MediaPlaylist::new(PlaylistType::Event, growing_target(plan), segments);
    playlist.ended = ended;
    playlist
}

/// The EVENT playlist of a rendition's later part that grows, as seen from `base` (with its closing slash).
#[must_use]
pub fn growing_part(plan: &JobPlan, track: &GrowingTrack, base: &str, ended: bool) -> MediaPlaylist {
    let mut part = clip_playlist(track, base);
    part.playlist_type = Some(PlaylistType::Event);
    part.target_duration = growing_target(plan);
    part.ended = ended;
    part
}

/// Target duration in seconds of the growing playlists: that of the longest segment the plan can yield.
#[must_use]
pub fn growing_target(plan: &JobPlan) -> u32 {
    let grid = &plan.video.grid;
    let count = grid.segments(plan.expected_frames.unwrap_or(0)).max(1);
    let longest = (0..count)
        .filter_map(|i| Some(grid.end(i)?.saturating_sub(grid.start(i)?)))
        .chain(plan.expected_frames.and_then(|end| Some(end.saturating_sub(grid.start(count - 1)?))))
        .max()
        .unwrap_or(1);
    // A sound segment may run a packet over its border.
    target_duration([plan.video.rate.seconds(longest) + 0.05])
}

/// The multivariant playlist of a growing presentation, written once: it names `watch.m3u8` of each rendition.
/// Bandwidths are the ladder's caps, as nothing is measured yet.
#[must_use]
pub fn growing_master(plan: &JobPlan, videos: &[GrowingTrack], audios: &[GrowingTrack]) -> MultivariantPlaylist {
    unmeasured_master(plan, videos, audios, &|name| format!("{name}/watch.m3u8"))
}

/// The VOD playlist of a rendition's part, as seen from `base` (with its closing slash): its segments are those of the
/// whole presentation.
#[must_use]
pub fn clip_playlist(track: &GrowingTrack, base: &str) -> MediaPlaylist {
    let map = map(&format!("{base}{}/{}", track.name, track.init_uri));
    let segments = track
        .segments
        .iter()
        .map(|(uri, seconds)| Segment::new(format!("{base}{}/{uri}", track.name), *seconds, map.clone()))
        .collect();
    let target = target_duration(track.segments.iter().map(|(_, seconds)| *seconds));
    let mut playlist = MediaPlaylist::new(PlaylistType::Vod, target, segments);
    playlist.ended = true;
    playlist
}

/// The multivariant playlist of a part: it names `{folder}{rendition}.m3u8`.
#[must_use]
pub fn clip_master(
    plan: &JobPlan,
    videos: &[GrowingTrack],
    audios: &[GrowingTrack],
    folder: &str,
) -> MultivariantPlaylist {
    unmeasured_master(plan, videos, audios, &|name| format!("{folder}{name}.m3u8"))
}

fn unmeasured_master(
    plan: &JobPlan,
    videos: &[GrowingTrack],
    audios: &[GrowingTrack],
    uri: &dyn Fn(&str) -> String,
) -> MultivariantPlaylist {
    let sound: u64 =
        plan.audio.iter().map(|a| if a.copy { 170_000 } else { u64::from(a.bit_rate) * 11 / 10 }).max().unwrap_or(0);
    let mut audio_codecs: Vec<String> = audios.iter().map(|t| t.init.codec.clone()).collect();
    audio_codecs.dedup();
    let variants = videos
        .iter()
        .filter_map(|track| {
            let rendition = plan.video.renditions.iter().find(|r| r.name == track.name)?;
            let cap = rendition
                .encode
                .as_ref()
                .and_then(|e| u64::try_from(e.max_rate).ok())
                .filter(|rate| *rate > 0)
                // A copied source stays below the cap of its rung; without one, a round figure above all of them.
                .unwrap_or(20_000_000);
            let mut codecs = vec![track.init.codec.clone()];
            codecs.extend(audio_codecs.iter().cloned());
            Some(Variant {
                uri: uri(&track.name),
                bandwidth: cap * 11 / 10 + sound,
                average_bandwidth: None,
                codecs,
                resolution: Some((rendition.width, rendition.height)),
                frame_rate: Some(plan.video.rate.as_f64()),
                video_range: None,
                audio: (!audios.is_empty()).then(|| AUDIO_GROUP.to_owned()),
                subtitles: None,
                closed_captions: Some(ClosedCaptions::None),
                score: None,
            })
        })
        .collect();
    let names: Vec<(&str, &InitFacts)> = audios.iter().map(|t| (t.name.as_str(), &t.init)).collect();
    MultivariantPlaylist::new(variants, audio_group(plan, &names, uri), Vec::new())
}

fn audio_group(plan: &JobPlan, tracks: &[(&str, &InitFacts)], uri: &dyn Fn(&str) -> String) -> Vec<Rendition> {
    tracks
        .iter()
        .filter_map(|(name, init)| {
            let audio = plan.audio.iter().find(|a| a.name == *name)?;
            Some(Rendition {
                kind: MediaKind::Audio,
                group_id: AUDIO_GROUP.to_owned(),
                name: track_label(audio.language.as_deref(), &audio.name),
                language: Some(audio.language.clone().unwrap_or_else(|| "und".to_owned())),
                default: audio.is_default,
                autoselect: true,
                channels: Some(init.audio.as_ref().map_or(2, |a| a.channels).to_string()),
                uri: Some(uri(&audio.name)),
            })
        })
        .collect()
}

/// Seconds of a segment as the playlist will say it, with six decimals: what is measured must hold for who reads it.
#[must_use]
pub fn segment_seconds(init: &InitFacts, facts: &SegmentFacts) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a segment's ticks")]
    let seconds = facts.duration() as f64 / f64::from(init.timescale.max(1));
    (seconds * 1e6).round() / 1e6
}

fn durations(track: &CompleteTrack) -> impl Iterator<Item = f64> {
    track.segments.iter().map(|(_, facts)| segment_seconds(&track.init, facts))
}

fn map(uri: &str) -> Option<Arc<Map>> {
    Some(Arc::new(Map { uri: uri.to_owned(), byte_range: None }))
}

fn media_playlist(track: &CompleteTrack, target: u32) -> MediaPlaylist {
    let map = map(&track.init_uri);
    let segments = track
        .segments
        .iter()
        .zip(durations(track))
        .map(|((uri, _), duration)| Segment::new(uri.clone(), duration, map.clone()))
        .collect();
    MediaPlaylist::new(PlaylistType::Vod, target, segments)
}

fn bandwidth(track: &CompleteTrack, target: u32) -> Bandwidth {
    let sizes: Vec<(f64, u64)> = durations(track).zip(track.segments.iter().map(|(_, f)| f.size)).collect();
    measured_bandwidth(&sizes, f64::from(target))
}

fn iframes(track: &CompleteTrack, timescale: u32) -> (MediaPlaylist, Bandwidth) {
    let map = map(&track.init_uri);
    let mut entries = Vec::new();
    let mut sizes = Vec::new();
    for (uri, facts) in &track.segments {
        for fragment in &facts.fragments {
            #[expect(clippy::cast_precision_loss, reason = "a fragment's ticks")]
            let duration = (fragment.duration as f64 / f64::from(timescale.max(1)) * 1e6).round() / 1e6;
            let mut entry = Segment::new(uri.clone(), duration, map.clone());
            entry.byte_range = Some(fragment.first_sample_range);
            sizes.push((duration, fragment.first_sample_range.length));
            entries.push(entry);
        }
    }
    let playlist = MediaPlaylist::iframes(entries);
    let target = f64::from(playlist.target_duration);
    (playlist, measured_bandwidth(&sizes, target))
}

/// What a player shows in its sound menu; distinct for each track of a group, as RFC 8216 4.3.4.1.1 asks.
fn track_label(language: Option<&str>, name: &str) -> String {
    let number = name.rsplit('-').next().filter(|n| n.bytes().all(|b| b.is_ascii_digit()));
    let base = match language {
        Some("eng") => "English",
        Some("fra" | "fre") => "Français",
        Some("deu" | "ger") => "Deutsch",
        Some("spa") => "Español",
        Some("ita") => "Italiano",
        Some("por") => "Português",
        Some("nld" | "dut") => "Nederlands",
        Some(other) => other,
        None => "Sound",
    };
    number.map_or_else(|| base.to_owned(), |n| format!("{base} {n}"))
}

fn published(track: &CompleteTrack, target: u32, size: Option<(u32, u32)>, copied: bool) -> PublishedRendition {
    let measured = bandwidth(track, target);
    PublishedRendition {
        name: track.name.clone(),
        width: size.map(|s| s.0),
        height: size.map(|s| s.1),
        codecs: track.init.codec.clone(),
        average_kbps: measured.average / 1000,
        peak_kbps: measured.peak / 1000,
        copied,
    }
}
