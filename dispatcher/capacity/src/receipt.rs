//! What a job cost, after the fact: instance time by pool, with the shares of boot and idle time, what interruptions
//! wasted, and transfer. The lines of all jobs add up to the ledger of the pools exactly, because each instance's bill is
//! split, never recomputed.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::moment::Moment;
use crate::money::MicroDollars;
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
    /// Price of those.
    pub work: MicroDollars,
    /// Share of the boot.
    pub boot: MicroDollars,
    /// Share of the time without work.
    pub idle: MicroDollars,
    /// Lost work, and the rest of the time after an interruption was announced.
    pub waste: MicroDollars,
}

impl Line {
    /// The whole of it.
    #[must_use]
    pub fn total(&self) -> MicroDollars {
        self.work + self.boot + self.idle + self.waste
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
            Some(known) => {
                known.work_ms += line.work_ms;
                known.work += line.work;
                known.boot += line.boot;
                known.idle += line.idle;
                known.waste += line.waste;
            }
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
    /// Milliseconds that are billed.
    #[must_use]
    pub fn billed_ms(&self) -> u64 {
        self.ended.since_ms(self.launched).div_ceil(1000).saturating_mul(1000).max(LEAST_BILLED_MS)
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
        let slots = u64::from(self.slots.max(1));
        let whole = self.billed_ms().saturating_mul(slots);
        let boot = self.ready.min(self.ended).since_ms(self.launched).saturating_mul(slots).min(whole);
        let busy: u64 = self.jobs.iter().map(|j| j.useful_ms + j.wasted_ms).sum::<u64>().min(whole - boot);
        let after_notice = self.notice.map_or(0, |at| self.ended.since_ms(at).saturating_mul(slots));
        let lost = after_notice.min(whole - boot - busy);
        let idle = whole - boot - busy - lost;
        let shares = self.cost().split(&[boot, busy, lost, idle]);
        let (boot, busy, lost, idle) = (shares[0], shares[1], shares[2], shares[3]);
        let line = |job, work_ms, work, boot, idle, waste| Line {
            job,
            pool: self.pool.clone(),
            work_ms,
            work,
            boot,
            idle,
            waste,
        };
        if self.jobs.is_empty() {
            // A boot that was interrupted before any work is waste as well.
            let (boot, lost) = if self.notice.is_some() { (MicroDollars::ZERO, lost + boot) } else { (boot, lost) };
            return vec![line(None, 0, busy, boot, idle, lost)];
        }
        let times: Vec<u64> = self.jobs.iter().map(|j| j.useful_ms + j.wasted_ms).collect();
        let busy = busy.split(&times);
        let (boots, idles, losses) = (boot.split(&times), idle.split(&times), lost.split(&times));
        self.jobs
            .iter()
            .enumerate()
            .map(|(i, job)| {
                let parts = busy[i].split(&[job.useful_ms, job.wasted_ms]);
                line(Some(job.job), job.useful_ms / slots, parts[0], boots[i], idles[i], losses[i] + parts[1])
            })
            .collect()
    }
}

/// Lines as CSV, amounts in dollars with six places: sums over the file are exact.
#[must_use]
pub fn csv<'a>(lines: impl IntoIterator<Item = &'a Line>) -> String {
    let mut text = "job,pool,instance_seconds,work_usd,boot_usd,idle_usd,waste_usd,total_usd\n".to_owned();
    for line in lines {
        let job = line.job.map(|j| j.to_string()).unwrap_or_default();
        let usd = |amount: MicroDollars| format!("{}.{:06}", amount.0 / 1_000_000, amount.0 % 1_000_000);
        let (work, boot, idle, waste) = (usd(line.work), usd(line.boot), usd(line.idle), usd(line.waste));
        let seconds = line.work_ms as f64 / 1000.0;
        let total = usd(line.total());
        writeln!(text, "{job},{},{seconds},{work},{boot},{idle},{waste},{total}", line.pool)
            .expect("a String takes everything");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn used(minutes: (i64, i64, i64), jobs: Vec<JobUse>) -> InstanceUse {
        let at = |m: i64| Moment(m * 60_000);
        InstanceUse {
            pool: PoolId::from("eu-west-1/g4dn.xlarge/spot"),
            price_per_hour: MicroDollars(600_000),
            slots: 1,
            launched: at(0),
            ready: at(minutes.0),
            ended: at(minutes.1),
            notice: (minutes.2 > 0).then(|| at(minutes.2)),
            jobs,
        }
    }

    #[test]
    fn one_job_by_hand() {
        let job = Uuid::from_u128(1);
        let lines = used((6, 30, 0), vec![JobUse { job, useful_ms: 18 * 60_000, wasted_ms: 0 }]).lines();
        assert_eq!(lines.len(), 1);
        // A cent a minute: 6 of boot, 18 of work, 6 idle.
        assert_eq!(
            (lines[0].boot, lines[0].work, lines[0].idle, lines[0].waste),
            (MicroDollars(60_000), MicroDollars(180_000), MicroDollars(60_000), MicroDollars::ZERO)
        );
        let text = csv(&lines);
        assert!(
            text.ends_with(",eu-west-1/g4dn.xlarge/spot,1080,0.180000,0.060000,0.060000,0.000000,0.300000\n"),
            "{text}"
        );
    }

    #[test]
    fn an_interruption_makes_the_rest_waste() {
        let lines =
            used((6, 12, 10), vec![JobUse { job: Uuid::from_u128(1), useful_ms: 180_000, wasted_ms: 60_000 }]).lines();
        assert_eq!(lines[0].waste, MicroDollars(30_000), "a minute of work and two of notice");
        let never_ready = used((4, 4, 2), Vec::new()).lines();
        assert_eq!((never_ready[0].job, never_ready[0].waste), (None, MicroDollars(40_000)));
    }

    #[test]
    fn the_first_minute_is_billed_whole() {
        let short = InstanceUse { ended: Moment(1), ..used((0, 0, 0), Vec::new()) };
        assert_eq!((short.billed_ms(), short.cost()), (60_000, MicroDollars(10_000)));
    }

    proptest! {
        #[test]
        fn lines_add_up_to_the_bill(
            price in 0_i64..50_000_000, slots in 1_u32..5, boot in 0_i64..1_000_000, life in 0_i64..10_000_000,
            notice in proptest::option::of(0_i64..10_000_000),
            jobs in proptest::collection::vec((0_u64..3_000_000, 0_u64..1_000_000), 0..6),
        ) {
            let one = InstanceUse {
                pool: PoolId::from("r/t/spot"), price_per_hour: MicroDollars(price), slots,
                launched: Moment(0), ready: Moment(boot), ended: Moment(life), notice: notice.map(Moment),
                jobs: jobs.iter().enumerate().map(|(i, (u, w))| JobUse {
                    job: Uuid::from_u128(i as u128), useful_ms: *u, wasted_ms: *w,
                }).collect(),
            };
            let lines = one.lines();
            prop_assert_eq!(lines.iter().map(Line::total).sum::<MicroDollars>(), one.cost());
            prop_assert!(lines.iter().all(|l| l.work.0 >= 0 && l.boot.0 >= 0 && l.idle.0 >= 0 && l.waste.0 >= 0));
        }
    }
}
