//! A presentation arranged for the rules, and what is measured on the way.

use serde::Serialize;

use super::{Presentation, Role, Track};
use crate::cmaf::{InitFacts, SegmentFacts, TrackKind};
use crate::hls::{Bandwidth, MediaKind, MediaPlaylist, Variant, measured_bandwidth};

/// What was measured of one media playlist. Fields are absent when they could not be seen.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Measured {
    /// URI of the playlist.
    pub uri: String,
    /// Where the multivariant playlist names it.
    pub role: Role,
    /// Number of segments.
    pub segments: usize,
    /// Sum of `EXTINF` in seconds.
    pub extinf_duration_s: f64,
    /// Sum of all sample durations in seconds.
    pub media_duration_s: Option<f64>,
    /// Sum of the segment sizes in bytes.
    pub size_bytes: Option<u64>,
    /// Measured bit rates.
    pub bandwidth: Option<Bandwidth>,
    /// Codec string from the init segment.
    pub codec: Option<String>,
    /// Width in pixels.
    pub width: Option<u16>,
    /// Height in pixels.
    pub height: Option<u16>,
    /// Frames per second: samples over time.
    pub frame_rate: Option<f64>,
    /// Longest time between random access points in seconds, of video.
    pub longest_gop_s: Option<f64>,
    /// Number of channels.
    pub channels: Option<u16>,
    /// Samples a second of sound.
    pub sample_rate: Option<u32>,
}

/// A presentation arranged by what its media playlists carry.
pub(super) struct View<'a> {
    pub(super) presentation: &'a Presentation,
    pub(super) video: Vec<Seen<'a>>,
    pub(super) audio: Vec<Seen<'a>>,
    pub(super) iframes: Vec<Seen<'a>>,
}

/// A media playlist that could be read.
pub(super) struct Seen<'a> {
    pub(super) track: &'a Track,
    pub(super) playlist: &'a MediaPlaylist,
    pub(super) init: Option<&'a InitFacts>,
    pub(super) measured: Measured,
}

impl<'a> View<'a> {
    pub(super) fn new(presentation: &'a Presentation) -> Self {
        let mut view = Self { presentation, video: Vec::new(), audio: Vec::new(), iframes: Vec::new() };
        for track in &presentation.tracks {
            let Some(playlist) = &track.playlist else { continue };
            let seen = Seen { track, playlist, init: track.init.as_ref(), measured: measure(track, playlist) };
            match (track.role, seen.init.map(|init| init.kind)) {
                (Role::Iframe, _) => view.iframes.push(seen),
                (Role::Variant, Some(TrackKind::Audio)) | (Role::Audio, _) => view.audio.push(seen),
                (Role::Variant, None) if is_audio_only(presentation, &track.uri) => view.audio.push(seen),
                (Role::Variant, _) => view.video.push(seen),
                (Role::Other, _) => {}
            }
        }
        view
    }

    /// Video and audio, without I-frame playlists.
    pub(super) fn media(&self) -> impl Iterator<Item = &Seen<'a>> {
        self.video.iter().chain(&self.audio)
    }

    /// All of them.
    pub(super) fn all(&self) -> impl Iterator<Item = &Seen<'a>> {
        self.media().chain(&self.iframes)
    }

    /// Variants with their media playlist, where it could be read.
    pub(super) fn variants(&self) -> impl Iterator<Item = (&'a Variant, &Seen<'a>)> {
        let variants = self.presentation.multivariant.variants.iter();
        variants.filter_map(|variant| Some((variant, self.media().find(|seen| seen.track.uri == variant.uri)?)))
    }

    /// As [`variants`](Self::variants), those with pictures.
    pub(super) fn video_variants(&self) -> impl Iterator<Item = (&'a Variant, &Seen<'a>)> {
        self.variants().filter(|(_, seen)| self.video.iter().any(|video| std::ptr::eq(video, *seen)))
    }

    /// The sound that may be played with a variant: the playlists of its audio group.
    pub(super) fn sound_of(&self, variant: &Variant) -> Vec<&Seen<'a>> {
        let Some(group) = &variant.audio else { return Vec::new() };
        let renditions = &self.presentation.multivariant.renditions;
        let in_group = renditions.iter().filter(|r| r.kind == MediaKind::Audio && r.group_id == *group);
        let uris = in_group.filter_map(|rendition| rendition.uri.as_deref()).filter(|uri| *uri != variant.uri);
        uris.filter_map(|uri| self.audio.iter().find(|seen| seen.track.uri == uri)).collect()
    }

    /// What playing a variant needs: its own bit rates and the largest of its audio group.
    pub(super) fn bandwidth_of(&self, variant: &Variant, seen: &Seen<'_>) -> Option<Bandwidth> {
        let mut sound = Bandwidth::default();
        for audio in self.sound_of(variant) {
            let measured = audio.measured.bandwidth?;
            sound = Bandwidth { peak: sound.peak.max(measured.peak), average: sound.average.max(measured.average) };
        }
        Some(seen.measured.bandwidth? + sound)
    }
}

impl<'a> Seen<'a> {
    /// Name for people.
    pub(super) fn uri(&self) -> &'a str {
        &self.track.uri
    }

    /// Segments whose contents could be read, with their index.
    pub(super) fn facts(&self) -> impl Iterator<Item = (usize, &'a SegmentFacts)> {
        self.track.segments.iter().enumerate().filter_map(|(index, segment)| Some((index, segment.facts.as_ref()?)))
    }

    /// Media time in seconds; 0 without an init segment, where there are no facts either.
    pub(super) fn seconds(&self, ticks: i64) -> f64 {
        self.init.map_or(0.0, |init| ticks as f64 / f64::from(init.timescale))
    }

    /// When the first segment begins to be shown, in seconds.
    pub(super) fn start(&self) -> Option<f64> {
        let (index, facts) = self.facts().next()?;
        (index == 0).then(|| self.seconds(facts.first_presentation()))
    }

    /// Longest sample duration, in seconds: a frame of video or of sound.
    pub(super) fn frame(&self) -> f64 {
        let fragments = self.facts().flat_map(|(_, facts)| &facts.fragments);
        self.seconds(fragments.map(|fragment| i64::from(fragment.max_sample_duration)).max().unwrap_or(0))
    }

    /// Width and height in pixels, from the init segment.
    pub(super) fn size(&self) -> Option<(u32, u32)> {
        let video = self.init?.video.as_ref()?;
        Some((u32::from(video.width), u32::from(video.height)))
    }

    /// H.264 profile and level (in tenths) of the codec string, when it is H.264.
    pub(super) fn avc_profile_and_level(&self) -> Option<(u8, u8)> {
        let (entry, digits) = self.init?.codec.split_once('.')?;
        let number = |range| digits.get(range).and_then(|two| u8::from_str_radix(two, 16).ok());
        if entry.starts_with("avc") { number(0..2).zip(number(4..6)) } else { None }
    }
}

fn measure(track: &Track, playlist: &MediaPlaylist) -> Measured {
    let init = track.init.as_ref();
    let sizes: Option<Vec<u64>> = track.segments.iter().map(|segment| segment.bytes).collect();
    let sizes = sizes.filter(|sizes| sizes.len() == playlist.segments.len() && !sizes.is_empty());
    let facts: Option<Vec<&SegmentFacts>> = track.segments.iter().map(|segment| segment.facts.as_ref()).collect();
    let facts = facts.filter(|facts| !facts.is_empty()).zip(init);
    let media_duration = facts.as_ref().map(|(facts, init)| {
        let ticks = facts.iter().fold(0_i64, |sum, facts| sum.saturating_add(facts.duration()));
        ticks as f64 / f64::from(init.timescale)
    });
    let samples = facts.as_ref().map(|(facts, _)| facts.iter().map(|facts| facts.samples()).sum::<u64>());
    let video = init.and_then(|init| init.video.as_ref());
    let audio = init.and_then(|init| init.audio);
    Measured {
        uri: track.uri.clone(),
        role: track.role,
        segments: playlist.segments.len(),
        extinf_duration_s: playlist.duration(),
        media_duration_s: media_duration,
        size_bytes: sizes.as_ref().map(|sizes| sizes.iter().fold(0_u64, |sum, size| sum.saturating_add(*size))),
        bandwidth: sizes.map(|sizes| {
            let durations = playlist.segments.iter().map(|segment| segment.duration);
            let segments: Vec<(f64, u64)> = durations.zip(sizes).collect();
            measured_bandwidth(&segments, f64::from(playlist.target_duration))
        }),
        codec: init.map(|init| init.codec.clone()),
        width: video.map(|video| video.width),
        height: video.map(|video| video.height),
        frame_rate: video.and(samples).zip(media_duration).filter(|(_, s)| *s > 0.0).map(|(n, s)| n as f64 / s),
        longest_gop_s: video.and(facts).and_then(|(facts, init)| longest_gop(&facts, init)),
        channels: audio.map(|audio| audio.channels),
        sample_rate: audio.map(|audio| audio.sample_rate),
    }
}

/// Longest time between sync samples, or from the last one to the end, in seconds.
fn longest_gop(facts: &[&SegmentFacts], init: &InitFacts) -> Option<f64> {
    let fragments = facts.iter().flat_map(|facts| &facts.fragments);
    let mut times: Vec<i64> = fragments.flat_map(|fragment| fragment.sync_presentations.iter().copied()).collect();
    times.sort_unstable();
    // Where the presentation ends is told by the decode times: the last picture shown need not be the last decoded,
    // whose duration other packagers stretch.
    let (first, last) = (facts.first()?, facts.last()?);
    let delay = first.first_presentation().saturating_sub(first.tfdt());
    times.push(last.decode_end().saturating_add(delay));
    let longest = times.windows(2).map(|pair| pair[1].saturating_sub(pair[0])).max()?;
    Some(longest as f64 / f64::from(init.timescale))
}

/// Whether a variant says that it has no pictures: codecs, all of sound, and no size.
fn is_audio_only(presentation: &Presentation, uri: &str) -> bool {
    let is_sound = |codec: &String| {
        ["mp4a", "ac-3", "ec-3", "ac-4", "alac", "fLaC", "Opus"].iter().any(|prefix| codec.starts_with(prefix))
    };
    presentation.multivariant.variants.iter().any(|variant| {
        variant.uri == uri
            && variant.resolution.is_none()
            && !variant.codecs.is_empty()
            && variant.codecs.iter().all(is_sound)
    })
}
