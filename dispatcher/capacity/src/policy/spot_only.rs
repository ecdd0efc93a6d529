//! Spot instances only: the lowest price, and misses whenever the market is empty.

use super::{LONG_S, Parameter, want_within};
use crate::decide::{Desk, Need};
use crate::pools::PurchaseOption;

/// Spot instances only.
#[derive(Clone, Debug, PartialEq)]
pub struct SpotOnly {
    /// Enough instances to work off what waits within this many seconds.
    pub within_s: f64,
}

impl Default for SpotOnly {
    fn default() -> Self {
        Self { within_s: 900.0 }
    }
}

impl SpotOnly {
    pub(super) fn parameters(&mut self) -> Vec<Parameter<'_>> {
        vec![("within_s", &mut self.within_s, 60.0..=LONG_S)]
    }

    pub(super) fn apply(&self, desk: &mut Desk<'_>) {
        for r in 0..desk.regions.len() {
            let Some(want) = want_within(desk, r, self.within_s) else { continue };
            let missing = want - desk.have(r);
            let missing = desk.start(r, PurchaseOption::Spot, Need::Rate(missing), desk.cause(r));
            desk.note_short(r, missing);
        }
    }
}
