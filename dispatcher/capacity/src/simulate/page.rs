//! A page that explains a comparison: one file, no script, no network, light or dark as the reader likes.

mod plot;

use std::fmt::Write as _;

use self::plot::Plot;
use super::comparison::{Comparison, clock};
use super::outcome::{Outcome, Sample};
use crate::pools::{Fleet, PurchaseOption};

const STYLE: &str = "
:root { color-scheme: light dark; --ink: #1c2024; --soft: #60646c; --line: #d9d9e0; --paper: #fff; --mark: #b42318 }
@media (prefers-color-scheme: dark) { :root { --ink: #edeef0; --soft: #b0b4ba; --line: #3a3f45; --paper: #111315; --mark: #ff9592 } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 72rem; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.5rem } h2 { font-size: 1.15rem; margin-top: 2.5rem } code { overflow-wrap: anywhere }
.scroll { overflow-x: auto } table { border-collapse: collapse; font-variant-numeric: tabular-nums; white-space: nowrap }
th, td { padding: .3rem .6rem; text-align: right; border-bottom: 1px solid var(--line) } th { font-weight: 600 }
th:first-child, td:first-child { text-align: left } p.soft, figcaption { color: var(--soft) } figure { margin: 1rem 0 }
svg { width: 100%; height: auto } svg text { fill: var(--soft); font-size: 11px } svg .axis { stroke: var(--line) }
svg .label { fill: var(--ink) } .key { display: inline-block; width: .8em; height: .8em; margin: 0 .3em 0 1em }
";

/// Colours of pools: spot in cool, on-demand in warm ones, readable on light and dark.
const SPOT: [&str; 6] = ["#2a7de1", "#19a7b8", "#5b6ee1", "#2f9e6e", "#7aa8f0", "#4fc1cc"];
const ON_DEMAND: [&str; 6] = ["#e0792b", "#d14a61", "#c59a1b", "#b3589a", "#f0a266", "#e88a98"];

/// The page of a comparison.
#[must_use]
pub fn render(comparison: &Comparison, fleet: &Fleet) -> String {
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>Policies side by side</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<h1>Policies side by side</h1>\n"
    );
    let jobs = comparison.outcomes.first().map_or(0, |o| o.jobs);
    put(
        &mut page,
        format_args!("<p class=\"soft\">{jobs} jobs. Made by <code>{}</code></p>\n", escape(&comparison.command)),
    );
    table(&mut page, comparison);
    put(&mut page, format_args!("<p class=\"soft\">{}</p>\n", escape(comparison.notes().trim())));
    page.push_str("<h2>Cost against misses</h2>\n");
    cost_against_misses(&mut page, comparison);
    for outcome in &comparison.outcomes {
        put(&mut page, format_args!("<h2>{}</h2>\n", escape(&outcome.policy)));
        capacity(&mut page, outcome, fleet);
        queue(&mut page, outcome);
        one_job(&mut page, outcome, fleet);
    }
    page.push_str("</body>\n</html>\n");
    page
}

fn put(page: &mut String, text: std::fmt::Arguments<'_>) {
    page.write_fmt(text).expect("a String takes everything");
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// The Markdown table, as HTML: both say the same.
fn table(page: &mut String, comparison: &Comparison) {
    page.push_str("<div class=\"scroll\"><table>\n");
    for (i, line) in comparison.table().lines().enumerate().filter(|(i, _)| *i != 1) {
        let cell = if i == 0 { "th" } else { "td" };
        page.push_str("<tr>");
        for text in line.trim_matches('|').split('|') {
            put(page, format_args!("<{cell}>{}</{cell}>", escape(text.trim())));
        }
        page.push_str("</tr>\n");
    }
    page.push_str("</table></div>\n");
}

fn cost_against_misses(page: &mut String, comparison: &Comparison) {
    let most_usd = comparison.outcomes.iter().map(|o| o.usd_per_job).fold(0.01, f64::max);
    let most_pct = comparison.outcomes.iter().map(Outcome::missed_pct).fold(1.0, f64::max);
    let mut plot = Plot::new(320.0, (0.0, most_usd * 1.15), (0.0, most_pct * 1.1));
    plot.axes("dollars a match", "missed %");
    let bound = comparison.bound.usd / comparison.outcomes.first().map_or(1, |o| o.jobs).max(1) as f64;
    plot.vertical(bound, "lower bound");
    for (i, outcome) in comparison.outcomes.iter().enumerate() {
        plot.dot(outcome.usd_per_job, outcome.missed_pct(), SPOT[i % SPOT.len()], &escape(&outcome.policy), i);
    }
    figure(page, plot, "Down and to the left is better.");
}

/// Hours since the first sample.
fn hours(outcome: &Outcome, sample: &Sample) -> f64 {
    outcome.samples.first().map_or(0.0, |first| sample.at.since_s(first.at) / 3600.0)
}

fn span_h(outcome: &Outcome) -> f64 {
    outcome.samples.last().map_or(1.0, |last| hours(outcome, last)).max(0.1)
}

fn colour(fleet: &Fleet, pool: usize) -> &'static str {
    let option = fleet.pools[pool].option;
    let number = fleet.pools[..pool].iter().filter(|p| p.option == option).count();
    let colours = if option == PurchaseOption::Spot { &SPOT } else { &ON_DEMAND };
    colours[number % colours.len()]
}

fn capacity(page: &mut String, outcome: &Outcome, fleet: &Fleet) {
    let most = outcome.samples.iter().map(|s| s.serving.iter().sum::<u32>()).max().unwrap_or(0).max(1);
    let mut plot = Plot::new(220.0, (0.0, span_h(outcome)), (0.0, f64::from(most) * 1.05));
    let mut below = vec![0.0; outcome.samples.len()];
    let mut keys = String::new();
    for pool in 0..fleet.pools.len() {
        let counts: Vec<f64> =
            outcome.samples.iter().map(|s| f64::from(s.serving.get(pool).copied().unwrap_or(0))).collect();
        if counts.iter().all(|c| *c == 0.0) {
            continue;
        }
        let bands: Vec<(f64, f64, f64)> = outcome
            .samples
            .iter()
            .zip(below.iter().zip(&counts))
            .map(|(s, (low, count))| (hours(outcome, s), *low, low + count))
            .collect();
        plot.area(&bands, colour(fleet, pool));
        put(&mut keys, format_args!("<span class=\"key\" style=\"background:{}\"></span>", colour(fleet, pool)));
        put(&mut keys, format_args!("{}", escape(fleet.pools[pool].id.as_str())));
        below.iter_mut().zip(counts).for_each(|(low, count)| *low += count);
    }
    plot.axes("hours", "instances at work");
    figure(page, plot, &format!("Capacity over time by pool.{keys}"));
}

fn queue(page: &mut String, outcome: &Outcome) {
    let points: Vec<(f64, f64)> = outcome.samples.iter().map(|s| (hours(outcome, s), s.queue_s / 3600.0)).collect();
    let most = points.iter().map(|p| p.1).fold(0.1, f64::max);
    let mut plot = Plot::new(140.0, (0.0, span_h(outcome)), (0.0, most * 1.05));
    plot.line(&points, "var(--ink)");
    plot.axes("hours", "encode-hours");
    figure(page, plot, "Work that is not done.");
}

fn one_job(page: &mut String, outcome: &Outcome, fleet: &Fleet) {
    let timeline = &outcome.timeline;
    let Some(first) = timeline.spans.iter().map(|s| s.from).min() else { return };
    let last = timeline.spans.iter().map(|s| s.until).chain(timeline.done).max().unwrap_or(first);
    let most = timeline.spans.iter().map(|s| s.chunk).max().unwrap_or(0);
    let minutes = |at: crate::moment::Moment| at.since_s(first) / 60.0;
    let mut plot = Plot::new(180.0, (0.0, minutes(last).max(0.1)), (0.0, f64::from(most) + 1.0));
    for span in &timeline.spans {
        let colour = if span.done { colour(fleet, span.pool) } else { "var(--mark)" };
        plot.bar(minutes(span.from), minutes(span.until), f64::from(span.chunk), colour);
    }
    if let Some(playable) = timeline.playable {
        plot.vertical(minutes(playable), "watchable");
    }
    plot.axes("minutes after its first claim", "chunk");
    let done =
        timeline.done.map_or_else(|| "not done".to_owned(), |at| format!("done after {}", clock(at.since_s(first))));
    figure(page, plot, &format!("One job, number {}: each bar is a slot's time on a chunk; {done}.", timeline.arrival));
}

fn figure(page: &mut String, plot: Plot, caption: &str) {
    put(page, format_args!("<figure>{}<figcaption>{caption}</figcaption></figure>\n", plot.finish()));
}
