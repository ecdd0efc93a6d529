//! Takes notes while a scenario runs, and sums them up.

use std::collections::BTreeMap;

use uuid::Uuid;

use super::{Costs, Outcome, Percentiles, Sample, Span, Timeline};
use crate::moment::Moment;
use crate::money::MicroDollars;
use crate::policy::Policy;
use crate::pools::{PoolId, PurchaseOption};
use crate::receipt::{InstanceUse, PoolLedger, Receipt};
use crate::simulate::engine::{Running, Scenario, job_id};
use crate::view::{FleetView, Phase, PoolView};

/// Points of a plot over time, about.
const SAMPLES: f64 = 2000.0;

/// Takes notes while a scenario runs.
pub(in crate::simulate) struct Recorder {
    open: u64,
    waits: Vec<f32>,
    playables: Vec<f32>,
    dones: Vec<f32>,
    missed: u64,
    costs: Costs,
    pools: PoolLedger,
    work_ms: BTreeMap<PoolId, u64>,
    keeps_receipts: bool,
    receipts: BTreeMap<Uuid, Receipt>,
    unattributed: MicroDollars,
    pub(in crate::simulate) interruptions: u64,
    pub(in crate::simulate) failed_launches: u64,
    pub(in crate::simulate) splits: u64,
    pub(in crate::simulate) taken_back: u64,
    pub(in crate::simulate) decisions: u64,
    samples: Vec<Sample>,
    sample_at: Moment,
    sample_every_s: f64,
    timeline: Timeline,
}

impl Recorder {
    pub(in crate::simulate) fn new(scenario: &Scenario, start: Moment) -> Self {
        let jobs = &scenario.arrivals.jobs;
        let last = jobs.last().map_or(start, |a| a.at);
        let sample_every_s = ((last.since_s(start) + 6.0 * 3600.0) / SAMPLES).max(15.0);
        // The job in the middle: neither the first cold start nor the last one alone.
        let arrival = u32::try_from(jobs.len() / 2).unwrap_or(0);
        Self {
            open: 0,
            waits: Vec::with_capacity(jobs.len()),
            playables: Vec::with_capacity(jobs.len()),
            dones: Vec::with_capacity(jobs.len()),
            missed: 0,
            costs: Costs::default(),
            pools: PoolLedger::new(),
            work_ms: BTreeMap::new(),
            keeps_receipts: scenario.settings.receipts,
            receipts: BTreeMap::new(),
            unattributed: MicroDollars::ZERO,
            interruptions: 0,
            failed_launches: 0,
            splits: 0,
            taken_back: 0,
            decisions: 0,
            samples: Vec::new(),
            sample_at: start,
            sample_every_s,
            timeline: Timeline { arrival, ..Timeline::default() },
        }
    }

    pub(in crate::simulate) fn open_jobs(&self) -> u64 {
        self.open
    }

    pub(in crate::simulate) fn opened(&mut self) {
        self.open += 1;
    }

    /// Notes the fleet at all sampling times before `at`.
    pub(in crate::simulate) fn sample_until(&mut self, at: Moment, view: &FleetView) {
        while self.sample_at <= at {
            self.sample(self.sample_at, view);
            self.sample_at = self.sample_at.plus_s(self.sample_every_s);
        }
    }

    /// Notes the fleet as it is.
    pub(in crate::simulate) fn sample(&mut self, at: Moment, view: &FleetView) {
        let serving = |pool: &PoolView| pool.count(Phase::Idle) + pool.count(Phase::Busy);
        self.samples.push(Sample {
            at,
            serving: view.pools.iter().map(serving).collect(),
            booting: view.pools.iter().map(|p| p.count(Phase::Booting)).sum(),
            queue_s: view.work.iter().map(|w| w.left_s).fold(0.0, |a, b| a + b),
        });
    }

    pub(in crate::simulate) fn span(&mut self, now: Moment, running: &Running, pool: usize, done: bool) {
        if running.job == self.timeline.arrival {
            let (chunk, from) = (running.chunk, running.started);
            self.timeline.spans.push(Span { chunk, pool, from, until: now, done });
        }
    }

    pub(in crate::simulate) fn done(
        &mut self,
        scenario: &Scenario,
        policy: &Policy,
        arrival: u32,
        first_claim: Option<Moment>,
        playable: Option<Moment>,
        now: Moment,
    ) {
        let job = &scenario.arrivals.jobs[arrival as usize];
        self.open -= 1;
        let playable = playable.unwrap_or(now).min(now);
        self.waits.push(first_claim.unwrap_or(now).since_s(job.at) as f32);
        self.playables.push(playable.since_s(job.at) as f32);
        self.dones.push(now.since_s(job.at) as f32);
        if now > job.ready_by.unwrap_or_else(|| job.at.plus_s(policy.ready_within_s)) {
            self.missed += 1;
        }
        if arrival == self.timeline.arrival {
            (self.timeline.playable, self.timeline.done) = (Some(playable), Some(now));
        }
    }

    /// Enters an instance that ended into the ledger, and splits its bill among its jobs.
    pub(in crate::simulate) fn ended(&mut self, used: &InstanceUse) {
        used.enter(&mut self.pools);
        let whole = used.whole();
        self.costs.work += whole.work;
        self.costs.boot += whole.boot;
        self.costs.idle += whole.idle;
        self.costs.waste += whole.waste;
        if used.jobs.is_empty() {
            self.unattributed += whole.total();
        }
        *self.work_ms.entry(whole.pool).or_default() += whole.work_ms;
        if self.keeps_receipts {
            for line in used.lines() {
                let Some(job) = line.job else { continue };
                self.receipts.entry(job).or_default().add(line);
            }
        }
    }

    /// A chunk is encoded away from its source.
    pub(in crate::simulate) fn transferred(&mut self, scenario: &Scenario, arrival: u32, home: usize, work_s: f64) {
        let job = &scenario.arrivals.jobs[arrival as usize];
        let share = if job.encode_s > 0.0 { work_s / job.encode_s } else { 0.0 };
        let price = scenario.fleet.regions[home].transfer_per_gb.usd();
        let Some(cost) = MicroDollars::from_usd(job.gigabytes * share * price) else { return };
        self.costs.transfer += cost;
        if self.keeps_receipts {
            self.receipts.entry(job_id(arrival)).or_default().transfer += cost;
        }
    }

    pub(in crate::simulate) fn finish(self, scenario: &Scenario, policy: &Policy, unfinished: u64) -> Outcome {
        let jobs = scenario.arrivals.jobs.len() as u64;
        let hours = |option| -> f64 {
            let pools = scenario.fleet.pools.iter().filter(|p| p.option == option);
            pools.filter_map(|p| self.pools.get(&p.id)).map(|a| a.billed_ms as f64 / 3.6e6).fold(0.0, |a, b| a + b)
        };
        let work_hours = |option| -> f64 {
            let pools = scenario.fleet.pools.iter().filter(|p| p.option == option);
            pools.filter_map(|p| self.work_ms.get(&p.id)).map(|ms| *ms as f64 / 3.6e6).fold(0.0, |a, b| a + b)
        };
        let (spot_hours, on_demand_hours) = (hours(PurchaseOption::Spot), hours(PurchaseOption::OnDemand));
        let (spot_work_hours, on_demand_work_hours) =
            (work_hours(PurchaseOption::Spot), work_hours(PurchaseOption::OnDemand));
        let total = self.costs.total().usd();
        let launches = self.pools.values().map(|a| a.instances).sum();
        Outcome {
            policy: policy.to_string(),
            jobs,
            unfinished,
            missed: self.missed + unfinished,
            wait_s: Percentiles::of(self.waits),
            playable_s: Percentiles::of(self.playables),
            mean_done_s: self.dones.iter().map(|s| f64::from(*s)).sum::<f64>() / self.dones.len().max(1) as f64,
            done_s: Percentiles::of(self.dones),
            costs: self.costs,
            pools: self.pools,
            usd_per_job: total / jobs.max(1) as f64,
            usd_per_month: total / scenario.arrivals.months,
            spot_hours,
            on_demand_hours,
            spot_work_hours,
            on_demand_work_hours,
            interruptions: self.interruptions,
            launches,
            failed_launches: self.failed_launches,
            splits: self.splits,
            taken_back: self.taken_back,
            decisions: self.decisions,
            samples: self.samples,
            timeline: self.timeline,
            receipts: self.receipts,
            unattributed: self.unattributed,
        }
    }
}
