//! Rules on bit rates: what is declared against what is there.

use crate::conformance::tally::{Finding, Tally};
use crate::conformance::view::{Seen, View};
use crate::hls::{Bandwidth, Variant};

const UNMEASURED: &str = "segment sizes are not known";

/// Variants with what playing them needs.
fn measured<'v, 'a>(view: &'v View<'a>) -> impl Iterator<Item = (&'a Variant, &'v Seen<'a>, Bandwidth)> {
    view.variants().filter_map(|(variant, seen)| Some((variant, seen, view.bandwidth_of(variant, seen)?)))
}

fn within_a_tenth(measured: u64, declared: u64) -> bool {
    measured.abs_diff(declared) as f64 <= declared as f64 * 0.1
}

pub(super) fn average(view: &View<'_>) -> Finding {
    let mut tally = Tally::default();
    for (variant, _, Bandwidth { average, .. }) in measured(view) {
        if let Some(declared) = variant.average_bandwidth {
            tally.check(within_a_tenth(average, declared), || format!("{}: {average}, not {declared}", variant.uri));
        }
    }
    tally.finish_counted("variants", "no variant has AVERAGE-BANDWIDTH and known segment sizes")
}

pub(super) fn peak(view: &View<'_>) -> Finding {
    let mut tally = Tally::default();
    for (variant, _, Bandwidth { peak, .. }) in measured(view) {
        let declared = variant.bandwidth;
        tally.check(within_a_tenth(peak, declared), || format!("{}: {peak}, not {declared}", variant.uri));
    }
    tally.finish_counted("variants", UNMEASURED)
}

pub(super) fn bound(view: &View<'_>) -> Finding {
    let mut tally = Tally::default();
    for (variant, _, Bandwidth { peak, .. }) in measured(view) {
        tally.check(peak <= variant.bandwidth, || format!("{}: {peak} above {}", variant.uri, variant.bandwidth));
    }
    tally.finish_counted("variants", UNMEASURED)
}

pub(super) fn peak_to_average(view: &View<'_>) -> Finding {
    let mut tally = Tally::default();
    for seen in view.media() {
        if let Some(Bandwidth { peak, average }) = seen.measured.bandwidth {
            tally.check(peak <= average.saturating_mul(2), || {
                format!("{}: {peak} with {average} on average", seen.uri())
            });
        }
    }
    tally.finish_counted("playlists", UNMEASURED)
}

pub(super) fn first_variant(view: &View<'_>) -> Finding {
    let mut tally = Tally::default();
    let distance = |variant: &Variant| variant.average_bandwidth.unwrap_or(variant.bandwidth).abs_diff(2_000_000);
    let variants = || view.video_variants().map(|(variant, _)| variant);
    if let (Some(first), Some(nearest)) = (variants().next(), variants().map(distance).min()) {
        tally.check(distance(first) == nearest, || format!("{} comes first with {}", first.uri, first.bandwidth));
    }
    let first =
        || variants().next().map_or_else(String::new, |first| format!("{} with {}", first.uri, first.bandwidth));
    tally.finish(first, super::NO_VIDEO)
}

pub(super) fn several(view: &View<'_>) -> Finding {
    let mut tally = Tally::default();
    let count = view.video.len();
    if count > 0 {
        tally.check(count > 1, || "only one".to_owned());
    }
    tally.finish(|| count.to_string(), super::NO_VIDEO)
}
