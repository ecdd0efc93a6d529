//! The report: what was measured and which rules hold.

use serde::Serialize;

use super::tally::Finding;
use super::view::Measured;

/// All rules with their verdicts; `report.json` is this.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// Counts of verdicts.
    pub summary: Summary,
    /// What was measured, per media playlist.
    pub renditions: Vec<Measured>,
    /// Every rule that is known, also those that do not apply.
    pub rules: Vec<RuleResult>,
}

/// Counts of verdicts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Obligatory rules that hold.
    pub must_passed: u32,
    /// Obligatory rules that are broken: the presentation must not be published.
    pub must_failed: u32,
    /// Recommendations that are followed.
    pub should_passed: u32,
    /// Recommendations that are not followed.
    pub should_warned: u32,
    /// Rules without an object here, or that a report cannot see.
    pub not_applicable: u32,
}

/// One rule on one presentation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RuleResult {
    /// Stable identifier: source and number or subject.
    pub id: &'static str,
    /// Whether the rule is obligatory.
    pub level: Level,
    /// The rule in a line.
    pub title: &'static str,
    /// What was found, for people.
    pub measured: String,
    /// What follows from it.
    pub verdict: Verdict,
}

/// How binding a rule is (RFC 2119).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// A presentation that breaks the rule is wrong.
    Must,
    /// A presentation that breaks the rule had better have a reason.
    Should,
}

/// What a rule says of a presentation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The rule holds.
    Pass,
    /// An obligatory rule is broken.
    Fail,
    /// A recommendation is not followed.
    Warn,
    /// The rule has no object here, or a report cannot see it.
    NotApplicable,
}

impl RuleResult {
    pub(super) fn new(id: &'static str, level: Level, title: &'static str, finding: Finding) -> Self {
        let (verdict, measured) = match (finding, level) {
            (Finding::Holds(measured), _) => (Verdict::Pass, measured),
            (Finding::Broken(measured), Level::Must) => (Verdict::Fail, measured),
            (Finding::Broken(measured), Level::Should) => (Verdict::Warn, measured),
            (Finding::NotApplicable(reason), _) => (Verdict::NotApplicable, reason),
        };
        Self { id, level, title, measured, verdict }
    }
}

impl Report {
    pub(super) fn new(renditions: Vec<Measured>, rules: Vec<RuleResult>) -> Self {
        let mut summary = Summary::default();
        for rule in &rules {
            let count = match (rule.verdict, rule.level) {
                (Verdict::Pass, Level::Must) => &mut summary.must_passed,
                (Verdict::Pass, Level::Should) => &mut summary.should_passed,
                (Verdict::Fail, _) => &mut summary.must_failed,
                (Verdict::Warn, _) => &mut summary.should_warned,
                (Verdict::NotApplicable, _) => &mut summary.not_applicable,
            };
            *count += 1;
        }
        Self { summary, renditions, rules }
    }

    /// Whether the presentation may be published: no obligatory rule is broken.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.summary.must_failed == 0
    }

    /// The broken obligatory rules with what was measured, in one line.
    #[must_use]
    pub fn failures(&self) -> String {
        let failed = self.rules.iter().filter(|rule| rule.verdict == Verdict::Fail);
        failed.map(|rule| format!("{} ({})", rule.id, rule.measured)).collect::<Vec<_>>().join("; ")
    }

    /// The rules that are broken, the obligatory ones first.
    pub fn broken(&self) -> impl Iterator<Item = &RuleResult> {
        let with = |verdict| self.rules.iter().filter(move |rule| rule.verdict == verdict);
        with(Verdict::Fail).chain(with(Verdict::Warn))
    }
}
