//! Rules on the media playlists as text.

use crate::conformance::tally::{Finding, Tally};
use crate::conformance::view::{Seen, View};
use crate::hls::{MediaPlaylist, PlaylistType};

const NONE: &str = "no media playlist";

pub(super) fn rounded(view: &View<'_>) -> Finding {
    let mut tally = Tally::default();
    for seen in view.all() {
        let target = f64::from(seen.playlist.target_duration);
        for (index, segment) in seen.playlist.segments.iter().enumerate() {
            tally.check(segment.duration.round() <= target, || {
                format!("{}: segment {index} of {:.3} s, target {target}", seen.uri(), segment.duration)
            });
        }
    }
    tally.finish_counted("durations", NONE)
}

pub(super) fn one_target(view: &View<'_>) -> Finding {
    all_same(view, |seen| seen.playlist.target_duration, |target| format!("{target} s"))
}

pub(super) fn one_kind(view: &View<'_>) -> Finding {
    all_same(view, |seen| seen.playlist.playlist_type, |kind| type_name(kind).to_owned())
}

pub(super) fn date_time(view: &View<'_>) -> Finding {
    let dated = |seen: &Seen<'_>| seen.playlist.segments.iter().any(|segment| segment.program_date_time.is_some());
    all_same(view, dated, |dated| if dated { "in all" } else { "in none" }.to_owned())
}

/// All media playlists but those of I-frames have the same value, which is what was measured.
fn all_same<T: PartialEq + Copy>(view: &View<'_>, of: impl Fn(&Seen<'_>) -> T, text: impl Fn(T) -> String) -> Finding {
    let mut tally = Tally::default();
    let Some(expected) = view.media().next().map(&of) else {
        return Finding::NotApplicable(NONE.to_owned());
    };
    for seen in view.media() {
        let value = of(seen);
        tally.check(value == expected, || format!("{}: {}, not {}", seen.uri(), text(value), text(expected)));
    }
    tally.finish(|| text(expected), NONE)
}

fn type_name(kind: Option<PlaylistType>) -> &'static str {
    match kind {
        Some(PlaylistType::Vod) => "VOD",
        Some(PlaylistType::Event) => "EVENT",
        None => "none",
    }
}

pub(super) fn kind(view: &View<'_>) -> Finding {
    let mut tally = Tally::default();
    for seen in view.all() {
        let playlist = seen.playlist;
        let fits = match playlist.playlist_type {
            Some(PlaylistType::Vod) => playlist.ended,
            Some(PlaylistType::Event) => true,
            None => false,
        };
        tally.check(fits, || {
            let end = if playlist.ended { "with" } else { "without" };
            format!("{}: type {}, {end} EXT-X-ENDLIST", seen.uri(), type_name(playlist.playlist_type))
        });
    }
    tally.finish_counted("playlists", NONE)
}

pub(super) fn map(view: &View<'_>) -> Finding {
    let mut tally = Tally::default();
    for seen in view.all() {
        let path = |uri: &str| uri.split(['?', '#']).next().unwrap_or("").to_ascii_lowercase();
        let is_fmp4 =
            |uri: &str| [".m4s", ".mp4", ".m4a", ".m4v", ".cmfv", ".cmfa"].iter().any(|end| path(uri).ends_with(end));
        let fragmented = seen.playlist.segments.iter().filter(|segment| segment.map.is_some() || is_fmp4(&segment.uri));
        for segment in fragmented {
            tally.check(segment.map.is_some(), || format!("{}: {}", seen.uri(), segment.uri));
        }
    }
    tally.finish_counted("segments", "no fMP4 segments")
}

pub(super) fn one_init(view: &View<'_>) -> Finding {
    let mut tally = Tally::default();
    for seen in view.all() {
        let segments = &seen.playlist.segments;
        tally.check(segments.windows(2).all(|pair| pair[0].map == pair[1].map), || {
            format!("{}: several init segments", seen.uri())
        });
        tally.check(!segments.iter().any(|segment| segment.discontinuity), || {
            format!("{}: a discontinuity", seen.uri())
        });
    }
    tally.finish_counted("playlists", NONE)
}

/// The lowest version for what is used; whole durations need no decimals.
fn needed(playlist: &MediaPlaylist) -> u32 {
    let fractional = playlist.segments.iter().any(|segment| segment.duration.fract() != 0.0);
    match playlist.lowest_version() {
        3 if !fractional => 1,
        version => version,
    }
}

pub(super) fn version(view: &View<'_>) -> Finding {
    let mut tally = Tally::default();
    for seen in view.all() {
        let (declared, needed) = (seen.playlist.version, needed(seen.playlist));
        tally.check(declared >= needed, || format!("{}: {declared}, {needed} needed", seen.uri()));
    }
    tally.finish_counted("playlists", NONE)
}

pub(super) fn lowest_version(view: &View<'_>) -> Finding {
    let mut tally = Tally::default();
    for seen in view.all() {
        // Decimals are written even where they are zero.
        let (declared, lowest) = (seen.playlist.version, seen.playlist.lowest_version());
        tally.check(declared <= lowest, || format!("{}: {declared}, {lowest} would do", seen.uri()));
    }
    tally.finish_counted("playlists", NONE)
}

pub(super) fn independent(view: &View<'_>) -> Finding {
    let mut tally = Tally::default();
    let everywhere = view.presentation.multivariant.independent_segments;
    for seen in view.media() {
        tally.check(everywhere || seen.playlist.independent_segments, || seen.uri().to_owned());
    }
    tally.finish_counted("playlists", NONE)
}
