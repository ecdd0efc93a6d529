//! The ledger of quotas: vCPUs that may run per region, family and option, and what is charged against them.

use crate::view::FleetView;

/// What is still free. Built from a view, then drawn from while deciding, so a decision never plans above a quota. Pools go
/// by their place in the view.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    /// One for each quota.
    accounts: Vec<Account>,
    entries: Vec<Entry>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Account {
    quota: u32,
    charged: u32,
}

/// What a pool draws from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    account: Option<usize>,
    vcpu: u32,
}

impl Ledger {
    /// The ledger of a view: every instance that is there or was asked for is charged, whatever it does.
    #[must_use]
    pub fn of(view: &FleetView) -> Self {
        let count = view.regions.iter().map(|region| region.quotas.len()).sum();
        let mut ledger = Self { accounts: Vec::with_capacity(count), entries: Vec::with_capacity(view.pools.len()) };
        let mut quotas = Vec::with_capacity(count);
        for region in &view.regions {
            for quota in &region.quotas {
                quotas.push((&region.name, quota));
                ledger.accounts.push(Account { quota: quota.vcpu, charged: 0 });
            }
        }
        for (place, view) in view.pools.iter().enumerate() {
            let pool = &view.pool;
            let account = quotas.iter().position(|(region, quota)| {
                quota.option == pool.option && **region == pool.region && quota.family == pool.family
            });
            ledger.entries.push(Entry { account, vcpu: pool.vcpu });
            ledger.charge(place, view.charged());
        }
        ledger
    }

    /// Instances of this pool that the quota still admits. None without an entry for it: no quota, no instances.
    #[must_use]
    pub fn room(&self, place: usize) -> u32 {
        let Entry { account, vcpu } = self.entries[place];
        account.map_or(0, |i| {
            let Account { quota, charged } = self.accounts[i];
            quota.saturating_sub(charged) / vcpu.max(1)
        })
    }

    /// Charges `count` instances of a pool.
    pub fn charge(&mut self, place: usize, count: u32) {
        let Entry { account, vcpu } = self.entries[place];
        if let Some(account) = account.map(|i| &mut self.accounts[i]) {
            account.charged = account.charged.saturating_add(vcpu.saturating_mul(count));
        }
    }
}
