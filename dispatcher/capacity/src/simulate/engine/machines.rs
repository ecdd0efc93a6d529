//! Instances: launched, booted, taken back, drained, ended, and what each of them is billed for.

use uuid::Uuid;

use super::events::Event;
use super::{Simulation, narrow};
use crate::moment::{Moment, millis};
use crate::pools::{InstanceId, PurchaseOption};
use crate::receipt::{InstanceUse, JobUse};
use crate::view::{Instance, Phase};

/// An instance, or the place of one that ended.
#[derive(Debug, Default)]
pub(super) struct Machine {
    pub(super) pool: usize,
    pub(super) region: usize,
    /// Counts the instances that had this place.
    pub(super) life: u32,
    /// Place in the view.
    index: usize,
    phase: Option<Phase>,
    launched: Moment,
    ready: Option<Moment>,
    notice: Option<Moment>,
    pub(super) slots: Vec<Option<Running>>,
    busy: usize,
    turns: u32,
    /// Whether it is in the list of those with free slots.
    listed: bool,
    /// What its slots did, in order; a job is in it as often as the machine came back to it.
    uses: Vec<SlotUse>,
}

/// Time of a slot for a job.
#[derive(Clone, Copy, Debug)]
struct SlotUse {
    job: u32,
    useful_ms: u64,
    wasted_ms: u64,
}

/// A chunk in a slot.
#[derive(Clone, Copy, Debug)]
pub(in crate::simulate) struct Running {
    pub(in crate::simulate) job: u32,
    pub(in crate::simulate) chunk: i32,
    pub(in crate::simulate) started: Moment,
    pub(super) lasts_ms: u64,
    pub(super) turn: u32,
}

impl Machine {
    pub(super) fn is_idle(&self) -> bool {
        self.phase == Some(Phase::Idle)
    }

    /// Whether it takes work and has a slot without any.
    pub(super) fn has_room(&self) -> bool {
        self.serves() && self.busy < self.slots.len()
    }

    /// Names what a slot begins now.
    pub(super) fn next_turn(&mut self) -> u32 {
        self.turns += 1;
        self.turns
    }

    fn serves(&self) -> bool {
        matches!(self.phase, Some(Phase::Idle | Phase::Busy))
    }

    /// Notes time of a slot for a job.
    pub(super) fn note_use(&mut self, job: u32, useful_ms: u64, wasted_ms: u64) {
        match self.uses.last_mut() {
            Some(last) if last.job == job => {
                last.useful_ms += useful_ms;
                last.wasted_ms += wasted_ms;
            }
            _ => self.uses.push(SlotUse { job, useful_ms, wasted_ms }),
        }
    }
}

/// The id of the job of an arrival.
pub(in crate::simulate) fn job_id(arrival: u32) -> Uuid {
    Uuid::from_u128(u128::from(arrival) + 1)
}

impl Simulation<'_> {
    pub(super) fn lives(&self, machine: u32, life: u32) -> bool {
        let machine = &self.machines[machine as usize];
        machine.life == life && machine.phase.is_some()
    }

    /// The machine of an instance of the view.
    pub(super) fn machine(&self, instance: &InstanceId) -> Option<u32> {
        let pools = self.view.pools.iter().zip(&self.members);
        pools
            .flat_map(|(pool, members)| pool.instances.iter().zip(members))
            .find(|(i, _)| i.id == *instance)
            .map(|(_, m)| *m)
    }

    /// Asks a pool for instances.
    pub(super) fn launch(&mut self, place: usize, count: u32) {
        let option = self.view.pools[place].pool.option;
        let mut failed = 0;
        for _ in 0..count {
            let held = self.view.pools[place].instances.iter().filter(|i| i.phase != Phase::Draining).count();
            let is_there = match option {
                PurchaseOption::Spot => (self.markets[place].level() as usize) > held,
                PurchaseOption::OnDemand => !self.luck.chance(self.scenario.settings.on_demand_full),
            };
            if is_there {
                self.launch_one(place);
            } else {
                failed += 1;
            }
        }
        if failed > 0 {
            self.view.pools[place].requested += failed;
            let at = self.now.plus_s(self.scenario.settings.detect_s);
            self.events.push(at, Event::LaunchFailed { pool: narrow(place), count: failed });
        }
    }

    fn launch_one(&mut self, place: usize) {
        let pool = self.view.pools[place].pool.clone();
        let number = self.free_machines.pop().unwrap_or_else(|| {
            self.machines.push(Machine::default());
            narrow(self.machines.len() - 1)
        });
        let machine = &mut self.machines[number as usize];
        *machine = Machine {
            pool: place,
            region: self.region_of[place],
            life: machine.life + 1,
            index: self.members[place].len(),
            phase: Some(Phase::Booting),
            launched: self.now,
            slots: vec![None; pool.slots as usize],
            ..Machine::default()
        };
        let life = machine.life;
        self.launches += 1;
        let id = InstanceId::from(format!("i-{:06}", self.launches).as_str());
        self.view.pools[place].instances.push(Instance { id, phase: Phase::Booting, since: self.now });
        self.members[place].push(number);
        let boot_s = self.boots[place].between(pool.boot.median_s, pool.boot.p90_s);
        self.events.push(self.now.plus_s(boot_s), Event::Booted { machine: number, life });
        let hazard = self.scenario.spot.hazard_per_hour();
        if pool.option == PurchaseOption::Spot && hazard > 0.0 {
            let lives_s = self.luck.exponential(3600.0 / hazard);
            self.events.push(self.now.plus_s(lives_s), Event::Reclaimed { machine: number, life });
        }
    }

    pub(super) fn booted(&mut self, number: u32) {
        let machine = &mut self.machines[number as usize];
        if machine.phase != Some(Phase::Booting) {
            return;
        }
        machine.ready = Some(self.now);
        let (region, slots) = (machine.region, machine.slots.len());
        self.slots[region] += slots as u64;
        self.set_phase(number, Phase::Idle);
        self.list(number);
        self.feed(region);
    }

    fn set_phase(&mut self, number: u32, phase: Phase) {
        let machine = &mut self.machines[number as usize];
        machine.phase = Some(phase);
        let instance = &mut self.view.pools[machine.pool].instances[machine.index];
        (instance.phase, instance.since) = (phase, self.now);
    }

    /// Puts a machine with a free slot among those that look for work.
    fn list(&mut self, number: u32) {
        let machine = &mut self.machines[number as usize];
        if !machine.listed {
            machine.listed = true;
            self.idle[machine.region].push(number);
        }
    }

    /// A machine of a region that has a free slot and takes work.
    pub(super) fn free_slot(&mut self, region: usize) -> Option<(u32, usize)> {
        while let Some(number) = self.idle[region].last().copied() {
            let machine = &mut self.machines[number as usize];
            let free = machine.slots.iter().position(Option::is_none);
            match free.filter(|_| machine.serves() && machine.region == region) {
                Some(slot) => return Some((number, slot)),
                None => {
                    machine.listed = false;
                    self.idle[region].pop();
                }
            }
        }
        None
    }

    /// Puts a chunk into a slot.
    pub(super) fn occupy(&mut self, number: u32, slot: usize, job: u32, chunk: i32, lasts_s: f64) {
        let machine = &mut self.machines[number as usize];
        machine.busy += 1;
        let (life, turn) = (machine.life, machine.next_turn());
        let lasts_ms = u64::try_from(millis(lasts_s)).unwrap_or(0);
        machine.slots[slot] = Some(Running { job, chunk, started: self.now, lasts_ms, turn });
        let was_idle = machine.phase == Some(Phase::Idle);
        if was_idle {
            self.set_phase(number, Phase::Busy);
        }
        let slot = u8::try_from(slot).unwrap_or(u8::MAX);
        self.events.push(self.now.plus_ms(lasts_ms), Event::ChunkDone { machine: number, life, slot, turn });
    }

    /// Empties a slot; gives what was in it if this is still that turn.
    pub(super) fn vacate(&mut self, number: u32, slot: u8, turn: u32) -> Option<Running> {
        let machine = &mut self.machines[number as usize];
        let place = machine.slots.get_mut(slot as usize)?;
        let running = place.filter(|r| r.turn == turn)?;
        *place = None;
        machine.busy -= 1;
        Some(running)
    }

    /// A slot has become free: the machine looks for work, or ends when it drains.
    pub(super) fn look_for_work(&mut self, number: u32) {
        let machine = &self.machines[number as usize];
        let (region, is_empty) = (machine.region, machine.busy == 0);
        if machine.serves() {
            self.list(number);
            self.feed(region);
            let machine = &self.machines[number as usize];
            if machine.busy == 0 && machine.phase == Some(Phase::Busy) {
                self.set_phase(number, Phase::Idle);
                // Others may look for work of this region from now on, and an idle machine is seen by the policy.
                self.wake();
            }
        } else if is_empty && machine.notice.is_none() {
            self.end_machine(number);
        }
    }

    /// A market has changed: instances that it no longer carries are taken back, the youngest first.
    pub(super) fn market_changes(&mut self, place: usize) {
        self.markets[place].step();
        let next = self.markets[place].until();
        if next < Moment::NEVER {
            self.events.push(next, Event::Market { pool: narrow(place) });
        }
        let level = self.markets[place].level() as usize;
        let mut held: Vec<u32> = self.members[place]
            .iter()
            .copied()
            .filter(|m| self.machines[*m as usize].phase != Some(Phase::Draining))
            .collect();
        if held.len() > level {
            held.sort_unstable_by_key(|m| (self.machines[*m as usize].launched, *m));
            for machine in held.split_off(level) {
                self.interrupt(machine);
            }
        }
    }

    /// A spot instance is taken back.
    pub(super) fn interrupt(&mut self, number: u32) {
        let machine = &mut self.machines[number as usize];
        if machine.notice.is_some() {
            return;
        }
        machine.notice = Some(self.now);
        let (life, boots) = (machine.life, machine.phase == Some(Phase::Booting));
        self.recorder.interruptions += 1;
        if boots || self.luck.chance(self.scenario.settings.silent) {
            self.end_machine(number);
            return;
        }
        self.stop_serving(number);
        let at = self.now.plus_s(self.scenario.settings.notice_s);
        self.events.push(at, Event::Ends { machine: number, life });
    }

    /// A busy machine is asked to drain.
    pub(super) fn drain(&mut self, number: u32) {
        if self.machines[number as usize].phase == Some(Phase::Busy) {
            self.stop_serving(number);
        }
    }

    /// A machine takes nothing new and hands back what it has after the segments in work.
    fn stop_serving(&mut self, number: u32) {
        let machine = &self.machines[number as usize];
        if machine.serves() {
            self.slots[machine.region] -= machine.slots.len() as u64;
        }
        self.set_phase(number, Phase::Draining);
        let machine = &self.machines[number as usize];
        let life = machine.life;
        let running: Vec<(usize, Running)> =
            machine.slots.iter().enumerate().filter_map(|(slot, r)| Some((slot, (*r)?))).collect();
        for (slot, running) in running {
            let at = self.end_of_segment(&running);
            let (slot, turn) = (u8::try_from(slot).unwrap_or(u8::MAX), running.turn);
            self.events.push(at, Event::HandBack { machine: number, life, slot, turn });
        }
    }

    /// An instance ends: chunks in its slots are lost, its bill is written.
    pub(super) fn end_machine(&mut self, number: u32) {
        let machine = &mut self.machines[number as usize];
        let served = machine.serves();
        let lost: Vec<Running> = machine.slots.iter_mut().filter_map(Option::take).collect();
        machine.busy = 0;
        for running in lost {
            self.lose(number, &running);
        }
        let machine = &mut self.machines[number as usize];
        if served {
            self.slots[machine.region] -= machine.slots.len() as u64;
        }
        machine.phase = None;
        let log = std::mem::take(&mut machine.uses);
        let jobs = self.job_uses(&log);
        let machine = &mut self.machines[number as usize];
        let (place, index) = (machine.pool, machine.index);
        let pool = self.view.pools[place].pool.clone();
        let used = InstanceUse {
            pool: pool.id.clone(),
            price_per_hour: pool.price_per_hour,
            slots: pool.slots,
            launched: machine.launched,
            ready: machine.ready.unwrap_or(self.now),
            ended: self.now,
            notice: machine.notice,
            jobs,
        };
        machine.listed = false;
        self.recorder.ended(&used);
        self.view.pools[place].instances.swap_remove(index);
        self.members[place].swap_remove(index);
        if let Some(moved) = self.members[place].get(index) {
            self.machines[*moved as usize].index = index;
        }
        let region = self.region_of[place];
        self.idle[region].retain(|m| *m != number);
        self.free_machines.push(number);
        self.memory.note_end(&pool);
    }

    /// What an instance did, an entry for each job in the order in which it had them.
    fn job_uses(&mut self, log: &[SlotUse]) -> Vec<JobUse> {
        let mut uses: Vec<JobUse> = Vec::new();
        for one in log {
            let place = *self.use_of[one.job as usize].get_or_insert_with(|| narrow(uses.len())) as usize;
            if place == uses.len() {
                uses.push(JobUse { job: job_id(one.job), useful_ms: 0, wasted_ms: 0 });
            }
            uses[place].useful_ms += one.useful_ms;
            uses[place].wasted_ms += one.wasted_ms;
        }
        for one in log {
            self.use_of[one.job as usize] = None;
        }
        uses
    }

    /// Ends what still runs when the scenario is over.
    pub(super) fn end_everything(&mut self) {
        let all: Vec<u32> = self.members.iter().flatten().copied().collect();
        for machine in all {
            self.end_machine(machine);
        }
    }
}
