//! HLS playlists as text: models, rendering, parsing, and what is measured for them.
//!
//! Everything here is pure. The text is that of RFC 8216 and its successor draft-pantos-hls-rfc8216bis; what Apple's
//! "HLS Authoring Specification for Apple devices" asks on top is checked by [`crate::conformance`].
//!
//! The parsers read playlists of any packager: unknown tags are passed over, tags that are understood must be well
//! formed, and sizes are bounded.

mod attributes;
mod bandwidth;
mod media;
mod multivariant;
mod parse;
mod render;
mod thumbnails;

pub use bandwidth::{Bandwidth, measured_bandwidth};
pub use media::{Map, MediaPlaylist, PlaylistType, Segment, target_duration};
pub use multivariant::{
    ClosedCaptions, IframeVariant, MediaKind, MultivariantPlaylist, Rendition, Variant, put_start_variant_first,
};
pub use parse::{MAX_ENTRIES, MAX_PLAYLIST_BYTES, Playlist, PlaylistError, parse};
pub use render::{render_media_playlist, render_multivariant_playlist};
pub use thumbnails::{Thumbnail, render_thumbnails};

pub use crate::cmaf::ByteRange;
