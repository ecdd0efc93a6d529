//! The HLS authoring rules, evaluated on a finished presentation.
//!
//! Rules come from Apple's "HLS Authoring Specification for Apple devices" (ids `apple-1.13`), from
//! draft-pantos-hls-rfc8216bis (ids `rfc8216bis:target-duration`, by subject, as its section numbers move) and from
//! what this project promises on top (ids `touchline:no-partial-files`).
//!
//! [`evaluate`] is pure and works on facts, so a publisher that has them in a database needs no folder;
//! [`load_folder`] reads them from one, of any packager. What cannot be read is said and its rules are marked as not
//! applicable; nothing in a folder makes this panic.

mod load;
mod report;
mod rules;
mod tally;
mod view;

pub use load::{LoadError, MAX_SEGMENT_BYTES, load_folder, load_tracks};
pub use report::{Level, Report, RuleResult, Summary, Verdict};
pub use rules::evaluate;
pub use view::Measured;

use crate::cmaf::{InitFacts, SegmentFacts};
use crate::hls::{MediaPlaylist, MultivariantPlaylist};

/// A finished presentation as facts.
#[derive(Clone, Debug)]
pub struct Presentation {
    /// The multivariant playlist.
    pub multivariant: MultivariantPlaylist,
    /// Every media playlist that it names, once.
    pub tracks: Vec<Track>,
    /// Files that an unfinished write left behind (`*.tmp`, `*.part` …), relative to the folder.
    pub partial_files: Vec<String>,
}

/// One media playlist with what its segments hold.
#[derive(Clone, Debug)]
pub struct Track {
    /// Its URI, as the multivariant playlist has it.
    pub uri: String,
    /// Where the multivariant playlist names it.
    pub role: Role,
    /// The playlist; `None` when it is missing or malformed, `faults` then says why.
    pub playlist: Option<MediaPlaylist>,
    /// Its init segment; `None` for other containers than fMP4, or when it is missing or damaged.
    pub init: Option<InitFacts>,
    /// What is known of the playlist's segments, in the same order and number.
    pub segments: Vec<LoadedSegment>,
    /// What is missing or damaged, a sentence each.
    pub faults: Vec<String>,
}

/// Where a multivariant playlist names a media playlist.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// `EXT-X-STREAM-INF`
    Variant,
    /// `EXT-X-MEDIA` of type `AUDIO`
    Audio,
    /// `EXT-X-I-FRAME-STREAM-INF`
    Iframe,
    /// `EXT-X-MEDIA` of another type
    Other,
}

/// What is known of one segment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LoadedSegment {
    /// Size in bytes, of the range when it is one; `None` when the file is missing or shorter than the range.
    pub bytes: Option<u64>,
    /// What it holds; `None` when it is damaged or no fMP4, and for entries of I-frame playlists.
    pub facts: Option<SegmentFacts>,
}

#[cfg(test)]
mod tests;
