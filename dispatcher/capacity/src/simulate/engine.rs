//! The events of a fleet in virtual time.
//!
//! Simplified against the real fleet: a free slot takes its next chunk at once (no queue in between), a chunk runs at the
//! pool's rate with some scatter, and sound is part of the pictures. Not simplified: which chunk is next, which steps a
//! job and a chunk may take, and what is decided when.

mod events;
mod loss;
mod machines;
mod settings;
mod stragglers;
mod work;

use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

use fleet::state::Illegal;

use self::events::{Event, Events};
use self::machines::Machine;
pub(super) use self::machines::{Running, job_id};
pub use self::settings::Settings;
use self::work::Job;
use super::arrivals::Arrivals;
use super::market::{Market, Spot};
use super::outcome::{Outcome, Recorder};
use super::random::Stream;
use crate::decide::{Action, decide};
use crate::memory::{FailureKind, FailureMemory};
use crate::moment::Moment;
use crate::policy::Policy;
use crate::pools::{Fleet, PurchaseOption, RegionName};
use crate::release_order::ReleaseQueue;
use crate::view::FleetView;

/// What happens to a fleet, whatever its policy.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Regions, pools, quotas.
    pub fleet: Fleet,
    /// What is handed in.
    pub arrivals: Arrivals,
    /// The spot market.
    pub spot: Spot,
    /// Seed of everything random.
    pub seed: u64,
    /// Times and chances.
    pub settings: Settings,
}

impl Scenario {
    /// When the first thing happens: an upload, or a job.
    pub(super) fn start(&self) -> Moment {
        let began = self.arrivals.jobs.iter().map(|a| a.upload_began.map_or(a.at, |at| at.min(a.at)));
        began.min().unwrap_or(Moment(0))
    }
}

/// Runs a scenario under a policy.
#[must_use]
pub fn run(scenario: &Scenario, policy: &Policy) -> Outcome {
    let mut simulation = Simulation::new(scenario, policy);
    simulation.run();
    let unfinished = simulation.jobs.iter().flatten().count() as u64;
    simulation.recorder.finish(scenario, policy, unfinished)
}

/// The state of a fleet in virtual time.
struct Simulation<'a> {
    scenario: &'a Scenario,
    policy: &'a Policy,
    now: Moment,
    events: Events,
    /// What the policy sees, kept up to date event by event.
    view: FleetView,
    memory: FailureMemory,
    markets: Vec<Market>,
    /// Region of each pool, by place.
    region_of: Vec<usize>,
    queue: ReleaseQueue,
    organisations: HashMap<&'a str, usize>,
    regions: HashMap<&'a RegionName, usize>,
    /// Jobs that are not done, by arrival.
    jobs: Vec<Option<Box<Job>>>,
    /// Arrival of each place of the release queue.
    arrival_of: Vec<u32>,
    /// Arrival of each entry of the view's work; none of what is done.
    work_jobs: Vec<Option<u32>>,
    /// Entries of the view's work that are done.
    forgotten: usize,
    /// Arrival of each entry of the view's coming work.
    coming_jobs: Vec<u32>,
    next_arrival: usize,
    uploads: Vec<(Moment, u32)>,
    machines: Vec<Machine>,
    free_machines: Vec<u32>,
    /// Machine of each instance of the view, by pool.
    members: Vec<Vec<u32>>,
    /// Place of each job, by arrival, among those that an instance served; only while its bill is written.
    use_of: Vec<Option<u32>>,
    /// Machines with free slots, by region.
    idle: Vec<Vec<u32>>,
    /// Slots of workers that take work, by region.
    slots: Vec<u64>,
    boots: Vec<Stream>,
    scatter: Stream,
    luck: Stream,
    launches: u64,
    is_deciding: bool,
    layouts: BTreeMap<u64, Rc<[u32]>>,
    recorder: Recorder,
}

impl<'a> Simulation<'a> {
    fn new(scenario: &'a Scenario, policy: &'a Policy) -> Self {
        let fleet = &scenario.fleet;
        let regions: HashMap<&RegionName, usize> =
            fleet.regions.iter().enumerate().map(|(i, r)| (&r.name, i)).collect();
        let region_of: Vec<usize> = fleet.pools.iter().map(|p| regions[&p.region]).collect();
        let mut uploads: Vec<(Moment, u32)> = scenario
            .arrivals
            .jobs
            .iter()
            .enumerate()
            .filter_map(|(i, a)| Some((a.upload_began.filter(|at| *at < a.at)?, u32::try_from(i).ok()?)))
            .collect();
        uploads.sort_unstable_by(|a, b| b.cmp(a));
        let start = scenario.start();
        let market = |(i, pool): (usize, &std::sync::Arc<crate::pools::Pool>)| match pool.option {
            PurchaseOption::Spot => scenario.spot.market(scenario.seed, i, region_of[i], start),
            PurchaseOption::OnDemand => Spot::Always.market(scenario.seed, i, region_of[i], start),
        };
        let markets: Vec<Market> = fleet.pools.iter().enumerate().map(market).collect();
        let mut events = Events::default();
        for (pool, market) in markets.iter().enumerate() {
            if market.until() < Moment::NEVER {
                events.push(market.until(), Event::Market { pool: narrow(pool) });
            }
        }
        Self {
            scenario,
            policy,
            now: start,
            events,
            view: FleetView::empty(fleet),
            memory: FailureMemory::default(),
            markets,
            queue: ReleaseQueue::new(fleet.regions.len()),
            organisations: HashMap::new(),
            regions,
            jobs: scenario.arrivals.jobs.iter().map(|_| None).collect(),
            arrival_of: Vec::new(),
            work_jobs: Vec::new(),
            forgotten: 0,
            coming_jobs: Vec::new(),
            next_arrival: 0,
            uploads,
            machines: Vec::new(),
            free_machines: Vec::new(),
            members: vec![Vec::new(); fleet.pools.len()],
            use_of: vec![None; scenario.arrivals.jobs.len()],
            idle: vec![Vec::new(); fleet.regions.len()],
            slots: vec![0; fleet.regions.len()],
            boots: (0..fleet.pools.len()).map(|i| Stream::new(scenario.seed, "boot", i as u64)).collect(),
            scatter: Stream::new(scenario.seed, "scatter", 0),
            luck: Stream::new(scenario.seed, "luck", 0),
            launches: 0,
            is_deciding: false,
            layouts: BTreeMap::new(),
            recorder: Recorder::new(scenario, start),
            region_of,
        }
    }

    fn run(&mut self) {
        let last = self.scenario.arrivals.jobs.last().map_or(Moment(0), |a| a.at);
        let end = last.plus_s(self.scenario.settings.give_up_s);
        while let Some(at) = self.next_at() {
            if at > end || self.is_over() {
                break;
            }
            self.recorder.sample_until(at, &self.view);
            self.now = at;
            self.step();
        }
        self.recorder.sample(self.now, &self.view);
        self.end_everything();
    }

    /// When the next thing happens.
    fn next_at(&mut self) -> Option<Moment> {
        let arrival = self.scenario.arrivals.jobs.get(self.next_arrival).map(|a| a.at);
        let upload = self.uploads.last().map(|(at, _)| *at);
        [arrival, upload, self.events.next_at()].into_iter().flatten().min()
    }

    fn is_over(&self) -> bool {
        let all_came = self.next_arrival == self.scenario.arrivals.jobs.len() && self.uploads.is_empty();
        all_came && self.recorder.open_jobs() == 0 && self.members.iter().all(Vec::is_empty)
    }

    /// Lets one thing happen: uploads before arrivals before events of the same moment.
    fn step(&mut self) {
        if self.uploads.last().is_some_and(|(at, _)| *at <= self.now) {
            if let Some((_, job)) = self.uploads.pop() {
                self.upload_begins(job);
            }
        } else if self.scenario.arrivals.jobs.get(self.next_arrival).is_some_and(|a| a.at <= self.now) {
            let job = narrow(self.next_arrival);
            self.next_arrival += 1;
            self.job_arrives(job);
        } else if let Some(event) = self.events.pop() {
            self.happen(event);
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Decide => self.decide(),
            Event::Booted { machine, life } if self.lives(machine, life) => self.booted(machine),
            Event::ChunkDone { machine, life, slot, turn } if self.lives(machine, life) => {
                self.slot_ends(machine, slot, turn);
            }
            Event::HandBack { machine, life, slot, turn } if self.lives(machine, life) => {
                self.hand_back(machine, slot, turn);
            }
            Event::Reclaimed { machine, life } if self.lives(machine, life) => self.interrupt(machine),
            Event::Ends { machine, life } if self.lives(machine, life) => self.end_machine(machine),
            Event::LaunchFailed { pool, count } => self.launch_failed(pool as usize, count),
            Event::Market { pool } => self.market_changes(pool as usize),
            Event::LeaseEnds { job, chunk } => self.lease_ends(job, chunk),
            Event::Published { job } => self.published(job),
            // The machine is gone: what it would have done, nobody does.
            Event::Booted { .. }
            | Event::ChunkDone { .. }
            | Event::HandBack { .. }
            | Event::Reclaimed { .. }
            | Event::Ends { .. } => {}
        }
    }

    /// Makes sure that decisions are made from now on.
    fn wake(&mut self) {
        if !self.is_deciding {
            self.is_deciding = true;
            self.events.push(self.now, Event::Decide);
        }
    }

    fn decide(&mut self) {
        self.memory.expire(self.now);
        for pool in &mut self.view.pools {
            pool.blocked = self.memory.block(&pool.pool, self.now);
        }
        // Nobody takes anything from a straggler while all are busy: then they need not be looked at.
        let looks = self.policy.rule.looks_at_chunks() && self.anyone_idle();
        self.view.running = if looks { self.running_chunks() } else { Vec::new() };
        let decision = decide(self.now, &self.view, self.policy);
        self.recorder.decisions += 1;
        for action in decision.actions {
            match action {
                Action::Start { pool, count } => {
                    if let Some(place) = self.view.pools.iter().position(|p| p.pool.id == pool) {
                        self.launch(place, count);
                    }
                }
                Action::End { instance, .. } => {
                    if let Some(machine) = self.machine(&instance).filter(|m| self.machines[*m as usize].is_idle()) {
                        self.end_machine(machine);
                    }
                }
                Action::Drain { instance, .. } => {
                    if let Some(machine) = self.machine(&instance) {
                        self.drain(machine);
                    }
                }
                Action::Split { job, chunk, slow, .. } => self.split(job, chunk, &slow),
                Action::TakeBack { job, chunk, slow, .. } => self.take_back(job, chunk, &slow),
            }
        }
        let active = !self.view.work.is_empty()
            || !self.view.coming.is_empty()
            || self.view.pools.iter().any(|p| p.charged() > 0);
        self.is_deciding = active;
        if active {
            self.events.push(self.now.plus_s(self.scenario.settings.decide_every_s), Event::Decide);
        }
    }

    fn launch_failed(&mut self, place: usize, count: u32) {
        let pool = &mut self.view.pools[place];
        pool.requested -= count;
        self.memory.note(&pool.pool, FailureKind::NoCapacity, self.now);
        self.recorder.failed_launches += u64::from(count);
    }
}

/// A count as the 32 bits that events carry.
fn narrow(n: usize) -> u32 {
    u32::try_from(n).expect("a scenario has fewer than four thousand million of anything")
}

/// The next state, which the machine of the fleet allows because the simulation only asks for steps that the fleet takes.
fn allowed<S>(next: Result<S, Illegal>) -> S {
    next.unwrap_or_else(|illegal| panic!("the simulation took a step that the fleet does not: {illegal}"))
}
