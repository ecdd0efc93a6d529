//! Rules on the attributes of the multivariant playlist.

use std::collections::BTreeSet;

use super::NO_VIDEO;
use crate::conformance::tally::{Finding, Tally};
use crate::conformance::view::View;
use crate::hls::ClosedCaptions;

const NO_VARIANT: &str = "no variants";

pub(super) fn codecs(view: &View<'_>) -> Finding {
    // The hexadecimal digits of a codec string may be of either case.
    let set = |codecs: &mut dyn Iterator<Item = &String>| {
        codecs.map(|codec| codec.to_ascii_lowercase()).collect::<BTreeSet<_>>()
    };
    let mut tally = Tally::default();
    for variant in &view.presentation.multivariant.variants {
        let declared = set(&mut variant.codecs.iter());
        tally.check(!declared.is_empty(), || format!("{}: no CODECS", variant.uri));
        let Some((_, seen)) = view.variants().find(|(found, _)| std::ptr::eq(*found, variant)) else { continue };
        let sound = view.sound_of(variant);
        let inits: Option<Vec<_>> = std::iter::once(seen).chain(sound).map(|seen| seen.init).collect();
        if let Some(inits) = inits.filter(|_| !declared.is_empty()) {
            let there = set(&mut inits.iter().flat_map(|init| std::iter::once(&init.codec).chain(&init.other_codecs)));
            tally.check(declared == there, || {
                let list = |set: &BTreeSet<String>| set.iter().cloned().collect::<Vec<_>>().join(",");
                format!("{}: {} declared, {} there", variant.uri, list(&declared), list(&there))
            });
        }
    }
    for variant in &view.presentation.multivariant.iframe_variants {
        let seen = view.iframes.iter().find(|seen| seen.uri() == variant.uri);
        if let Some(init) = seen.and_then(|seen| seen.init).filter(|_| !variant.codecs.is_empty()) {
            let named = variant.codecs.iter().any(|codec| codec.eq_ignore_ascii_case(&init.codec));
            tally.check(named, || format!("{}: {} there", variant.uri, init.codec));
        }
    }
    tally.finish_counted("variants and init segments", NO_VARIANT)
}

pub(super) fn resolution(view: &View<'_>) -> Finding {
    let mut tally = Tally::default();
    for (variant, seen) in view.video_variants() {
        let Some((width, height)) = variant.resolution else {
            tally.check(false, || format!("{}: none", variant.uri));
            continue;
        };
        tally.check(seen.size().is_none_or(|size| size == (width, height)), || {
            let (w, h) = seen.size().unwrap_or_default();
            format!("{}: {width}x{height}, {w}x{h} in the init segment", variant.uri)
        });
    }
    for variant in &view.presentation.multivariant.iframe_variants {
        let seen = view.iframes.iter().find(|seen| seen.uri() == variant.uri);
        if let (Some(declared), Some(size)) = (variant.resolution, seen.and_then(|seen| seen.size())) {
            tally.check(declared == size, || {
                format!("{}: {}x{}, {}x{} in the init segment", variant.uri, declared.0, declared.1, size.0, size.1)
            });
        }
    }
    tally.finish_counted("variants", NO_VIDEO)
}

pub(super) fn iframe_attributes(view: &View<'_>) -> Finding {
    let mut tally = Tally::default();
    for variant in &view.presentation.multivariant.iframe_variants {
        tally.check(!variant.codecs.is_empty() && variant.resolution.is_some(), || variant.uri.clone());
    }
    tally.finish_counted("I-frame variants", "no I-frame variants")
}

pub(super) fn average_bandwidth(view: &View<'_>) -> Finding {
    let mut tally = Tally::default();
    for variant in &view.presentation.multivariant.variants {
        tally.check(variant.average_bandwidth.is_some(), || format!("{}: none", variant.uri));
    }
    tally.finish_counted("variants", NO_VARIANT)
}

pub(super) fn frame_rate(view: &View<'_>) -> Finding {
    let mut tally = Tally::default();
    for (variant, seen) in view.video_variants() {
        let Some(declared) = variant.frame_rate else {
            tally.check(false, || format!("{}: none", variant.uri));
            continue;
        };
        if let Some(there) = seen.measured.frame_rate {
            // Tells 29.97 from 30; the attribute itself has three decimals.
            tally.check((declared - there).abs() <= 0.0006 + there * 0.0005, || {
                format!("{}: {declared:.3}, {there:.3} in the segments", variant.uri)
            });
        } else {
            tally.check(declared > 0.0, || format!("{}: {declared}", variant.uri));
        }
    }
    tally.finish_counted("variants", NO_VIDEO)
}

pub(super) fn video_range(view: &View<'_>) -> Finding {
    let mut tally = Tally::default();
    let expected = |transfer| match transfer {
        16 => "PQ",
        18 => "HLG",
        _ => "SDR",
    };
    let described = || {
        view.video_variants()
            .filter_map(|(variant, seen)| Some((variant, expected(seen.init?.video.as_ref()?.colour?.transfer))))
    };
    let all_sdr = described().all(|(_, range)| range == "SDR");
    for (variant, range) in described() {
        let fits = match variant.video_range.as_deref() {
            Some(declared) => declared == range,
            None => all_sdr,
        };
        tally.check(fits, || format!("{}: {} is not declared", variant.uri, range));
    }
    tally.finish(|| if all_sdr { "all SDR" } else { "declared" }.to_owned(), "no init segment describes colour")
}

pub(super) fn score(view: &View<'_>) -> Finding {
    let mut tally = Tally::default();
    let variants = &view.presentation.multivariant.variants;
    if variants.iter().any(|variant| variant.score.is_some()) {
        for variant in variants {
            tally.check(variant.score.is_some(), || format!("{}: none", variant.uri));
        }
    }
    tally.finish_counted("variants", "no SCORE")
}

pub(super) fn captions(view: &View<'_>) -> Finding {
    let mut tally = Tally::default();
    let variants = &view.presentation.multivariant.variants;
    let none = |captions: &Option<ClosedCaptions>| *captions == Some(ClosedCaptions::None);
    if variants.iter().any(|variant| none(&variant.closed_captions)) {
        for variant in variants {
            tally.check(none(&variant.closed_captions), || format!("{}: not NONE", variant.uri));
        }
    }
    tally.finish_counted("variants", "CLOSED-CAPTIONS=NONE is not used")
}
