//! Writes playlists.

use std::fmt::Write as _;
use std::sync::Arc;

use super::media::{Map, MediaPlaylist, PlaylistType};
use super::multivariant::{ClosedCaptions, IframeVariant, MediaKind, MultivariantPlaylist, Rendition, Variant};
use crate::cmaf::ByteRange;

/// The text of a media or I-frame playlist.
///
/// Durations have six decimals: the error of a three-hour sum stays below a millisecond.
#[must_use]
pub fn render_media_playlist(playlist: &MediaPlaylist) -> String {
    let mut text = Text::new(256 + 64 * playlist.segments.len());
    text.line(format_args!("#EXTM3U"));
    text.line(format_args!("#EXT-X-VERSION:{}", playlist.version));
    text.line(format_args!("#EXT-X-TARGETDURATION:{}", playlist.target_duration));
    text.line(format_args!("#EXT-X-MEDIA-SEQUENCE:{}", playlist.media_sequence));
    match playlist.playlist_type {
        Some(PlaylistType::Vod) => text.line(format_args!("#EXT-X-PLAYLIST-TYPE:VOD")),
        Some(PlaylistType::Event) => text.line(format_args!("#EXT-X-PLAYLIST-TYPE:EVENT")),
        None => {}
    }
    if playlist.independent_segments {
        text.line(format_args!("#EXT-X-INDEPENDENT-SEGMENTS"));
    }
    if playlist.iframes_only {
        text.line(format_args!("#EXT-X-I-FRAMES-ONLY"));
    }
    let mut map_in_force: Option<&Arc<Map>> = None;
    for segment in &playlist.segments {
        if segment.discontinuity {
            text.line(format_args!("#EXT-X-DISCONTINUITY"));
        }
        if let Some(map) = &segment.map
            && map_in_force != Some(map)
        {
            let mut attributes = Attributes::default();
            attributes.quoted("URI", &uri(&map.uri));
            if let Some(range) = map.byte_range {
                attributes.quoted("BYTERANGE", &byte_range(range));
            }
            text.line(format_args!("#EXT-X-MAP:{}", attributes.0));
            map_in_force = Some(map);
        }
        if let Some(time) = &segment.program_date_time {
            text.line(format_args!("#EXT-X-PROGRAM-DATE-TIME:{}", one_line(time)));
        }
        if segment.gap {
            text.line(format_args!("#EXT-X-GAP"));
        }
        text.line(format_args!("#EXTINF:{:.6},", segment.duration));
        if let Some(range) = segment.byte_range {
            text.line(format_args!("#EXT-X-BYTERANGE:{}", byte_range(range)));
        }
        text.line(format_args!("{}", uri(&segment.uri)));
    }
    if playlist.ended {
        text.line(format_args!("#EXT-X-ENDLIST"));
    }
    text.0
}

/// The text of a multivariant playlist.
#[must_use]
pub fn render_multivariant_playlist(playlist: &MultivariantPlaylist) -> String {
    let mut text = Text::new(4096);
    text.line(format_args!("#EXTM3U"));
    text.line(format_args!("#EXT-X-VERSION:{}", playlist.version));
    if playlist.independent_segments {
        text.line(format_args!("#EXT-X-INDEPENDENT-SEGMENTS"));
    }
    for rendition in &playlist.renditions {
        text.line(format_args!("#EXT-X-MEDIA:{}", media(rendition)));
    }
    for variant in &playlist.variants {
        text.line(format_args!("#EXT-X-STREAM-INF:{}", stream_inf(variant)));
        text.line(format_args!("{}", uri(&variant.uri)));
    }
    for variant in &playlist.iframe_variants {
        text.line(format_args!("#EXT-X-I-FRAME-STREAM-INF:{}", iframe_stream_inf(variant)));
    }
    text.0
}

fn media(rendition: &Rendition) -> String {
    let mut attributes = Attributes::default();
    let kind = MediaKind::NAMES.iter().find(|(kind, _)| *kind == rendition.kind).map_or("", |(_, name)| name);
    attributes.plain("TYPE", kind);
    attributes.quoted("GROUP-ID", &rendition.group_id);
    attributes.quoted("NAME", &rendition.name);
    if let Some(language) = &rendition.language {
        attributes.quoted("LANGUAGE", language);
    }
    let yes_no = |yes| if yes { "YES" } else { "NO" };
    attributes.plain("DEFAULT", yes_no(rendition.default));
    attributes.plain("AUTOSELECT", yes_no(rendition.autoselect || rendition.default));
    if let Some(channels) = &rendition.channels {
        attributes.quoted("CHANNELS", channels);
    }
    if let Some(place) = &rendition.uri {
        attributes.quoted("URI", &uri(place));
    }
    attributes.0
}

fn stream_inf(variant: &Variant) -> String {
    let mut attributes = Attributes::default();
    attributes.number("BANDWIDTH", variant.bandwidth);
    attributes.optional("AVERAGE-BANDWIDTH", variant.average_bandwidth);
    attributes.codecs(&variant.codecs);
    attributes.resolution(variant.resolution);
    attributes.optional("FRAME-RATE", variant.frame_rate.map(|rate| format!("{rate:.3}")));
    attributes.optional("SCORE", variant.score);
    attributes.optional("VIDEO-RANGE", variant.video_range.as_deref().map(one_line));
    for (name, group) in [("AUDIO", &variant.audio), ("SUBTITLES", &variant.subtitles)] {
        if let Some(group) = group {
            attributes.quoted(name, group);
        }
    }
    match &variant.closed_captions {
        Some(ClosedCaptions::None) => attributes.plain("CLOSED-CAPTIONS", "NONE"),
        Some(ClosedCaptions::Group(group)) => attributes.quoted("CLOSED-CAPTIONS", group),
        None => {}
    }
    attributes.0
}

fn iframe_stream_inf(variant: &IframeVariant) -> String {
    let mut attributes = Attributes::default();
    attributes.number("BANDWIDTH", variant.bandwidth);
    attributes.optional("AVERAGE-BANDWIDTH", variant.average_bandwidth);
    attributes.codecs(&variant.codecs);
    attributes.resolution(variant.resolution);
    attributes.optional("VIDEO-RANGE", variant.video_range.as_deref().map(one_line));
    attributes.quoted("URI", &uri(&variant.uri));
    attributes.0
}

fn byte_range(range: ByteRange) -> String {
    format!("{}@{}", range.length, range.offset)
}

/// A URI with what would end its line or its quotes percent-encoded.
fn uri(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c == '"' || c == ' ' || c.is_ascii_control() {
            // All of these are ASCII.
            out.push_str(&format!("%{:02X}", c as u32));
        } else {
            out.push(c);
        }
    }
    out
}

/// Text without control characters, which would begin a new line.
fn one_line(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).collect()
}

struct Text(String);

impl Text {
    fn new(capacity: usize) -> Self {
        Self(String::with_capacity(capacity))
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        self.0.write_fmt(line).expect("writing to a string does not fail");
        self.0.push('\n');
    }
}

/// An attribute list, RFC 8216 4.2.
#[derive(Default)]
struct Attributes(String);

impl Attributes {
    fn plain(&mut self, name: &str, value: &str) {
        if !self.0.is_empty() {
            self.0.push(',');
        }
        self.0.push_str(name);
        self.0.push('=');
        self.0.push_str(value);
    }

    /// A quoted string has no escapes: quotes in names become apostrophes, control characters go.
    fn quoted(&mut self, name: &str, value: &str) {
        self.plain(name, &format!("\"{}\"", one_line(value).replace('"', "'")));
    }

    fn number(&mut self, name: &str, value: u64) {
        self.plain(name, &value.to_string());
    }

    fn optional(&mut self, name: &str, value: Option<impl std::fmt::Display>) {
        if let Some(value) = value {
            self.plain(name, &value.to_string());
        }
    }

    fn codecs(&mut self, codecs: &[String]) {
        if !codecs.is_empty() {
            self.quoted("CODECS", &codecs.join(","));
        }
    }

    fn resolution(&mut self, resolution: Option<(u32, u32)>) {
        self.optional("RESOLUTION", resolution.map(|(width, height)| format!("{width}x{height}")));
    }
}

#[cfg(test)]
mod tests;
