//! Machines that are only counted: for tests of what asks for them. They are there at once, unless a pool is told to fail.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use capacity::memory::FailureKind;
use capacity::pools::{InstanceId, Pool, PoolId, RegionName};
use time::OffsetDateTime;

use super::provider::{Capacity, CapacityError, LaunchFailure, Shown, ShownInstance};

/// Counted machines.
#[derive(Debug, Default)]
pub struct SimulatedCapacity {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    pools: BTreeMap<PoolId, Simulated>,
    failing: BTreeMap<PoolId, FailureKind>,
    cut_off: Option<RegionName>,
    /// Names that were given.
    number: u64,
}

#[derive(Debug, Default)]
struct Simulated {
    wanted: u32,
    instances: Vec<InstanceId>,
    failures: Vec<LaunchFailure>,
}

impl SimulatedCapacity {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets launches in a pool fail from now on, or work again.
    pub fn fail(&self, pool: &PoolId, kind: Option<FailureKind>) {
        let mut state = self.state();
        match kind {
            Some(kind) => state.failing.insert(pool.clone(), kind),
            None => state.failing.remove(pool),
        };
    }

    /// Lets a region not answer.
    pub fn cut_off(&self, region: Option<RegionName>) {
        self.state().cut_off = region;
    }

    /// Takes an instance away as a provider does: the pool is asked for as many as before.
    pub fn take_away(&self, instance: &InstanceId) {
        for pool in self.state().pools.values_mut() {
            pool.instances.retain(|i| i != instance);
        }
    }
}

impl State {
    fn settle(&mut self, id: &PoolId) {
        let failing = self.failing.get(id).copied();
        let pool = self.pools.entry(id.clone()).or_default();
        while pool.instances.len() < pool.wanted as usize {
            self.number += 1;
            if let Some(kind) = failing {
                pool.failures.push(LaunchFailure {
                    try_id: format!("try-{}", self.number),
                    kind,
                    message: kind.to_string(),
                    at: OffsetDateTime::now_utc(),
                });
                return;
            }
            pool.instances.push(InstanceId::from(format!("i-{:08x}", self.number).as_str()));
        }
    }
}

#[async_trait]
impl Capacity for SimulatedCapacity {
    async fn look(&self, region: &RegionName, pools: &[Arc<Pool>]) -> Result<Vec<Shown>, CapacityError> {
        let mut state = self.state();
        if state.cut_off.as_ref() == Some(region) {
            return Err(CapacityError::Unavailable { what: region.to_string(), reason: "cut off".to_owned() });
        }
        let shown = pools.iter().map(|pool| {
            state.settle(&pool.id);
            let simulated = &state.pools[&pool.id];
            let instances = simulated.instances.iter().map(|id| ShownInstance { id: id.clone(), ending: false });
            Shown { pool: pool.id.clone(), wanted: simulated.wanted, instances: instances.collect() }
        });
        Ok(shown.collect())
    }

    async fn ask_for(&self, pool: &Pool, total: u32) -> Result<(), CapacityError> {
        self.state().pools.entry(pool.id.clone()).or_default().wanted = total;
        self.state().settle(&pool.id);
        Ok(())
    }

    async fn retire(&self, _: &Pool, _: &InstanceId) -> Result<(), CapacityError> {
        Ok(())
    }

    async fn end(&self, pool: &Pool, instance: &InstanceId) -> Result<(), CapacityError> {
        let mut state = self.state();
        let simulated = state.pools.entry(pool.id.clone()).or_default();
        let before = simulated.instances.len();
        simulated.instances.retain(|i| i != instance);
        if simulated.instances.len() < before {
            simulated.wanted = simulated.wanted.saturating_sub(1);
        }
        Ok(())
    }

    async fn failures(&self, pool: &Pool) -> Result<Vec<LaunchFailure>, CapacityError> {
        Ok(self.state().pools.get(&pool.id).map(|p| p.failures.clone()).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scaling::conformance::conformance;

    #[tokio::test]
    async fn keeps_what_providers_promise() {
        let fleet = capacity::pools::Fleet::parse(include_str!("../../../infra/fleet.toml")).unwrap();
        conformance(&SimulatedCapacity::default(), &fleet.pools[0]).await;
    }
}
