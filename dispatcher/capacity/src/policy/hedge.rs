//! As `deadline`, with spare spot instances, as serving systems overprovision: somebody is free when one is taken back, or
//! when a chunk is far slower than its siblings.

use super::{Deadline, Parameter};
use crate::decide::{Cause, Desk, Need};
use crate::pools::PurchaseOption;

/// Spares.
#[derive(Clone, Debug, PartialEq)]
pub struct Hedge {
    /// Spot instances beyond what is needed, in each region with work.
    pub extra: f64,
    /// All else.
    pub deadline: Deadline,
}

impl Default for Hedge {
    fn default() -> Self {
        Self { extra: 1.0, deadline: Deadline::default() }
    }
}

impl Hedge {
    pub(super) fn parameters(&mut self) -> Vec<Parameter<'_>> {
        let mut parameters = vec![("extra", &mut self.extra, 0.0..=1000.0)];
        parameters.extend(self.deadline.parameters());
        parameters
    }

    pub(super) fn apply(&self, desk: &mut Desk<'_>) {
        let before: Vec<u32> = (0..desk.regions.len()).map(|r| desk.count(r, PurchaseOption::Spot)).collect();
        self.deadline.apply(desk);
        for (r, before) in before.into_iter().enumerate() {
            let after = desk.count(r, PurchaseOption::Spot);
            // Spares come with the first instances, so that they are not added again at every decision.
            if after > before && before == 0 {
                desk.start(r, PurchaseOption::Spot, Need::Count(self.extra as u32), Cause::Spare);
            }
        }
    }
}
