//! A fixed share of each option, as the instances distribution of an auto-scaling group splits
//! (`OnDemandBaseCapacity`, `OnDemandPercentageAboveBaseCapacity`). It never falls back: what spot does not give is missing.

use super::{LONG_S, Parameter, want_within};
use crate::decide::{Cause, Desk, Need, rate_of};
use crate::pools::PurchaseOption;

/// A fixed share of each.
#[derive(Clone, Debug, PartialEq)]
pub struct StaticMix {
    /// On-demand instances before any spot, in each region.
    pub base: f64,
    /// Share of on-demand above the base, percent, rounded up to whole instances.
    pub pct: f64,
    /// Enough instances to work off what waits within this many seconds.
    pub within_s: f64,
}

impl Default for StaticMix {
    fn default() -> Self {
        Self { base: 1.0, pct: 0.0, within_s: 900.0 }
    }
}

impl StaticMix {
    pub(super) fn parameters(&mut self) -> Vec<Parameter<'_>> {
        vec![
            ("base", &mut self.base, 0.0..=100_000.0),
            ("pct", &mut self.pct, 0.0..=100.0),
            ("within_s", &mut self.within_s, 60.0..=LONG_S),
        ]
    }

    pub(super) fn apply(&self, desk: &mut Desk<'_>) {
        for r in 0..desk.regions.len() {
            let Some(want) = want_within(desk, r, self.within_s) else { continue };
            let rates = PurchaseOption::ALL.into_iter().flat_map(|o| desk.pools(r, o)).map(|(_, p)| rate_of(&p.pool));
            let Some(rate) = rates.filter(|rate| *rate > 0.0).reduce(f64::min) else { continue };
            let total = (want / rate).ceil().clamp(1.0, 1e6);
            let above = (total - self.base).max(0.0) * self.pct / 100.0;
            let on_demand = (self.base + above.ceil()).min(total) as u32;
            let spot = total as u32 - on_demand;
            for (option, share) in [(PurchaseOption::OnDemand, on_demand), (PurchaseOption::Spot, spot)] {
                let more = share.saturating_sub(desk.count(r, option));
                let missing = desk.start(r, option, Need::Count(more), Cause::Share);
                desk.note_short(r, missing * rate);
            }
        }
    }
}
