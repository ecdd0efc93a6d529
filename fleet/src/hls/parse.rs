//! Reads playlists of any packager.

use std::str::FromStr;
use std::sync::Arc;

use super::attributes::AttributeList;
use super::media::{Map, MediaPlaylist, PlaylistType, Segment};
use super::multivariant::{ClosedCaptions, IframeVariant, MediaKind, MultivariantPlaylist, Rendition, Variant};
use crate::cmaf::ByteRange;

/// Longest playlist that is read, in bytes: three hours of 2-second byte ranges need half a megabyte.
pub const MAX_PLAYLIST_BYTES: usize = 16 << 20;

/// Most entries that are read: segments, variants and renditions together.
pub const MAX_ENTRIES: usize = 100_000;

/// Either kind of playlist.
#[derive(Clone, Debug, PartialEq)]
pub enum Playlist {
    /// Has `EXT-X-STREAM-INF` or `EXT-X-MEDIA`.
    Multivariant(MultivariantPlaylist),
    /// Has segments.
    Media(MediaPlaylist),
}

/// Why a text is not a playlist. Lines count from 1.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum PlaylistError {
    /// The first line is not `#EXTM3U`.
    #[error("does not begin with #EXTM3U")]
    NotAPlaylist,
    /// The text is longer than [`MAX_PLAYLIST_BYTES`] or has more than [`MAX_ENTRIES`] entries.
    #[error("playlist of {0} bytes is too long")]
    TooLong(usize),
    /// A tag has a value that its specification does not allow.
    #[error("line {line}: {tag} {what}")]
    BadTag {
        /// Line of the tag.
        line: usize,
        /// Name of the tag.
        tag: &'static str,
        /// What is wrong with it.
        what: &'static str,
    },
    /// A URI stands without the tag that must precede it.
    #[error("line {line}: a URI without {tag} before it")]
    StrayUri {
        /// Line of the URI.
        line: usize,
        /// `EXTINF` or `EXT-X-STREAM-INF`.
        tag: &'static str,
    },
    /// The text ends before the URI that a tag announced.
    #[error("ends after {0} without its URI")]
    MissingUri(&'static str),
    /// A tag that every playlist of this kind has is absent.
    #[error("{0} is missing")]
    MissingTag(&'static str),
}

/// Reads a playlist; whether it is a multivariant or a media playlist is told by its tags.
///
/// Byte ranges without an offset get theirs from the range before (RFC 8216 4.3.2.2).
///
/// # Errors
///
/// [`PlaylistError`], with the line.
pub fn parse(text: &str) -> Result<Playlist, PlaylistError> {
    if text.len() > MAX_PLAYLIST_BYTES {
        return Err(PlaylistError::TooLong(text.len()));
    }
    let mut lines = text.lines().map(str::trim_end);
    if lines.next() != Some("#EXTM3U") {
        return Err(PlaylistError::NotAPlaylist);
    }
    let is_multivariant =
        lines.clone().any(|line| line.starts_with("#EXT-X-STREAM-INF:") || line.starts_with("#EXT-X-MEDIA:"));
    let lines = lines
        .enumerate()
        .map(|(index, line)| Line { number: index + 2, text: line })
        .filter(|line| !line.text.is_empty());
    let too_long =
        |entries: usize| if entries > MAX_ENTRIES { Err(PlaylistError::TooLong(text.len())) } else { Ok(()) };
    if is_multivariant {
        let mut reader = MultivariantReader::default();
        for line in lines {
            reader.line(line)?;
            too_long(reader.entries())?;
        }
        reader.finish().map(Playlist::Multivariant)
    } else {
        let mut reader = MediaReader::default();
        for line in lines {
            reader.line(line)?;
            too_long(reader.segments.len())?;
        }
        reader.finish().map(Playlist::Media)
    }
}

/// One line that is not empty.
#[derive(Clone, Copy)]
struct Line<'a> {
    number: usize,
    text: &'a str,
}

impl<'a> Line<'a> {
    /// Name and value of a tag; a URI has the name "" and comments are `None`.
    fn split(self) -> Option<(&'a str, &'a str)> {
        match self.text.strip_prefix('#') {
            None => Some(("", self.text)),
            Some(tag) if tag.starts_with("EXT") => Some(tag.split_once(':').unwrap_or((tag, ""))),
            Some(_) => None,
        }
    }

    fn bad(self, tag: &'static str, what: &'static str) -> PlaylistError {
        PlaylistError::BadTag { line: self.number, tag, what }
    }

    fn number<T: FromStr>(self, tag: &'static str, value: &str) -> Result<T, PlaylistError> {
        value.parse().map_err(|_| self.bad(tag, "is not a number"))
    }

    fn attributes(self, tag: &'static str, value: &'a str) -> Result<Attributes<'a>, PlaylistError> {
        let list = AttributeList::parse(value).ok_or_else(|| self.bad(tag, "has a malformed attribute list"))?;
        Ok(Attributes { line: self, tag, list })
    }
}

/// The attributes of a tag, with where it stands for the errors.
struct Attributes<'a> {
    line: Line<'a>,
    tag: &'static str,
    list: AttributeList<'a>,
}

impl Attributes<'_> {
    fn required(&self, name: &str, missing: &'static str) -> Result<String, PlaylistError> {
        self.list.text(name).ok_or_else(|| self.line.bad(self.tag, missing))
    }

    fn number<T: FromStr>(&self, name: &str, malformed: &'static str) -> Result<Option<T>, PlaylistError> {
        let value = self.list.get(name).map(str::parse).transpose();
        value.map_err(|_| self.line.bad(self.tag, malformed))
    }

    fn bandwidth(&self) -> Result<u64, PlaylistError> {
        self.number("BANDWIDTH", "has a malformed BANDWIDTH")?
            .ok_or_else(|| self.line.bad(self.tag, "has no BANDWIDTH"))
    }

    fn resolution(&self) -> Result<Option<(u32, u32)>, PlaylistError> {
        let Some(value) = self.list.get("RESOLUTION") else { return Ok(None) };
        let size = value.split_once(['x', 'X']).and_then(|(w, h)| w.parse().ok().zip(h.parse().ok()));
        size.map(Some).ok_or_else(|| self.line.bad(self.tag, "has a malformed RESOLUTION"))
    }

    fn codecs(&self) -> Vec<String> {
        self.list
            .get("CODECS")
            .map_or_else(Vec::new, |list| list.split(',').map(|codec| codec.trim().to_owned()).collect())
    }
}

#[derive(Default)]
struct MultivariantReader {
    version: Option<u32>,
    independent_segments: bool,
    variants: Vec<Variant>,
    renditions: Vec<Rendition>,
    iframe_variants: Vec<IframeVariant>,
    /// A variant whose URI is yet to come.
    pending: Option<Variant>,
}

impl MultivariantReader {
    fn entries(&self) -> usize {
        self.variants.len() + self.renditions.len() + self.iframe_variants.len()
    }

    fn line(&mut self, line: Line<'_>) -> Result<(), PlaylistError> {
        let Some((name, value)) = line.split() else { return Ok(()) };
        match name {
            "" => {
                let variant = self.pending.take();
                let variant = variant.ok_or(PlaylistError::StrayUri { line: line.number, tag: "EXT-X-STREAM-INF" })?;
                self.variants.push(Variant { uri: value.to_owned(), ..variant });
            }
            "EXT-X-VERSION" => self.version = Some(line.number("EXT-X-VERSION", value)?),
            "EXT-X-INDEPENDENT-SEGMENTS" => self.independent_segments = true,
            "EXT-X-STREAM-INF" => self.pending = Some(variant(&line.attributes("EXT-X-STREAM-INF", value)?)?),
            "EXT-X-MEDIA" => self.renditions.push(rendition(&line.attributes("EXT-X-MEDIA", value)?)?),
            "EXT-X-I-FRAME-STREAM-INF" => {
                self.iframe_variants.push(iframe_variant(&line.attributes("EXT-X-I-FRAME-STREAM-INF", value)?)?);
            }
            _ => {}
        }
        Ok(())
    }

    fn finish(self) -> Result<MultivariantPlaylist, PlaylistError> {
        if self.pending.is_some() {
            return Err(PlaylistError::MissingUri("EXT-X-STREAM-INF"));
        }
        Ok(MultivariantPlaylist {
            version: self.version.unwrap_or(1),
            independent_segments: self.independent_segments,
            variants: self.variants,
            renditions: self.renditions,
            iframe_variants: self.iframe_variants,
        })
    }
}

fn variant(attributes: &Attributes<'_>) -> Result<Variant, PlaylistError> {
    let list = &attributes.list;
    Ok(Variant {
        uri: String::new(),
        bandwidth: attributes.bandwidth()?,
        average_bandwidth: attributes.number("AVERAGE-BANDWIDTH", "has a malformed AVERAGE-BANDWIDTH")?,
        codecs: attributes.codecs(),
        resolution: attributes.resolution()?,
        frame_rate: attributes.number("FRAME-RATE", "has a malformed FRAME-RATE")?,
        video_range: list.text("VIDEO-RANGE"),
        audio: list.text("AUDIO"),
        subtitles: list.text("SUBTITLES"),
        closed_captions: list.get("CLOSED-CAPTIONS").map(|value| match value {
            "NONE" => ClosedCaptions::None,
            group => ClosedCaptions::Group(group.to_owned()),
        }),
        score: attributes.number("SCORE", "has a malformed SCORE")?,
    })
}

fn iframe_variant(attributes: &Attributes<'_>) -> Result<IframeVariant, PlaylistError> {
    Ok(IframeVariant {
        uri: attributes.required("URI", "has no URI")?,
        bandwidth: attributes.bandwidth()?,
        average_bandwidth: attributes.number("AVERAGE-BANDWIDTH", "has a malformed AVERAGE-BANDWIDTH")?,
        codecs: attributes.codecs(),
        resolution: attributes.resolution()?,
        video_range: attributes.list.text("VIDEO-RANGE"),
    })
}

fn rendition(attributes: &Attributes<'_>) -> Result<Rendition, PlaylistError> {
    let list = &attributes.list;
    let kind = MediaKind::NAMES.iter().find(|(_, name)| list.get("TYPE") == Some(name));
    let default = list.get("DEFAULT") == Some("YES");
    Ok(Rendition {
        kind: kind.ok_or_else(|| attributes.line.bad(attributes.tag, "has no known TYPE"))?.0,
        group_id: attributes.required("GROUP-ID", "has no GROUP-ID")?,
        name: attributes.required("NAME", "has no NAME")?,
        language: list.text("LANGUAGE"),
        default,
        // Without the attribute a default rendition is selected on its own too; only NO contradicts it.
        autoselect: list.get("AUTOSELECT").map_or(default, |value| value == "YES"),
        channels: list.text("CHANNELS"),
        uri: list.text("URI"),
    })
}

#[derive(Default)]
struct MediaReader {
    version: Option<u32>,
    target_duration: Option<u32>,
    playlist_type: Option<PlaylistType>,
    media_sequence: u64,
    independent_segments: bool,
    iframes_only: bool,
    ended: bool,
    segments: Vec<Segment>,
    /// Tags that hold for every segment that follows.
    map: Option<Arc<Map>>,
    encrypted: bool,
    /// Tags that hold for the next segment.
    duration: Option<f64>,
    range: Option<(u64, Option<u64>)>,
    discontinuity: bool,
    gap: bool,
    program_date_time: Option<String>,
}

impl MediaReader {
    fn line(&mut self, line: Line<'_>) -> Result<(), PlaylistError> {
        let Some((name, value)) = line.split() else { return Ok(()) };
        match name {
            "" => self.segment(line)?,
            "EXTINF" => {
                let seconds: f64 = line.number("EXTINF", value.split(',').next().unwrap_or("").trim())?;
                if !(0.0..1e9).contains(&seconds) {
                    return Err(line.bad("EXTINF", "is not a duration"));
                }
                self.duration = Some(seconds);
            }
            "EXT-X-BYTERANGE" => self.range = Some(byte_range(line, "EXT-X-BYTERANGE", value)?),
            "EXT-X-MAP" => {
                let attributes = line.attributes("EXT-X-MAP", value)?;
                let range =
                    attributes.list.get("BYTERANGE").map(|range| byte_range(line, "EXT-X-MAP", range)).transpose()?;
                let byte_range = range.map(|(length, offset)| ByteRange { offset: offset.unwrap_or(0), length });
                self.map = Some(Arc::new(Map { uri: attributes.required("URI", "has no URI")?, byte_range }));
            }
            "EXT-X-KEY" => {
                let attributes = line.attributes("EXT-X-KEY", value)?;
                self.encrypted = attributes.required("METHOD", "has no METHOD")? != "NONE";
            }
            "EXT-X-VERSION" => self.version = Some(line.number("EXT-X-VERSION", value)?),
            "EXT-X-TARGETDURATION" => self.target_duration = Some(line.number("EXT-X-TARGETDURATION", value)?),
            "EXT-X-MEDIA-SEQUENCE" => self.media_sequence = line.number("EXT-X-MEDIA-SEQUENCE", value)?,
            "EXT-X-PLAYLIST-TYPE" => {
                self.playlist_type = Some(match value {
                    "VOD" => PlaylistType::Vod,
                    "EVENT" => PlaylistType::Event,
                    _ => return Err(line.bad("EXT-X-PLAYLIST-TYPE", "is neither VOD nor EVENT")),
                });
            }
            "EXT-X-INDEPENDENT-SEGMENTS" => self.independent_segments = true,
            "EXT-X-I-FRAMES-ONLY" => self.iframes_only = true,
            "EXT-X-DISCONTINUITY" => self.discontinuity = true,
            "EXT-X-GAP" => self.gap = true,
            "EXT-X-PROGRAM-DATE-TIME" => self.program_date_time = Some(value.to_owned()),
            "EXT-X-ENDLIST" => self.ended = true,
            _ => {}
        }
        Ok(())
    }

    fn segment(&mut self, line: Line<'_>) -> Result<(), PlaylistError> {
        let duration = self.duration.take().ok_or(PlaylistError::StrayUri { line: line.number, tag: "EXTINF" })?;
        let byte_range = match self.range.take() {
            None => None,
            Some((length, Some(offset))) => Some(ByteRange { offset, length }),
            Some((length, None)) => {
                let before = self.segments.last().filter(|segment| segment.uri == line.text);
                let before = before.and_then(|segment| segment.byte_range);
                let before =
                    before.ok_or_else(|| line.bad("EXT-X-BYTERANGE", "has no offset and no range to follow"))?;
                Some(ByteRange { offset: before.offset.saturating_add(before.length), length })
            }
        };
        self.segments.push(Segment {
            duration,
            uri: line.text.to_owned(),
            byte_range,
            map: self.map.clone(),
            discontinuity: std::mem::take(&mut self.discontinuity),
            gap: std::mem::take(&mut self.gap),
            encrypted: self.encrypted,
            program_date_time: self.program_date_time.take(),
        });
        Ok(())
    }

    fn finish(self) -> Result<MediaPlaylist, PlaylistError> {
        if self.duration.is_some() {
            return Err(PlaylistError::MissingUri("EXTINF"));
        }
        Ok(MediaPlaylist {
            version: self.version.unwrap_or(1),
            target_duration: self.target_duration.ok_or(PlaylistError::MissingTag("EXT-X-TARGETDURATION"))?,
            playlist_type: self.playlist_type,
            media_sequence: self.media_sequence,
            independent_segments: self.independent_segments,
            iframes_only: self.iframes_only,
            ended: self.ended,
            segments: self.segments,
        })
    }
}

/// `length[@offset]` in bytes.
fn byte_range(line: Line<'_>, tag: &'static str, value: &str) -> Result<(u64, Option<u64>), PlaylistError> {
    match value.split_once('@') {
        Some((length, offset)) => Ok((line.number(tag, length)?, Some(line.number(tag, offset)?))),
        None => Ok((line.number(tag, value)?, None)),
    }
}

#[cfg(test)]
mod tests;
