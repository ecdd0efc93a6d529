//! Rules on time: within a track and between tracks.

use super::{NO_FACTS, NO_SOUND, NO_VIDEO};
use crate::conformance::tally::{Finding, Tally};
use crate::conformance::view::{Seen, View};

/// Times nearer than this, in seconds, are the same: timescales differ between tracks.
const SAME: f64 = 0.001;

/// How far sound may begin or end from the pictures, in seconds, before it is worth a warning: about five audio frames.
const LIP: f64 = 0.1;

pub(super) fn continuous(view: &View<'_>) -> Finding {
    let mut tally = Tally::default();
    for seen in view.media() {
        let mut expected: Option<(usize, i64)> = None;
        for (index, facts) in seen.facts() {
            let discontinuity = seen.playlist.segments.get(index).is_some_and(|segment| segment.discontinuity);
            // After a segment that could not be read, or a declared break, there is nothing to continue.
            let mut end = expected.filter(|(before, _)| before + 1 == index && !discontinuity).map(|(_, end)| end);
            for fragment in &facts.fragments {
                if let Some(end) = end {
                    tally.check(fragment.tfdt == end, || {
                        format!("{}: segment {index} decodes at {}, not {end}", seen.uri(), fragment.tfdt)
                    });
                }
                end = Some(fragment.decode_end());
            }
            expected = end.map(|end| (index, end));
        }
    }
    tally.finish_counted("joints", NO_FACTS)
}

pub(super) fn offsets(view: &View<'_>) -> Finding {
    let mut tally = Tally::default();
    for seen in view.media() {
        for (index, facts) in seen.facts() {
            let lowest = facts.fragments.iter().map(|fragment| fragment.min_composition_offset).min().unwrap_or(0);
            tally.check(lowest >= 0, || format!("{}: {lowest} in segment {index}", seen.uri()));
        }
        if let Some(start) = seen.init.and_then(|init| init.edit_start) {
            tally.check(start == 0, || format!("{}: an edit list starts at {start}", seen.uri()));
        }
    }
    tally.finish(|| "none".to_owned(), NO_FACTS)
}

pub(super) fn segment_idr(view: &View<'_>) -> Finding {
    let mut tally = Tally::default();
    for seen in &view.video {
        for (index, facts) in seen.facts() {
            if let Some(first) = facts.fragments.first() {
                let starts = first.starts_with_sync && first.starts_with_random_access != Some(false);
                tally.check(starts, || format!("{}: segment {index} does not", seen.uri()));
            }
        }
    }
    tally.finish_counted("segments", NO_VIDEO)
}

pub(super) fn target(view: &View<'_>) -> Finding {
    let mut tally = Tally::default();
    for seen in view.media() {
        let target = seen.playlist.target_duration;
        // A clip shorter than a segment has no use for a longer target.
        tally.check(target == 6 || (target < 6 && seen.playlist.segments.len() == 1), || {
            format!("{}: {target} s", seen.uri())
        });
    }
    tally.finish_counted("playlists", "no media playlist")
}

pub(super) fn longest(view: &View<'_>) -> Finding {
    let mut tally = Tally::default();
    let mut most = 0.0_f64;
    for seen in view.media() {
        let limit = f64::from(seen.playlist.target_duration) + 0.5;
        for (index, segment) in seen.playlist.segments.iter().enumerate() {
            let facts = seen.track.segments.get(index).and_then(|segment| segment.facts.as_ref());
            let duration = facts.map_or(segment.duration, |facts| seen.seconds(facts.duration()).max(segment.duration));
            most = most.max(duration);
            tally.check(duration <= limit, || format!("{}: segment {index} lasts {duration:.3} s", seen.uri()));
        }
    }
    tally.finish(|| format!("at most {most:.3} s"), "no segments")
}

pub(super) fn extinf(view: &View<'_>) -> Finding {
    let mut tally = Tally::default();
    let mut most = 0.0_f64;
    for seen in view.media() {
        let frame = seen.frame();
        for (index, facts) in seen.facts() {
            let Some(listed) = seen.playlist.segments.get(index).map(|segment| segment.duration) else { continue };
            let lasts = seen.seconds(facts.duration());
            tally.check((listed - lasts).abs() <= frame + SAME, || {
                format!("{}: segment {index} lasts {lasts:.3} s, EXTINF {listed:.3}", seen.uri())
            });
        }
        if let Some(lasts) = seen.measured.media_duration_s {
            let listed = seen.measured.extinf_duration_s;
            most = most.max((listed - lasts).abs());
            tally.check((listed - lasts).abs() <= frame + SAME, || {
                format!("{}: {lasts:.3} s in all, EXTINF {listed:.3}", seen.uri())
            });
        }
    }
    tally.finish(|| format!("sums differ by at most {:.3} ms", most * 1000.0), NO_FACTS)
}

/// Compares `of` between every item of `others` and `first`.
fn compare<'v, 'a: 'v>(
    first: Option<&Seen<'a>>,
    others: impl Iterator<Item = &'v Seen<'a>>,
    of: impl Fn(&Seen<'a>) -> Option<f64>,
    tolerance: impl Fn(&Seen<'a>) -> f64,
) -> Tally {
    let mut tally = Tally::default();
    if let Some(expected) = first.and_then(&of) {
        for seen in others {
            if let Some(value) = of(seen) {
                tally.check((value - expected).abs() <= tolerance(seen), || {
                    format!("{}: {value:.3} s, not {expected:.3} s", seen.uri())
                });
            }
        }
    }
    tally
}

fn lasts(seen: &Seen<'_>) -> Option<f64> {
    seen.measured.media_duration_s
}

pub(super) fn video_starts(view: &View<'_>) -> Finding {
    let start = view.video.first().and_then(Seen::start);
    let tally = compare(view.video.first(), view.video.iter(), Seen::start, |_| SAME);
    tally.finish(|| format!("{:.3} s", start.unwrap_or(0.0)), NO_VIDEO)
}

pub(super) fn sound_starts(view: &View<'_>) -> Finding {
    let tally = compare(view.video.first(), view.audio.iter(), Seen::start, |_| LIP);
    tally.finish_counted("audio playlists", NO_SOUND)
}

pub(super) fn video_durations(view: &View<'_>) -> Finding {
    let all = view.video.first().and_then(lasts);
    let tally = compare(view.video.first(), view.video.iter(), lasts, |seen| seen.frame() + SAME);
    tally.finish(|| format!("{:.3} s", all.unwrap_or(0.0)), NO_VIDEO)
}

pub(super) fn sound_durations(view: &View<'_>) -> Finding {
    let tally = compare(view.video.first(), view.audio.iter(), lasts, |_| LIP);
    tally.finish_counted("audio playlists", NO_SOUND)
}

pub(super) fn aligned(view: &View<'_>) -> Finding {
    let mut tally = Tally::default();
    let Some(first) = view.video.first() else {
        return Finding::NotApplicable(NO_VIDEO.to_owned());
    };
    for seen in view.media().skip(1) {
        // Sound is cut between its own frames.
        let slack = if seen.measured.channels.is_some() { seen.frame() + SAME } else { SAME };
        for ((index, ours), (other, theirs)) in seen.facts().zip(first.facts()) {
            let (at, expected) = (seen.seconds(ours.first_presentation()), first.seconds(theirs.first_presentation()));
            tally.check(index == other && (at - expected).abs() <= slack, || {
                format!("{}: segment {index} at {at:.3} s, not {expected:.3} s", seen.uri())
            });
        }
        if seen.measured.channels.is_none() {
            let (count, expected) = (seen.measured.segments, first.measured.segments);
            tally.check(count == expected, || format!("{}: {count} segments, not {expected}", seen.uri()));
        }
    }
    tally.finish_counted("borders", "only one media playlist")
}
