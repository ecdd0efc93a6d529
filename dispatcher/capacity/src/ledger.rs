//! The ledger of quotas: vCPUs that may run per region, family and option, and what is charged against them.

use crate::pools::{Pool, PurchaseOption, RegionName};
use crate::view::FleetView;

/// What is still free. Built from a view, then drawn from while deciding, so a decision never plans above a quota.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    accounts: Vec<Account>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Account {
    region: RegionName,
    family: String,
    option: PurchaseOption,
    quota: u32,
    charged: u32,
}

impl Ledger {
    /// The ledger of a view: every instance that is there or was asked for is charged, whatever it does.
    #[must_use]
    pub fn of(view: &FleetView) -> Self {
        let mut accounts = Vec::new();
        for region in &view.regions {
            for quota in &region.quotas {
                accounts.push(Account {
                    region: region.name.clone(),
                    family: quota.family.clone(),
                    option: quota.option,
                    quota: quota.vcpu,
                    charged: 0,
                });
            }
        }
        let mut ledger = Self { accounts };
        for pool in &view.pools {
            ledger.charge(&pool.pool, pool.charged());
        }
        ledger
    }

    /// Instances of this pool that the quota still admits. None without an entry for it: no quota, no instances.
    #[must_use]
    pub fn room(&self, pool: &Pool) -> u32 {
        self.account(pool).map_or(0, |i| {
            let free = self.accounts[i].quota.saturating_sub(self.accounts[i].charged);
            free / pool.vcpu.max(1)
        })
    }

    /// Charges `count` instances of a pool.
    pub fn charge(&mut self, pool: &Pool, count: u32) {
        if let Some(i) = self.account(pool) {
            let vcpu = pool.vcpu.saturating_mul(count);
            self.accounts[i].charged = self.accounts[i].charged.saturating_add(vcpu);
        }
    }

    fn account(&self, pool: &Pool) -> Option<usize> {
        self.accounts.iter().position(|a| a.region == pool.region && a.option == pool.option && a.family == pool.family)
    }
}
