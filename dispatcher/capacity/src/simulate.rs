//! The fleet in virtual time: the real [`crate::decide`], the real release order, the real state machines of jobs and
//! chunks, against recorded or made-up arrivals and spot markets. Nothing sleeps, nothing reads a clock: the same seed
//! gives the same bytes.
//!
//! Reading order: [`arrivals`] and [`market`] (what happens to the fleet) → [`engine`] (the events) → [`outcome`] (what
//! came of it) → [`oracle`] (what could have come of it at best) → [`comparison`] (policies side by side, a baseline) →
//! [`page`] (all of it for people).

pub mod arrivals;
pub mod comparison;
pub mod engine;
pub mod market;
pub mod oracle;
pub mod outcome;
pub mod page;
pub(crate) mod random;

pub use arrivals::{Arrival, Arrivals};
pub use engine::{Scenario, Settings, run};
pub use market::{Spot, Trace};
pub use outcome::Outcome;

#[cfg(test)]
mod tests;
