//! The named rules by which capacity is bought, as data: swapped in `fleet.toml`, compared in the simulator.
//!
//! Written as `name` or `name:parameter=value,…`; all parameters have defaults.

mod backlog;
mod deadline;
mod hedge;
mod on_demand_only;
mod spot_only;
mod spot_then_on_demand;
mod static_mix;
mod stragglers;

use std::fmt;
use std::ops::RangeInclusive;

pub use backlog::Backlog;
pub use deadline::{Deadline, Pace};
pub use hedge::Hedge;
pub use on_demand_only::OnDemandOnly;
pub use spot_only::SpotOnly;
pub use spot_then_on_demand::SpotThenOnDemand;
pub use static_mix::StaticMix;

use crate::decide::Desk;
use crate::pools::PurchaseOption;

/// Seconds a month, for parameters that have no other bound.
const LONG_S: f64 = 2_678_400.0;

/// A rule with what all rules share.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// The rule.
    pub rule: Rule,
    /// An instance without work ends after this many seconds.
    pub idle_after_s: f64,
    /// Ready-by of jobs that name none, seconds after they were handed in.
    pub ready_within_s: f64,
    /// Whether work may leave the region of its source when that has no worker (then it pays for transfer): 1 or 0.
    pub travel: f64,
}

/// A rule.
#[derive(Clone, Debug, PartialEq)]
pub enum Rule {
    /// On-demand instances only.
    OnDemandOnly(OnDemandOnly),
    /// Spot instances only.
    SpotOnly(SpotOnly),
    /// A fixed share of each, as an auto-scaling group splits.
    StaticMix(StaticMix),
    /// As many as keep the wait acceptable, the cheapest first.
    Backlog(Backlog),
    /// Spot, and on-demand for work that has waited.
    SpotThenOnDemand(SpotThenOnDemand),
    /// Spot as long as every ready-by can be met, on-demand as a safety net.
    Deadline(Deadline),
    /// As `deadline`, with spares.
    Hedge(Hedge),
}

/// Why the text of a policy cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// No such rule.
    #[error("no policy {0:?}; there are {names}", names = Rule::NAMES.join(", "))]
    UnknownRule(String),
    /// No such parameter.
    #[error("policy {rule} has no parameter {parameter:?}; it has {known}")]
    UnknownParameter {
        /// Rule.
        rule: &'static str,
        /// What was given.
        parameter: String,
        /// What there is.
        known: String,
    },
    /// Not a number within bounds.
    #[error("policy {rule}: {parameter} is a number from {low} to {high}, not {given}")]
    OutOfRange {
        /// Rule.
        rule: &'static str,
        /// Parameter.
        parameter: &'static str,
        /// Least value.
        low: String,
        /// Greatest value.
        high: String,
        /// What was given.
        given: String,
    },
}

/// A parameter: its name, where it is kept, and its bounds.
pub(crate) type Parameter<'a> = (&'static str, &'a mut f64, RangeInclusive<f64>);

impl Rule {
    /// Names of all rules.
    pub const NAMES: [&'static str; 8] = [
        "on_demand_only",
        "spot_only",
        "static_mix",
        "backlog",
        "spot_then_on_demand",
        "greedy_deadline",
        "deadline",
        "hedge",
    ];

    /// The rule of this name with its defaults.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            "on_demand_only" => Self::OnDemandOnly(OnDemandOnly::default()),
            "spot_only" => Self::SpotOnly(SpotOnly::default()),
            "static_mix" => Self::StaticMix(StaticMix::default()),
            "backlog" => Self::Backlog(Backlog::default()),
            "spot_then_on_demand" => Self::SpotThenOnDemand(SpotThenOnDemand::default()),
            "greedy_deadline" => Self::Deadline(Deadline { pace: Pace::Latest, ..Deadline::default() }),
            "deadline" => Self::Deadline(Deadline::default()),
            "hedge" => Self::Hedge(Hedge::default()),
            _ => return None,
        })
    }

    /// Its name.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::OnDemandOnly(_) => "on_demand_only",
            Self::SpotOnly(_) => "spot_only",
            Self::StaticMix(_) => "static_mix",
            Self::Backlog(_) => "backlog",
            Self::SpotThenOnDemand(_) => "spot_then_on_demand",
            Self::Deadline(Deadline { pace: Pace::Latest, .. }) => "greedy_deadline",
            Self::Deadline(_) => "deadline",
            Self::Hedge(_) => "hedge",
        }
    }

    /// Whether it looks at chunks at work, to do something about stragglers.
    #[must_use]
    pub fn looks_at_chunks(&self) -> bool {
        match self {
            Self::Deadline(rule) | Self::Hedge(Hedge { deadline: rule, .. }) => rule.slower > 0.0,
            _ => false,
        }
    }

    /// Whether it ever starts instances of this option.
    #[must_use]
    pub const fn uses(&self, option: PurchaseOption) -> bool {
        match self {
            Self::OnDemandOnly(_) => matches!(option, PurchaseOption::OnDemand),
            Self::SpotOnly(_) => matches!(option, PurchaseOption::Spot),
            Self::StaticMix(_) | Self::Backlog(_) | Self::SpotThenOnDemand(_) | Self::Deadline(_) | Self::Hedge(_) => {
                true
            }
        }
    }

    pub(crate) fn apply(&self, desk: &mut Desk<'_>) {
        match self {
            Self::OnDemandOnly(rule) => rule.apply(desk),
            Self::SpotOnly(rule) => rule.apply(desk),
            Self::StaticMix(rule) => rule.apply(desk),
            Self::Backlog(rule) => rule.apply(desk),
            Self::SpotThenOnDemand(rule) => rule.apply(desk),
            Self::Deadline(rule) => rule.apply(desk),
            Self::Hedge(rule) => rule.apply(desk),
        }
    }

    fn parameters(&mut self) -> Vec<Parameter<'_>> {
        match self {
            Self::OnDemandOnly(rule) => rule.parameters(),
            Self::SpotOnly(rule) => rule.parameters(),
            Self::StaticMix(rule) => rule.parameters(),
            Self::Backlog(rule) => rule.parameters(),
            Self::SpotThenOnDemand(rule) => rule.parameters(),
            Self::Deadline(rule) => rule.parameters(),
            Self::Hedge(rule) => rule.parameters(),
        }
    }
}

/// The rate at which a region's work is done within `within_s`; `None` without work.
fn want_within(desk: &mut Desk<'_>, r: usize, within_s: f64) -> Option<f64> {
    if desk.regions[r].loads.is_empty() {
        return None;
    }
    let want = desk.regions[r].work_s / within_s;
    desk.note_load(r, want);
    Some(want)
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            rule: Rule::Deadline(Deadline::default()),
            idle_after_s: 60.0,
            ready_within_s: 4.0 * 3600.0,
            travel: 1.0,
        }
    }
}

impl Policy {
    /// Another rule with the same times.
    #[must_use]
    pub fn with(&self, rule: Rule) -> Self {
        Self { rule, ..*self }
    }

    /// Reads `name` or `name:parameter=value,…`; the rest is as in `self`.
    ///
    /// # Errors
    /// [`PolicyError`].
    pub fn parsed(&self, text: &str) -> Result<Self, PolicyError> {
        let (name, parameters) = text.split_once(':').unwrap_or((text, ""));
        let rule = Rule::named(name.trim()).ok_or_else(|| PolicyError::UnknownRule(name.trim().to_owned()))?;
        let mut policy = self.with(rule);
        for pair in parameters.split(',').map(str::trim).filter(|p| !p.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            policy.set(key.trim(), value.trim())?;
        }
        Ok(policy)
    }

    /// Whether work may leave the region of its source.
    #[must_use]
    pub fn travels(&self) -> bool {
        self.travel >= 0.5
    }

    fn parameters(&mut self) -> Vec<Parameter<'_>> {
        let mut parameters = self.rule.parameters();
        parameters.push(("idle_after_s", &mut self.idle_after_s, 0.0..=LONG_S));
        parameters.push(("ready_within_s", &mut self.ready_within_s, 60.0..=LONG_S));
        parameters.push(("travel", &mut self.travel, 0.0..=1.0));
        parameters
    }

    /// Sets one parameter.
    ///
    /// # Errors
    /// There is none of this name, or the value is out of bounds.
    pub fn set(&mut self, key: &str, value: &str) -> Result<(), PolicyError> {
        let rule = self.rule.name();
        let mut parameters = self.parameters();
        let Some(place) = parameters.iter().position(|(name, ..)| *name == key) else {
            let known: Vec<&str> = parameters.iter().map(|(name, ..)| *name).collect();
            return Err(PolicyError::UnknownParameter { rule, parameter: key.to_owned(), known: known.join(", ") });
        };
        let (parameter, kept, bounds) = parameters.swap_remove(place);
        match value.parse::<f64>() {
            Ok(number) if bounds.contains(&number) => *kept = number,
            _ => {
                let (low, high) = (bounds.start().to_string(), bounds.end().to_string());
                return Err(PolicyError::OutOfRange { rule, parameter, low, high, given: value.to_owned() });
            }
        }
        Ok(())
    }
}

impl fmt::Display for Policy {
    /// The name, with those parameters that are not the default.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.rule.name())?;
        let Some(rule) = Rule::named(self.rule.name()) else { return Ok(()) };
        let (mut own, mut usual) = (self.clone(), Self { rule, ..Self::default() });
        let mut sign = ':';
        for ((name, value, _), (_, default, _)) in own.parameters().into_iter().zip(usual.parameters()) {
            if *value != *default {
                write!(f, "{sign}{name}={value}")?;
                sign = ',';
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_gives_its_rule_and_reads_back() {
        for name in Rule::NAMES {
            let policy = Policy::default().parsed(name).unwrap();
            assert_eq!(policy.rule.name(), name);
            assert_eq!(policy.to_string(), name);
        }
        let mix = Policy::default().parsed("static_mix: base=2, pct=40").unwrap();
        assert_eq!(mix.to_string(), "static_mix:base=2,pct=40");
        assert_eq!(Policy::default().parsed(&mix.to_string()).unwrap(), mix);
    }

    #[test]
    fn what_is_wrong_is_said_with_what_there_is() {
        let said = |text: &str| Policy::default().parsed(text).unwrap_err().to_string();
        assert!(said("cheapest").contains("there are on_demand_only, spot_only"), "{}", said("cheapest"));
        assert!(said("static_mix:bass=1").contains("no parameter \"bass\"; it has base, pct, within_s"));
        for bad in ["NaN", "-1", "101", "", "inf"] {
            assert!(said(&format!("static_mix:pct={bad}")).contains("from 0 to 100"), "{bad}");
        }
    }
}
