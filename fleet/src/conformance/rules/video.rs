//! Rules on the coded pictures.

use super::NO_VIDEO;
use crate::cmaf::Colour;
use crate::conformance::tally::{Finding, Tally};
use crate::conformance::view::{Seen, View};

/// H.264 profile and level of the playlists that are H.264.
fn avc<'v, 'a>(view: &'v View<'a>) -> impl Iterator<Item = (&'v Seen<'a>, u8, u8)> {
    view.video.iter().filter_map(|seen| seen.avc_profile_and_level().map(|(profile, level)| (seen, profile, level)))
}

const NO_AVC: &str = "no H.264 could be read";

fn joined<T: std::fmt::Display>(values: impl Iterator<Item = T>) -> String {
    values.map(|value| value.to_string()).collect::<Vec<_>>().join(", ")
}

pub(super) fn hevc_container(view: &View<'_>) -> Finding {
    let mut tally = Tally::default();
    for (variant, seen) in view.video_variants() {
        let hevc = variant.codecs.iter().any(|codec| codec.starts_with("hvc1") || codec.starts_with("hev1"));
        if hevc {
            let in_fmp4 = seen.playlist.segments.iter().all(|segment| segment.map.is_some());
            tally.check(in_fmp4, || format!("{}: no EXT-X-MAP", seen.uri()));
        }
    }
    tally.finish_counted("variants", "no HEVC")
}

pub(super) fn sample_entries(view: &View<'_>) -> Finding {
    let mut tally = Tally::default();
    let inits = || view.video.iter().filter_map(|seen| Some((seen, seen.init?)));
    for (seen, init) in inits() {
        tally.check(!matches!(&init.sample_entry.0, b"avc3" | b"hev1"), || {
            format!("{}: sample entry {}", seen.uri(), init.sample_entry)
        });
    }
    tally.finish(|| joined(inits().map(|(_, init)| init.sample_entry)), NO_VIDEO)
}

pub(super) fn levels(view: &View<'_>) -> Finding {
    /// Baseline, Main, Extended, High as `profile_idc`.
    const PROFILES: [u8; 4] = [66, 77, 88, 100];
    let mut tally = Tally::default();
    for (seen, profile, level) in avc(view) {
        tally.check(PROFILES.contains(&profile) && level <= 52, || {
            format!("{}: profile_idc {profile}, level {}.{}", seen.uri(), level / 10, level % 10)
        });
    }
    tally.finish(|| joined(avc(view).map(|(_, _, level)| format!("{}.{}", level / 10, level % 10))), NO_AVC)
}

pub(super) fn modest_level(view: &View<'_>) -> Finding {
    let mut tally = Tally::default();
    if let Some(lowest) = avc(view).map(|(_, _, level)| level).min() {
        tally.check(lowest <= 41, || format!("the lowest level is {}.{}", lowest / 10, lowest % 10));
    }
    tally.finish_counted("lowest level looked at", NO_AVC)
}

pub(super) fn high_profile(view: &View<'_>) -> Finding {
    let mut tally = Tally::default();
    for (seen, profile, _) in avc(view) {
        tally.check(profile == 100, || format!("{}: profile_idc {profile}", seen.uri()));
    }
    tally.finish_counted("playlists", NO_AVC)
}

pub(super) fn some_avc(view: &View<'_>) -> Finding {
    let mut tally = Tally::default();
    if view.video.iter().any(|seen| seen.init.is_some()) {
        tally.check(avc(view).next().is_some(), || "none is".to_owned());
    }
    tally.finish(|| format!("{} playlists", avc(view).count()), NO_VIDEO)
}

pub(super) fn idr_interval(view: &View<'_>) -> Finding {
    let mut tally = Tally::default();
    let gops = || view.video.iter().filter_map(|seen| Some((seen, seen.measured.longest_gop_s?)));
    for (seen, gop) in gops() {
        // GOPs are whole frames: 2.002 s at 29.97 frames per second.
        tally.check(gop <= 2.0 + seen.frame(), || format!("{}: {gop:.3} s", seen.uri()));
    }
    tally.finish(|| format!("at most {:.3} s", gops().fold(0.0, |most, (_, gop)| f64::max(most, gop))), NO_VIDEO)
}

pub(super) fn frame_rate_limit(view: &View<'_>) -> Finding {
    let mut tally = Tally::default();
    let rates = || view.video.iter().filter_map(|seen| Some((seen, seen.measured.frame_rate?)));
    for (seen, rate) in rates() {
        tally.check(rate <= 60.001, || format!("{}: {rate:.3}", seen.uri()));
    }
    tally.finish(|| joined(rates().map(|(_, rate)| format!("{rate:.3}"))), NO_VIDEO)
}

pub(super) fn one_colour(view: &View<'_>) -> Finding {
    let mut tally = Tally::default();
    let described = view.video.iter().filter_map(|seen| Some((seen, seen.init?.video.as_ref()?.colour?)));
    let described: Vec<(&Seen<'_>, Colour)> = described.collect();
    let text = |colour: &Colour| {
        let range = if colour.full_range { "full" } else { "limited" };
        format!("{}/{}/{} {range} range", colour.primaries, colour.transfer, colour.matrix)
    };
    if let Some((_, first)) = described.first() {
        for (seen, colour) in &described {
            tally.check(colour == first, || format!("{}: {}, not {}", seen.uri(), text(colour), text(first)));
        }
    }
    tally.finish(
        || described.first().map_or_else(String::new, |(_, first)| text(first)),
        "no init segment describes colour",
    )
}

pub(super) fn one_aspect(view: &View<'_>) -> Finding {
    let mut tally = Tally::default();
    // Of playlists that could not be read, the size is what their variant says.
    let sizes = view.video_variants().filter_map(|(variant, seen)| Some((seen, seen.size().or(variant.resolution)?)));
    let sizes: Vec<(&Seen<'_>, (u32, u32))> = sizes.collect();
    if let Some(&(_, (width, height))) = sizes.iter().max_by_key(|(_, (_, height))| height) {
        for (seen, (w, h)) in &sizes {
            // Both sides are rounded to even numbers, so the width may be off by two.
            let exact = f64::from(width) * f64::from(*h) / f64::from(height.max(1));
            let slack = 2.0 + f64::from(width) / f64::from(height.max(1));
            tally.check((f64::from(*w) - exact).abs() <= slack, || {
                format!("{}: {w}x{h}, not {width}x{height}", seen.uri())
            });
        }
    }
    tally.finish(|| joined(sizes.iter().map(|(_, (w, h))| format!("{w}x{h}"))), NO_VIDEO)
}

pub(super) fn even_sizes(view: &View<'_>) -> Finding {
    let mut tally = Tally::default();
    for seen in &view.video {
        if let (Some((width, height)), Some(video)) = (seen.size(), seen.init.and_then(|init| init.video.as_ref())) {
            let (across, down) = video.pixel_aspect;
            tally.check(width % 2 == 0 && height % 2 == 0 && across == down, || {
                format!("{}: {width}x{height}, pixels {across}:{down}", seen.uri())
            });
        }
    }
    tally.finish_counted("playlists", NO_VIDEO)
}
