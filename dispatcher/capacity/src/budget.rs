//! What an organisation may spend in a calendar month, and what its cap stops.
//!
//! A job is admitted when what was spent, what admitted jobs will still cost and what it will cost itself fit under the
//! cap. What was admitted goes on; only when the cap is really spent does that wait too. So a match is not left half made
//! for the sake of an estimate, and what is spent beyond the cap is at most what was at work at that moment.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::money::MicroDollars;

/// Stable code of a cap that stops releases.
pub const CAP_REACHED: &str = "cap_reached";

/// What a coach is told.
pub const FOR_COACH: &str = "Your club's budget for this month is used up. The match waits, and goes on by itself when the \
    next month begins or the budget is raised.";

/// What an organisation has spent and may spend in a calendar month.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Budget {
    /// Its cap; without one, everything is admitted.
    pub cap: Option<MicroDollars>,
    /// Its share of the machines of this month, those that still run included.
    pub spent: MicroDollars,
    /// What its admitted jobs will likely still cost.
    pub committed: MicroDollars,
}

/// What a cap stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stop {
    /// Jobs that were not admitted.
    NewJobs,
    /// Whatever is not released yet.
    All,
}

impl Stop {
    /// The word in rows.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NewJobs => "new_jobs",
            Self::All => "all",
        }
    }

    /// Reads the word; `None` for one of a later version.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::NewJobs, Self::All].into_iter().find(|stop| stop.as_str() == word)
    }
}

/// The cap stops releases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CapReached {
    /// What there is.
    pub budget: Budget,
    /// What the first job that does not fit will likely cost; `None` when the cap itself is spent.
    pub next: Option<MicroDollars>,
    cap: MicroDollars,
}

impl CapReached {
    /// What it stops.
    #[must_use]
    pub const fn stops(&self) -> Stop {
        if self.next.is_some() { Stop::NewJobs } else { Stop::All }
    }
}

impl std::error::Error for CapReached {}

impl fmt::Display for CapReached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { budget, next, cap } = self;
        write!(f, "the monthly cap of {cap} is reached: {} spent, {} at work", budget.spent, budget.committed)?;
        if let Some(next) = next {
            write!(f, ", {next} asked")?;
        }
        f.write_str("; raise the cap or wait for next month")
    }
}

/// What a budget says to jobs that wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// So many of them are admitted, from the first on.
    pub admitted: usize,
    /// What is stopped, and why.
    pub reached: Option<CapReached>,
}

impl Budget {
    /// Which of the jobs that wait, given by what they will likely cost and in their order, may begin. A cheap job does not
    /// overtake a dear one: whoever is first in the order is first.
    #[must_use]
    pub fn verdict(self, waiting: &[MicroDollars]) -> Verdict {
        let Some(cap) = self.cap else { return Verdict { admitted: waiting.len(), reached: None } };
        if self.spent >= cap {
            return Verdict { admitted: 0, reached: Some(CapReached { budget: self, next: None, cap }) };
        }
        let mut budget = self;
        for (admitted, next) in waiting.iter().enumerate() {
            if budget.spent + budget.committed + *next > cap {
                return Verdict { admitted, reached: Some(CapReached { budget, next: Some(*next), cap }) };
            }
            budget.committed += *next;
        }
        Verdict { admitted: waiting.len(), reached: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BUDGET: Budget = Budget {
        cap: Some(MicroDollars(10_000_000)),
        spent: MicroDollars(9_000_000),
        committed: MicroDollars(800_000),
    };

    #[test]
    fn jobs_are_admitted_as_long_as_they_fit_and_the_cap_says_what_it_stops() {
        let verdict = BUDGET.verdict(&[MicroDollars(100_000), MicroDollars(100_001), MicroDollars(1)]);
        assert_eq!(verdict.admitted, 1, "what fits, in order; nobody overtakes");
        let reached = verdict.reached.unwrap();
        assert_eq!(reached.stops(), Stop::NewJobs);
        assert_eq!(
            reached.to_string(),
            "the monthly cap of $10.00 is reached: $9.00 spent, $0.90 at work, $0.10 asked; raise the cap or wait for next month"
        );
        assert_eq!(BUDGET.verdict(&[MicroDollars(200_000)]), Verdict { admitted: 1, reached: None });
    }

    #[test]
    fn a_cap_that_is_spent_stops_everything_and_no_cap_nothing() {
        let spent = Budget { spent: MicroDollars(10_000_000), ..BUDGET };
        let verdict = spent.verdict(&[]);
        assert_eq!((verdict.admitted, verdict.reached.map(|r| r.stops())), (0, Some(Stop::All)));
        let none = Budget { cap: None, ..spent };
        assert_eq!(none.verdict(&[MicroDollars(i64::MAX); 3]), Verdict { admitted: 3, reached: None });
        let zero = Budget { cap: Some(MicroDollars::ZERO), ..Budget::default() };
        assert_eq!(zero.verdict(&[MicroDollars::ZERO]).admitted, 0, "a cap of nothing admits nothing");
    }

    proptest! {
        #[test]
        fn what_is_admitted_fits_and_a_higher_cap_admits_no_less(
            cap in 0_i64..1_000, more in 0_i64..1_000, spent in 0_i64..1_000, committed in 0_i64..1_000,
            waiting in proptest::collection::vec(0_i64..300, 0..10),
        ) {
            let waiting: Vec<MicroDollars> = waiting.into_iter().map(MicroDollars).collect();
            let budget = |cap: i64| Budget {
                cap: Some(MicroDollars(cap)), spent: MicroDollars(spent), committed: MicroDollars(committed),
            };
            let verdict = budget(cap).verdict(&waiting);
            let sum: i64 = waiting[..verdict.admitted].iter().map(|m| m.0).sum();
            prop_assert!(verdict.admitted == 0 || spent + committed + sum <= cap);
            prop_assert_eq!(verdict.reached.is_none(), verdict.admitted == waiting.len() && spent < cap);
            prop_assert!(budget(cap + more).verdict(&waiting).admitted >= verdict.admitted);
        }
    }
}
