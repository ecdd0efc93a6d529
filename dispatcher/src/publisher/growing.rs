//! How far a presentation can be watched, and how its growing playlists are written by several publishers.

use bytes::Bytes;
use fleet::hls::{Playlist, parse};
use fleet::objects::{ETag, ObjectError, ObjectStore, PutCondition, meta_for};
use fleet::store::publication::Growth;

/// Largest playlist that is read back, in bytes.
pub(super) const MAX_PLAYLIST: u64 = 16 << 20;

/// A version of a growing playlist.
#[derive(Clone, Debug)]
pub struct GrowingVersion {
    /// The playlist.
    pub text: String,
    /// Segments that it lists.
    pub segments: usize,
    /// Whether it is the last one.
    pub ended: bool,
}

/// Segments that every rendition has, from the first without a hole. A sound track that is complete has all it will have.
#[must_use]
pub fn watchable_segments(tracks: &[Growth]) -> u64 {
    tracks.iter().map(|t| if t.kind == "audio" && t.ended { u64::MAX } else { t.contiguous }).min().unwrap_or(0)
}

/// Whether committed segments, given by their numbers, can be listed: from the first on, without a hole, and `wanted` of
/// them, unless the track has no more. Some may have been withdrawn since they were counted.
#[must_use]
pub fn is_listable(numbers: impl Iterator<Item = u64>, wanted: u64, has_no_more: bool) -> bool {
    let mut count = 0;
    for number in numbers {
        if number != count {
            return false;
        }
        count += 1;
    }
    has_no_more || count == wanted
}

/// Writes a growing playlist over the version that was written last. Whoever comes late, with fewer segments, changes
/// nothing. Gives the version that is there now.
///
/// # Errors
/// The store does not answer, or another publisher was faster: the next turn tries again.
pub async fn replace(
    objects: &dyn ObjectStore,
    key: &str,
    version: GrowingVersion,
    last: Option<&String>,
) -> Result<ETag, ObjectError> {
    let put = |condition| objects.put(key, Bytes::from(version.text.clone()), meta_for(key), condition);
    let condition = last.map_or(PutCondition::IfAbsent, |etag| PutCondition::IfMatch(ETag(etag.clone())));
    match put(condition).await {
        Err(ObjectError::PreconditionFailed { .. } | ObjectError::NotFound { .. }) => {}
        other => return other,
    }
    // Somebody wrote and died before it was noted, or the playlist was deleted.
    match objects.get(key, MAX_PLAYLIST).await {
        Ok((there, etag)) => {
            let there = parse(&String::from_utf8_lossy(&there)).ok();
            let longer = match there {
                Some(Playlist::Media(m)) => m.segments.len() > version.segments || (m.ended && !version.ended),
                _ => false,
            };
            if longer { Ok(etag) } else { put(PutCondition::IfMatch(etag)).await }
        }
        Err(ObjectError::NotFound { .. }) => put(PutCondition::IfAbsent).await,
        Err(other) => Err(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hole_or_an_end_that_was_withdrawn_is_not_listed() {
        let listable = |numbers: &[u64], wanted, more: bool| is_listable(numbers.iter().copied(), wanted, !more);
        assert!(listable(&[0, 1, 2], 3, true));
        assert!(!listable(&[0, 2], 3, true), "a hole");
        assert!(!listable(&[0, 2], 3, false), "a hole in a track that is complete");
        assert!(!listable(&[1, 2], 3, true), "the first is missing");
        assert!(!listable(&[0, 1], 3, true), "the last is missing");
        assert!(listable(&[0, 1], 3, false), "a sound track may be shorter");
    }
}
