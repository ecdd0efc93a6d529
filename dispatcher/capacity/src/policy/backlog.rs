//! Backlog per instance, AWS's advice for scaling on a queue: as many instances as bring what waits down to an
//! acceptable wait. The cheapest pools first, whatever their option; pools that failed are passed over.

use super::{LONG_S, Parameter, want_within};
use crate::decide::{Desk, Need};
use crate::pools::PurchaseOption;

/// As many as keep the wait acceptable.
#[derive(Clone, Debug, PartialEq)]
pub struct Backlog {
    /// Seconds of work that may wait for each instance.
    pub acceptable_wait_s: f64,
}

impl Default for Backlog {
    fn default() -> Self {
        Self { acceptable_wait_s: 900.0 }
    }
}

impl Backlog {
    pub(super) fn parameters(&mut self) -> Vec<Parameter<'_>> {
        vec![("acceptable_wait_s", &mut self.acceptable_wait_s, 60.0..=LONG_S)]
    }

    pub(super) fn apply(&self, desk: &mut Desk<'_>) {
        for r in 0..desk.regions.len() {
            let Some(want) = want_within(desk, r, self.acceptable_wait_s) else { continue };
            let mut missing = want - desk.have(r);
            for option in PurchaseOption::ALL {
                missing = desk.start(r, option, Need::Rate(missing), desk.cause(r));
            }
            desk.note_short(r, missing);
        }
    }
}
