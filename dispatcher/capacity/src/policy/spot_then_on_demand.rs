//! Spot first, and on-demand for what spot does not give once work has waited long enough; with no wait this is
//! Karpenter's order.

use super::{LONG_S, Parameter, want_within};
use crate::decide::{Cause, Desk, Need};
use crate::pools::PurchaseOption;

/// Spot, and on-demand for work that has waited.
#[derive(Clone, Debug, PartialEq)]
pub struct SpotThenOnDemand {
    /// Seconds that work waits for spot.
    pub wait_s: f64,
    /// Enough instances to work off what waits within this many seconds.
    pub within_s: f64,
}

impl Default for SpotThenOnDemand {
    fn default() -> Self {
        Self { wait_s: 300.0, within_s: 900.0 }
    }
}

impl SpotThenOnDemand {
    pub(super) fn parameters(&mut self) -> Vec<Parameter<'_>> {
        vec![("wait_s", &mut self.wait_s, 0.0..=LONG_S), ("within_s", &mut self.within_s, 60.0..=LONG_S)]
    }

    pub(super) fn apply(&self, desk: &mut Desk<'_>) {
        for r in 0..desk.regions.len() {
            let Some(want) = want_within(desk, r, self.within_s) else { continue };
            let missing = want - desk.have(r);
            let missing = desk.start(r, PurchaseOption::Spot, Need::Rate(missing), desk.cause(r));
            let oldest = desk.regions[r].loads.iter().map(|l| l.submitted).min();
            let waited_s = oldest.map_or(0.0, |at| desk.now.since_s(at));
            if waited_s < self.wait_s {
                desk.note_short(r, missing);
                continue;
            }
            let cause = Cause::SpotWaited { waited_s };
            let missing = desk.start(r, PurchaseOption::OnDemand, Need::Rate(missing), cause);
            desk.note_short(r, missing);
        }
    }
}
