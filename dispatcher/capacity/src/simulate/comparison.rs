//! Policies side by side: a table for people, JSON for programs, and whether they became worse than a baseline.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde::{Deserialize, Serialize};

use super::engine::{Scenario, run};
use super::oracle::{Bound, bound};
use super::outcome::{Outcome, Percentiles};
use crate::money::MicroDollars;
use crate::policy::Policy;

/// A cost or a time that is higher than the baseline's by no more than this share counts as the same.
const TOLERANCE: f64 = 0.02;

/// Outcomes of one scenario.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// What was run, as typed.
    pub command: String,
    /// Seed.
    pub seed: u64,
    /// In the order in which policies were named.
    pub outcomes: Vec<Outcome>,
    /// What somebody who knows the future would pay, when nobody had to boot anything.
    pub bound: Bound,
}

impl Comparison {
    /// Runs a scenario under each policy, as many at once as the machine has cores.
    #[must_use]
    pub fn run(scenario: &Scenario, policies: &[Policy], command: String) -> Self {
        let next = AtomicUsize::new(0);
        let outcomes = Mutex::new(BTreeMap::new());
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        std::thread::scope(|scope| {
            for _ in 0..cores.min(policies.len()) {
                scope.spawn(|| {
                    while let Some((i, policy)) =
                        Some(next.fetch_add(1, Ordering::Relaxed)).and_then(|i| Some((i, policies.get(i)?)))
                    {
                        let outcome = run(scenario, policy);
                        outcomes.lock().unwrap_or_else(std::sync::PoisonError::into_inner).insert(i, outcome);
                    }
                });
            }
        });
        let outcomes = outcomes.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        Self {
            command,
            seed: scenario.seed,
            outcomes: outcomes.into_values().collect(),
            bound: bound(scenario, &scenario.fleet.policy),
        }
    }

    /// The table, as Markdown.
    #[must_use]
    pub fn table(&self) -> String {
        let heading = [
            "policy",
            "$/match",
            "$/month",
            "missed",
            "wait p50/p95/p99",
            "playable p50/p95/p99",
            "done p50/p95/p99",
            "taken back",
            "spot h",
            "on-demand h",
            "boot",
            "idle",
            "waste",
            "transfer",
        ];
        let mut rows = vec![heading.map(str::to_owned).to_vec()];
        rows.extend(self.outcomes.iter().map(row));
        let widths: Vec<usize> =
            (0..heading.len()).map(|c| rows.iter().map(|r| r[c].chars().count()).max().unwrap_or(0)).collect();
        let mut text = String::new();
        for (i, row) in rows.iter().enumerate() {
            let cells = row.iter().zip(&widths).enumerate();
            let cells = cells.map(|(c, (cell, w))| if c == 0 { format!("{cell:<w$}") } else { format!("{cell:>w$}") });
            writeln!(text, "| {} |", cells.collect::<Vec<_>>().join(" | ")).expect("a String takes everything");
            if i == 0 {
                let lines = widths.iter().enumerate();
                let lines = lines.map(|(c, w)| if c == 0 { "-".repeat(*w) } else { format!("{}:", "-".repeat(w - 1)) });
                writeln!(text, "| {} |", lines.collect::<Vec<_>>().join(" | ")).expect("a String takes everything");
            }
        }
        text
    }

    /// What is left to say below the table.
    #[must_use]
    pub fn notes(&self) -> String {
        let Bound { usd, spot_s, on_demand_s, late_s } = self.bound;
        let jobs = self.outcomes.first().map_or(1, |o| o.jobs).max(1) as f64;
        let mut text = format!(
            "lower bound (knows the future, boots and idle time free): ${:.4} a match, {:.0} % of the work on spot",
            usd / jobs,
            100.0 * spot_s / (spot_s + on_demand_s).max(f64::MIN_POSITIVE)
        );
        if late_s > 1.0 {
            write!(text, "; {late_s:.0} encode-seconds cannot be done in time by anybody")
                .expect("a String takes everything");
        }
        text.push('\n');
        text
    }

    /// Where this is worse than `baseline`, a sentence each. A policy is compared with itself; one that the baseline does
    /// not have, since its parameters are what was changed, with the one in its place.
    ///
    /// # Errors
    /// The baseline is of another scenario, or has nothing to compare a policy with.
    pub fn worse_than(&self, baseline: &Self) -> Result<Vec<String>, String> {
        let mut worse = Vec::new();
        for (place, outcome) in self.outcomes.iter().enumerate() {
            let same = baseline.outcomes.iter().find(|o| o.policy == outcome.policy);
            let as_many = baseline.outcomes.len() == self.outcomes.len();
            let Some(before) = same.or_else(|| baseline.outcomes.get(place).filter(|_| as_many)) else {
                let had: Vec<&str> = baseline.outcomes.iter().map(|o| o.policy.as_str()).collect();
                return Err(format!(
                    "the baseline has {}, and nothing to compare {} with",
                    had.join(" and "),
                    outcome.policy
                ));
            };
            if before.jobs != outcome.jobs || baseline.seed != self.seed {
                return Err(format!(
                    "the baseline is of another scenario: {} jobs with seed {}, not {} with seed {}",
                    before.jobs, baseline.seed, outcome.jobs, self.seed
                ));
            }
            let policy = &outcome.policy;
            if outcome.missed > before.missed {
                worse.push(format!("{policy}: {} jobs miss their ready-by, {} before", outcome.missed, before.missed));
            }
            let higher = |now: f64, then: f64| now > then * (1.0 + TOLERANCE) + 1e-9;
            if higher(outcome.usd_per_job, before.usd_per_job) {
                worse.push(format!(
                    "{policy}: a match costs ${:.4}, ${:.4} before",
                    outcome.usd_per_job, before.usd_per_job
                ));
            }
            if higher(outcome.done_s.p95, before.done_s.p95) {
                let (now, then) = (outcome.done_s.p95, before.done_s.p95);
                worse.push(format!("{policy}: 95 of 100 are done after {}, {} before", clock(now), clock(then)));
            }
        }
        Ok(worse)
    }
}

fn row(o: &Outcome) -> Vec<String> {
    let total = o.costs.total().usd().max(f64::MIN_POSITIVE);
    let share = |part: MicroDollars| format!("{:.1} %", 100.0 * part.usd() / total);
    let times = |p: Percentiles| format!("{} / {} / {}", clock(p.p50), clock(p.p95), clock(p.p99));
    vec![
        o.policy.clone(),
        format!("{:.4}", o.usd_per_job),
        format!("{:.2}", o.usd_per_month),
        format!("{:.2} %", o.missed_pct()),
        times(o.wait_s),
        times(o.playable_s),
        times(o.done_s),
        o.interruptions.to_string(),
        format!("{:.1}", o.spot_hours),
        format!("{:.1}", o.on_demand_hours),
        share(o.costs.boot),
        share(o.costs.idle),
        share(o.costs.waste),
        share(o.costs.transfer),
    ]
}

/// Seconds as `M:SS` or `H:MM:SS`.
pub(super) fn clock(seconds: f64) -> String {
    let whole = seconds.round().max(0.0) as u64;
    let (hours, minutes, seconds) = (whole / 3600, whole / 60 % 60, whole % 60);
    if hours > 0 { format!("{hours}:{minutes:02}:{seconds:02}") } else { format!("{minutes}:{seconds:02}") }
}
