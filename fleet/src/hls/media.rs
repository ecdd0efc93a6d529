//! The media playlist: the segments of one rendition.

use std::sync::Arc;

use crate::cmaf::ByteRange;

/// A media playlist or, with `iframes_only`, an I-frame playlist.
#[derive(Clone, Debug, PartialEq)]
pub struct MediaPlaylist {
    /// `EXT-X-VERSION`; 1 when the tag is absent.
    pub version: u32,
    /// `EXT-X-TARGETDURATION` in whole seconds.
    pub target_duration: u32,
    /// `EXT-X-PLAYLIST-TYPE`.
    pub playlist_type: Option<PlaylistType>,
    /// `EXT-X-MEDIA-SEQUENCE`, the number of the first segment.
    pub media_sequence: u64,
    /// `EXT-X-INDEPENDENT-SEGMENTS`: every segment can be decoded without another.
    pub independent_segments: bool,
    /// `EXT-X-I-FRAMES-ONLY`: every entry is one I-frame, its duration the time to the next.
    pub iframes_only: bool,
    /// `EXT-X-ENDLIST`: no segment will be added.
    pub ended: bool,
    /// Segments in order of presentation.
    pub segments: Vec<Segment>,
}

/// Value of `EXT-X-PLAYLIST-TYPE`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PlaylistType {
    /// The playlist never changes.
    Vod,
    /// Segments are only ever appended.
    Event,
}

/// One entry of a media playlist.
#[derive(Clone, Debug, PartialEq)]
pub struct Segment {
    /// `EXTINF` in seconds.
    pub duration: f64,
    /// Where the segment lies, relative to the playlist.
    pub uri: String,
    /// The part of the resource that is the segment; the whole of it without.
    pub byte_range: Option<ByteRange>,
    /// `EXT-X-MAP` in force for the segment; shared, as most playlists have one.
    pub map: Option<Arc<Map>>,
    /// `EXT-X-DISCONTINUITY` stands before the segment.
    pub discontinuity: bool,
    /// `EXT-X-GAP`: the segment is missing and must not be loaded.
    pub gap: bool,
    /// `EXT-X-KEY` with a method other than `NONE` is in force.
    pub encrypted: bool,
    /// `EXT-X-PROGRAM-DATE-TIME` of the segment, as written.
    pub program_date_time: Option<String>,
}

impl Segment {
    /// A plain segment: `duration` in seconds, all of `uri`.
    #[must_use]
    pub fn new(uri: impl Into<String>, duration: f64, map: Option<Arc<Map>>) -> Self {
        Self {
            duration,
            uri: uri.into(),
            byte_range: None,
            map,
            discontinuity: false,
            gap: false,
            encrypted: false,
            program_date_time: None,
        }
    }
}

/// `EXT-X-MAP`: the init segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Map {
    /// Where the init segment lies, relative to the playlist.
    pub uri: String,
    /// The part of the resource that is the init segment; the whole of it without.
    pub byte_range: Option<ByteRange>,
}

impl MediaPlaylist {
    /// A playlist of `segments` with independent segments, at the lowest version that fits.
    ///
    /// `target_duration` is in seconds, see [`target_duration()`]; that of an EVENT playlist must be the same in every
    /// version of it. A VOD playlist is complete; an EVENT playlist grows until `ended` is set.
    #[must_use]
    pub fn new(playlist_type: PlaylistType, target_duration: u32, segments: Vec<Segment>) -> Self {
        let mut playlist = Self {
            version: 1,
            target_duration,
            playlist_type: Some(playlist_type),
            media_sequence: 0,
            independent_segments: true,
            iframes_only: false,
            ended: playlist_type == PlaylistType::Vod,
            segments,
        };
        playlist.version = playlist.lowest_version();
        playlist
    }

    /// A VOD I-frame playlist. Each segment is one I-frame: the byte range from the `moof` to the end of its first
    /// sample, and as duration the time to the next I-frame. The target duration is its own, as it may be for VOD
    /// (rfc8216bis 6.2.4).
    #[must_use]
    pub fn iframes(segments: Vec<Segment>) -> Self {
        let target = target_duration(segments.iter().map(|segment| segment.duration));
        let mut playlist = Self::new(PlaylistType::Vod, target, segments);
        // Says of segments what every entry of an I-frame playlist is anyway.
        playlist.independent_segments = false;
        playlist.iframes_only = true;
        playlist.version = playlist.lowest_version();
        playlist
    }

    /// The lowest `EXT-X-VERSION` that allows what the playlist holds (RFC 8216 section 7). Durations are written
    /// with decimals, so it is at least 3.
    #[must_use]
    pub fn lowest_version(&self) -> u32 {
        let has_map = self.segments.iter().any(|segment| segment.map.is_some());
        let has_range = self.segments.iter().any(|segment| segment.byte_range.is_some());
        match (has_map, self.iframes_only) {
            (true, false) => 6,
            (true, true) => 5,
            (false, true) => 4,
            (false, false) if has_range => 4,
            (false, false) => 3,
        }
    }

    /// Sum of all `EXTINF`, in seconds.
    #[must_use]
    pub fn duration(&self) -> f64 {
        self.segments.iter().map(|segment| segment.duration).sum()
    }
}

/// The target duration that fits segments of these durations in seconds: the longest, rounded to the nearest whole
/// second (rfc8216bis 4.4.3.1), at least 1.
pub fn target_duration(durations: impl IntoIterator<Item = f64>) -> u32 {
    let longest = durations.into_iter().fold(0.0_f64, f64::max);
    // Saturates; no segment lasts that long.
    (longest.round() as u32).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn target_duration_is_the_longest_rounded_to_nearest() {
        for (durations, expected) in
            [(&[6.006, 6.006, 2.0][..], 6), (&[5.5], 6), (&[6.49], 6), (&[0.2], 1), (&[], 1), (&[f64::NAN, 4.0], 4)]
        {
            assert_eq!(target_duration(durations.iter().copied()), expected, "{durations:?}");
        }
    }

    #[test]
    fn version_is_the_lowest_that_fits() {
        let map = Some(Arc::new(Map { uri: "init.mp4".into(), byte_range: None }));
        let ranged =
            Segment { byte_range: Some(ByteRange { offset: 0, length: 9 }), ..Segment::new("a.ts", 6.0, None) };
        let vod = |segment: Segment| MediaPlaylist::new(PlaylistType::Vod, 6, vec![segment]).version;
        assert_eq!(vod(Segment::new("a.ts", 6.0, None)), 3);
        assert_eq!(vod(ranged.clone()), 4);
        assert_eq!(vod(Segment::new("a.m4s", 6.0, map.clone())), 6);
        assert_eq!(MediaPlaylist::iframes(vec![ranged.clone()]).version, 4);
        assert_eq!(MediaPlaylist::iframes(vec![Segment { map, ..ranged }]).version, 5);
    }
}
