//! Rules on I-frame playlists.

use std::collections::HashMap;

use super::NO_VIDEO;
use crate::cmaf::ByteRange;
use crate::conformance::tally::{Finding, Tally};
use crate::conformance::view::{Seen, View};

const NO_IFRAMES: &str = "no I-frame playlist";

/// A resource of the presentation, by its folder and name: playlists name the same file relative to themselves.
type Resource<'a> = (&'a str, &'a str);

fn resource<'a>(seen: &Seen<'a>, uri: &'a str) -> Resource<'a> {
    (seen.uri().rsplit_once('/').map_or("", |(folder, _)| folder), uri)
}

/// The I-frames that the video playlists hold: resource and offset, to the length of `moof` with the first sample.
fn iframes_of<'a>(video: &Seen<'a>) -> HashMap<(Resource<'a>, u64), u64> {
    let mut ranges = HashMap::new();
    for (index, facts) in video.facts() {
        let Some(segment) = video.playlist.segments.get(index) else { continue };
        let base = segment.byte_range.map_or(0, |range| range.offset);
        for fragment in facts.fragments.iter().filter(|fragment| fragment.starts_with_sync) {
            let ByteRange { offset, length } = fragment.first_sample_range;
            ranges.insert((resource(video, &segment.uri), base.saturating_add(offset)), length);
        }
    }
    ranges
}

/// I-frame playlists with the video playlist whose segments they point into.
fn pairs<'v, 'a>(view: &'v View<'a>) -> impl Iterator<Item = (&'v Seen<'a>, &'v Seen<'a>)> {
    view.iframes.iter().filter_map(|iframes| {
        let first = resource(iframes, &iframes.playlist.segments.first()?.uri);
        let video = view.video.iter().find(|video| {
            video.init.is_some() && video.playlist.segments.iter().any(|segment| resource(video, &segment.uri) == first)
        });
        Some((iframes, video?))
    })
}

const NO_PAIR: &str = "no I-frame playlist points into fMP4 segments of a variant";

pub(super) fn present(view: &View<'_>) -> Finding {
    let mut tally = Tally::default();
    if !view.video.is_empty() {
        tally.check(!view.iframes.is_empty(), || "there is none".to_owned());
    }
    tally.finish(|| view.iframes.len().to_string(), NO_VIDEO)
}

pub(super) fn several(view: &View<'_>) -> Finding {
    let mut tally = Tally::default();
    let count = view.iframes.len();
    if count > 0 {
        tally.check(count > 1, || "only one".to_owned());
    }
    tally.finish(|| count.to_string(), NO_IFRAMES)
}

pub(super) fn dense(view: &View<'_>) -> Finding {
    let mut tally = Tally::default();
    let rate = |seen: &Seen<'_>| seen.playlist.segments.len() as f64 / seen.playlist.duration().max(1e-9);
    if let Some(densest) = view.iframes.iter().map(rate).reduce(f64::max) {
        // 30 in 30.03 s are dense enough.
        tally.check(densest >= 0.99, || format!("{densest:.2} a second"));
    }
    tally.finish(|| "1 a second or more".to_owned(), NO_IFRAMES)
}

pub(super) fn tagged(view: &View<'_>) -> Finding {
    let mut tally = Tally::default();
    for seen in &view.iframes {
        tally.check(seen.playlist.iframes_only, || seen.uri().to_owned());
    }
    tally.finish_counted("playlists", NO_IFRAMES)
}

pub(super) fn ranges(view: &View<'_>) -> Finding {
    let mut tally = Tally::default();
    for (iframes, video) in pairs(view) {
        let known = iframes_of(video);
        for segment in &iframes.playlist.segments {
            let range = segment.byte_range;
            let fits = range.is_some_and(|range| {
                known.get(&(resource(iframes, &segment.uri), range.offset)) == Some(&range.length)
            });
            tally.check(fits, || {
                let range =
                    range.map_or_else(|| "no range".to_owned(), |r| format!("{} bytes from {}", r.length, r.offset));
                format!("{}: {} {range}", iframes.uri(), segment.uri)
            });
        }
    }
    tally.finish_counted("ranges", NO_PAIR)
}

pub(super) fn complete(view: &View<'_>) -> Finding {
    let mut tally = Tally::default();
    for (iframes, video) in pairs(view) {
        let sync: u64 = video.facts().flat_map(|(_, facts)| &facts.fragments).map(|f| u64::from(f.sync_samples)).sum();
        let listed = iframes.playlist.segments.len();
        tally.check(listed as u64 == sync, || format!("{}: {listed} of {sync} I-frames", iframes.uri()));
        let (listed, shown) = (iframes.playlist.duration(), video.playlist.duration());
        tally.check((listed - shown).abs() <= video.frame().max(0.001), || {
            format!("{}: {listed:.3} s of {shown:.3} s", iframes.uri())
        });
    }
    let listed = pairs(view).map(|(iframes, _)| iframes.playlist.segments.len()).sum::<usize>();
    tally.finish(|| format!("{listed} I-frames"), NO_PAIR)
}

pub(super) fn bandwidth(view: &View<'_>) -> Finding {
    let mut tally = Tally::default();
    for variant in &view.presentation.multivariant.iframe_variants {
        let seen = view.iframes.iter().find(|seen| seen.uri() == variant.uri);
        if let Some(measured) = seen.and_then(|seen| seen.measured.bandwidth) {
            tally.check(measured.peak <= variant.bandwidth, || {
                format!("{}: {} above {}", variant.uri, measured.peak, variant.bandwidth)
            });
        }
    }
    tally.finish_counted("playlists", NO_IFRAMES)
}
