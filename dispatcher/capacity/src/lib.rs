//! Which machines a fleet needs, and what they cost. Pure: no clock, no network, no database; the same input gives the
//! same answer, in the dispatcher and in the simulator.
//!
//! Reading order:
//! 1. [`moment`] and [`money`]: time in milliseconds, money in millionths of a dollar.
//! 2. [`pools`]: `fleet.toml` as validated data. A pool is (region, instance type, spot or on-demand): the unit of
//!    capacity and of failure.
//! 3. [`view`]: what `observe` sees of the fleet; [`memory`]: which pools failed, why, and for how long that counts.
//! 4. [`policy`]: the named rules; [`decide`]: from a view to actions with reasons; [`ledger`]: quotas.
//! 5. [`estimate`]: work in encode-seconds; [`rates`]: how fast it was done; [`quote`] before a job, [`receipt`] after it;
//!    [`budget`]: what an organisation may spend.
//! 6. [`release_order`]: the fair order of waiting chunks, as the store's SQL has it.
//! 7. [`simulate`]: all of this in virtual time.

pub mod budget;
pub mod decide;
pub mod estimate;
pub mod ledger;
pub mod memory;
pub mod moment;
pub mod money;
pub mod policy;
pub mod pools;
pub mod quote;
pub mod rates;
pub mod receipt;
pub mod release_order;
pub mod simulate;
pub mod view;
