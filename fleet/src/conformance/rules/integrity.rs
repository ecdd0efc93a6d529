//! Everything that is named is there.

use crate::conformance::Role;
use crate::conformance::tally::{Finding, Tally};
use crate::conformance::view::View;

pub(super) fn files(view: &View<'_>) -> Finding {
    let mut tally = Tally::default();
    for track in &view.presentation.tracks {
        tally.check(track.faults.is_empty(), || track.faults.join("; "));
        let missing = track.segments.iter().filter(|segment| segment.bytes.is_none()).count();
        let gaps = track.playlist.iter().flat_map(|playlist| &playlist.segments).filter(|segment| segment.gap).count();
        // Also when a caller without a folder gives no faults.
        tally.check(missing <= gaps || !track.faults.is_empty(), || {
            format!("{}: {missing} segments missing", track.uri)
        });
        if let Some(playlist) = &track.playlist {
            tally.check(!playlist.segments.is_empty(), || format!("{}: no segments", track.uri));
            tally.check(playlist.segments.len() == track.segments.len(), || {
                format!("{}: {} segments listed, {} known", track.uri, playlist.segments.len(), track.segments.len())
            });
        }
    }
    let files: usize = view.presentation.tracks.iter().map(|track| track.segments.len()).sum();
    let playlists = view.presentation.tracks.len();
    tally.finish(|| format!("{files} segments of {playlists} playlists"), "no media playlist")
}

pub(super) fn partial(view: &View<'_>) -> Finding {
    let mut tally = Tally::default();
    tally.check(view.presentation.partial_files.is_empty(), || view.presentation.partial_files.join(", "));
    tally.finish(|| "none".to_owned(), "")
}

pub(super) fn contents(view: &View<'_>) -> Finding {
    let mut tally = Tally::default();
    for seen in view.all().filter(|seen| seen.track.role != Role::Iframe) {
        let unread = seen.track.segments.iter().filter(|segment| segment.facts.is_none()).count();
        tally.check(unread == 0, || {
            let why = if seen.init.is_none() { "not fMP4, or no init segment" } else { "damaged or encrypted" };
            format!("{}: {unread} of {} segments not read: {why}", seen.uri(), seen.track.segments.len())
        });
    }
    tally.finish(|| "all".to_owned(), "no media playlist")
}
