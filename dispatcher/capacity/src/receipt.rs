//! What a job cost, after the fact: instance time by pool, with the shares of boot and idle time, what interruptions
//! wasted, and transfer. The lines of all jobs add up to the ledger of the pools exactly, because each instance's bill is
//! split, never recomputed.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::moment::Moment;
use crate::money::{MicroDollars, split};
use crate::pools::PoolId;

/// Least time that is billed for an instance, milliseconds (EC2 bills by the second, the first minute whole).
const LEAST_BILLED_MS: u64 = 60_000;

/// The life of one instance.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InstanceUse {
    /// Pool.
    pub pool: PoolId,
    /// Its price.
    pub price_per_hour: MicroDollars,
    /// Chunks at once.
    pub slots: u32,
    /// When it was launched.
    pub launched: Moment,
    /// When its worker took work for the first time or could have; its end when it never did.
    pub ready: Moment,
    /// When it ended.
    pub ended: Moment,
    /// When its end was announced, if it was taken back: what is left of its time then is waste, not idleness.
    pub notice: Option<Moment>,
    /// What it did, an entry for each job.
    pub jobs: Vec<JobUse>,
}

/// What an instance did for a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobUse {
    /// Job.
    pub job: Uuid,
    /// Milliseconds of slots whose work was committed.
    pub useful_ms: u64,
    /// Milliseconds of slots whose work was lost.
    pub wasted_ms: u64,
}

/// What a job owes to one instance, or an instance that served none owes to nobody.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// Job.
    pub job: Option<Uuid>,
    /// Pool.
    pub pool: PoolId,
    /// Milliseconds of instance time that its committed work took.
    pub work_ms: u64,
    /// Milliseconds of the boot that are its share.
    pub boot_ms: u64,
    /// Milliseconds without work that are its share.
    pub idle_ms: u64,
    /// Milliseconds of lost work, and of the rest after an interruption was announced.
    pub waste_ms: u64,
    /// Price of its committed work.
    pub work: MicroDollars,
    /// Price of its share of the boot.
    pub boot: MicroDollars,
    /// Price of its share of the time without work.
    pub idle: MicroDollars,
    /// Price of what was lost.
    pub waste: MicroDollars,
}

impl Line {
    /// The whole of it.
    #[must_use]
    pub fn total(&self) -> MicroDollars {
        self.work + self.boot + self.idle + self.waste
    }

    /// Milliseconds of instance time in all.
    #[must_use]
    pub fn total_ms(&self) -> u64 {
        self.work_ms + self.boot_ms + self.idle_ms + self.waste_ms
    }

    /// Adds what another line says, whatever its job and pool.
    pub fn add(&mut self, other: &Self) {
        self.work_ms += other.work_ms;
        self.boot_ms += other.boot_ms;
        self.idle_ms += other.idle_ms;
        self.waste_ms += other.waste_ms;
        self.work += other.work;
        self.boot += other.boot;
        self.idle += other.idle;
        self.waste += other.waste;
    }
}

/// What a job cost.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// A line for each pool.
    pub lines: Vec<Line>,
    /// Moving the source to where it was encoded.
    pub transfer: MicroDollars,
}

impl Receipt {
    /// The whole of it.
    #[must_use]
    pub fn total(&self) -> MicroDollars {
        self.lines.iter().map(Line::total).sum::<MicroDollars>() + self.transfer
    }

    /// Adds a line, to that of the same pool when there is one.
    pub fn add(&mut self, line: Line) {
        match self.lines.iter_mut().find(|l| l.pool == line.pool) {
            Some(known) => known.add(&line),
            None => self.lines.push(line),
        }
    }
}

/// What a pool cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolAccount {
    /// Instances that ended.
    pub instances: u64,
    /// Their billed time, milliseconds.
    pub billed_ms: u64,
    /// What they cost.
    pub cost: MicroDollars,
}

/// The ledger of the pools.
pub type PoolLedger = BTreeMap<PoolId, PoolAccount>;

impl InstanceUse {
    /// Milliseconds that are billed; those of a machine that costs nothing are not rounded.
    #[must_use]
    pub fn billed_ms(&self) -> u64 {
        let there = self.ended.since_ms(self.launched);
        if self.price_per_hour == MicroDollars::ZERO {
            return there;
        }
        there.div_ceil(1000).saturating_mul(1000).max(LEAST_BILLED_MS)
    }

    /// What it cost.
    #[must_use]
    pub fn cost(&self) -> MicroDollars {
        self.price_per_hour.per_hour_for_ms(self.billed_ms())
    }

    /// Enters it into the ledger.
    pub fn enter(&self, ledger: &mut PoolLedger) {
        let account = ledger.entry(self.pool.clone()).or_default();
        account.instances += 1;
        account.billed_ms += self.billed_ms();
        account.cost += self.cost();
    }

    /// Its bill, split among the jobs that it served in proportion to the time that they had it. The lines add up to
    /// [`InstanceUse::cost`].
    #[must_use]
    pub fn lines(&self) -> Vec<Line> {
        let Bill { boot, busy, lost, idle } = self.bill();
        if self.jobs.is_empty() {
            return vec![self.line(None, busy, boot, idle, lost)];
        }
        let times = self.times();
        let (busy, boots, idles, losses) =
            (busy.split(&times), boot.split(&times), idle.split(&times), lost.split(&times));
        self.jobs
            .iter()
            .enumerate()
            .map(|(i, job)| {
                let parts = busy[i].split(&[job.useful_ms, job.wasted_ms]);
                self.line(Some(job.job), parts[0], boots[i], idles[i], losses[i].and(parts[1]))
            })
            .collect()
    }

    /// What its lines add up to, without making them.
    #[must_use]
    pub fn whole(&self) -> Line {
        let Bill { boot, busy, lost, idle } = self.bill();
        let mut wasted = Amount::default();
        if self.jobs.iter().any(|job| job.wasted_ms > 0) {
            for (job, share) in self.jobs.iter().zip(busy.split(&self.times())) {
                wasted = wasted.and(share.split(&[job.useful_ms, job.wasted_ms])[1]);
            }
        }
        self.line(None, busy.less(wasted), boot, idle, lost.and(wasted))
    }

    /// Time that each job had of its slots.
    fn times(&self) -> Vec<u64> {
        self.jobs.iter().map(|j| j.useful_ms + j.wasted_ms).collect()
    }

    fn bill(&self) -> Bill {
        let slots = u64::from(self.slots.max(1));
        let whole = self.billed_ms().saturating_mul(slots);
        let boot = self.ready.min(self.ended).since_ms(self.launched).saturating_mul(slots).min(whole);
        let busy: u64 = self.jobs.iter().map(|j| j.useful_ms + j.wasted_ms).sum::<u64>().min(whole - boot);
        let after_notice = self.notice.map_or(0, |at| self.ended.since_ms(at).saturating_mul(slots));
        let lost = after_notice.min(whole - boot - busy);
        let idle = whole - boot - busy - lost;
        let weights = [boot, busy, lost, idle];
        let cost = split(self.cost().0, &weights);
        let time = split(i64::try_from(self.billed_ms()).unwrap_or(i64::MAX), &weights);
        let [boot, busy, lost, idle] = [0, 1, 2, 3].map(|i| Amount { cost: cost[i], ms: time[i] });
        if self.jobs.is_empty() && self.notice.is_some() {
            // A boot that was interrupted before any work is waste as well.
            return Bill { boot: Amount::default(), busy, lost: lost.and(boot), idle };
        }
        Bill { boot, busy, lost, idle }
    }

    fn line(&self, job: Option<Uuid>, work: Amount, boot: Amount, idle: Amount, waste: Amount) -> Line {
        Line {
            job,
            pool: self.pool.clone(),
            work_ms: work.ms(),
            boot_ms: boot.ms(),
            idle_ms: idle.ms(),
            waste_ms: waste.ms(),
            work: MicroDollars(work.cost),
            boot: MicroDollars(boot.cost),
            idle: MicroDollars(idle.cost),
            waste: MicroDollars(waste.cost),
        }
    }
}

/// An instance's bill by what its time went into.
struct Bill {
    boot: Amount,
    /// Slots that had work, committed or not.
    busy: Amount,
    /// After an interruption was announced.
    lost: Amount,
    idle: Amount,
}

/// A part of an instance's bill: millionths of a dollar, and milliseconds.
#[derive(Clone, Copy, Debug, Default)]
struct Amount {
    cost: i64,
    ms: i64,
}

impl Amount {
    fn split(self, weights: &[u64]) -> Vec<Self> {
        let parts = split(self.cost, weights).into_iter().zip(split(self.ms, weights));
        parts.map(|(cost, ms)| Self { cost, ms }).collect()
    }

    fn and(self, other: Self) -> Self {
        Self { cost: self.cost + other.cost, ms: self.ms + other.ms }
    }

    fn less(self, other: Self) -> Self {
        Self { cost: self.cost - other.cost, ms: self.ms - other.ms }
    }

    fn ms(self) -> u64 {
        u64::try_from(self.ms).unwrap_or(0)
    }
}

/// Receipts of jobs as CSV, a row for each line and one for transfer, amounts in dollars with six places: sums over the
/// file are exact.
#[must_use]
pub fn csv<'a>(receipts: impl IntoIterator<Item = (&'a Uuid, &'a Receipt)>) -> String {
    let mut text =
        "job,pool,work_s,boot_s,idle_s,waste_s,work_usd,boot_usd,idle_usd,waste_usd,transfer_usd,total_usd\n"
            .to_owned();
    for (job, receipt) in receipts {
        for line in &receipt.lines {
            let seconds = [line.work_ms, line.boot_ms, line.idle_ms, line.waste_ms].map(|ms| ms as f64 / 1000.0);
            let [work_s, boot_s, idle_s, waste_s] = seconds;
            let [work, boot, idle, waste] = [line.work, line.boot, line.idle, line.waste].map(MicroDollars::exact);
            let (pool, none, total) = (&line.pool, MicroDollars::ZERO.exact(), line.total().exact());
            writeln!(
                text,
                "{job},{pool},{work_s},{boot_s},{idle_s},{waste_s},{work},{boot},{idle},{waste},{none},{total}"
            )
            .expect("a String takes everything");
        }
        if receipt.transfer != MicroDollars::ZERO {
            let transfer = receipt.transfer.exact();
            writeln!(text, "{job},transfer,,,,,,,,,{transfer},{transfer}").expect("a String takes everything");
        }
    }
    text
}

#[cfg(test)]
mod tests;
