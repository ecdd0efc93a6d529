//! What a rule finds.

/// Outcome of one rule, before its level makes a verdict of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Finding {
    /// The rule holds; what was measured.
    Holds(String),
    /// The rule is broken; where and how.
    Broken(String),
    /// The rule has no object here, or it cannot be seen; why.
    NotApplicable(String),
}

/// Collects the objects that a rule looked at.
#[derive(Debug, Default)]
pub(super) struct Tally {
    checked: usize,
    broken: usize,
    shown: Vec<String>,
}

/// Faults that are quoted; the others are counted.
const SHOWN: usize = 4;

impl Tally {
    /// Looks at one object.
    pub(super) fn check(&mut self, holds: bool, fault: impl FnOnce() -> String) {
        self.checked += 1;
        if !holds {
            self.broken += 1;
            if self.shown.len() < SHOWN {
                self.shown.push(fault());
            }
        }
    }

    /// The finding: `nothing` when no object was looked at, else the faults or what was `measured`.
    pub(super) fn finish(self, measured: impl FnOnce() -> String, nothing: &str) -> Finding {
        if self.checked == 0 {
            return Finding::NotApplicable(nothing.to_owned());
        }
        if self.broken == 0 {
            return Finding::Holds(measured());
        }
        let mut text = self.shown.join("; ");
        if self.broken > self.shown.len() {
            text.push_str(&format!("; and {} more", self.broken - self.shown.len()));
        }
        Finding::Broken(text)
    }

    /// As [`finish`](Self::finish), with the number of objects as what was measured.
    pub(super) fn finish_counted(self, objects: &str, nothing: &str) -> Finding {
        let count = self.checked;
        self.finish(|| format!("{count} {objects}"), nothing)
    }
}
