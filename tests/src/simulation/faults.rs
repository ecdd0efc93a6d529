//! What strikes the fleet: processes, machines, calls, messages, links, servers, clocks. Everything is drawn from the seed.

use std::collections::BTreeMap;

use super::memory::Ms;
use super::network::{Fate, PATIENCE, Server};
use super::people::boot;
use super::worker::LEASE;
use super::world::{OUTSIDE, ProcessId, Sim, World};

/// Faults that strike each run at least.
pub(crate) const FEWEST: u32 = 20;
/// Longest time for which a process is stopped: longer than a lease.
const LONGEST_STOP: Ms = 25_000;
/// A call that arrives late does so within this.
const LATEST: Ms = 28_000;

macro_rules! faults {
    ($($(#[$doc:meta])* $variant:ident = $text:literal),* $(,)?) => {
        /// A kind of fault.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Fault { $($(#[$doc])* $variant),* }

        impl Fault {
            /// In words.
            #[must_use]
            pub const fn text(self) -> &'static str {
                match self { $(Self::$variant => $text),* }
            }
        }
    };
}

faults! {
    /// SIGKILL, a machine that is gone.
    WorkerKilled = "workers killed",
    /// SIGKILL.
    DispatcherKilled = "dispatchers killed",
    /// SIGSTOP for up to 25 s, more than two leases.
    Stopped = "processes stopped",
    /// In order.
    Drained = "workers drained",
    /// A child process dies on a segment.
    EngineDied = "engines died",
    /// One process cannot reach one server.
    Cut = "links cut",
    /// All of a region cannot reach the store.
    RegionCut = "regions cut off",
    /// A server refuses everything for a while.
    ServerDown = "servers down",
    /// The database ends every connection.
    StoreRestarted = "database restarts",
    /// Clocks of workers.
    Clock = "clocks changed",
    /// A device that encodes badly.
    Quarantined = "devices quarantined",
    /// Before it took effect.
    CallRefused = "calls refused",
    /// After it took effect.
    AnswerLost = "answers lost",
    /// After the caller gave it up.
    CallLate = "calls that arrived late",
    /// Never arrived.
    CallLost = "calls lost",
    /// At a queue.
    MessageLost = "messages lost",
    /// At a queue.
    MessageTwice = "messages doubled",
    /// At a queue.
    MessageLate = "messages late",
}

/// How things stand between processes and servers.
#[derive(Debug, Default)]
pub(crate) struct Weather {
    /// Whether faults strike.
    pub(crate) foul: bool,
    /// One call of a million is struck this often, and one message.
    call_ppm: u32,
    message_ppm: u32,
    /// Who cannot reach whom until when.
    cuts: Vec<(ProcessId, Server, Ms)>,
    down: Vec<(Server, Ms)>,
    pub(crate) struck: BTreeMap<Fault, u32>,
}

impl Weather {
    /// Number of faults that struck.
    pub(crate) fn total(&self) -> u32 {
        self.struck.values().sum()
    }
}

impl World {
    pub(crate) fn strike(&mut self, fault: Fault) {
        *self.weather.struck.entry(fault).or_default() += 1;
        self.note(fault as u64);
    }

    /// What becomes of a call.
    pub(crate) fn fate(&mut self, process: ProcessId, server: Server) -> Fate {
        let (there, back) = (self.random.i64(1..15), self.random.i64(1..15));
        if process == OUTSIDE {
            return Fate::Answered(there, back);
        }
        let now = self.now;
        let is_cut = self.is_cut(process, server);
        let is_down = self.weather.down.iter().any(|(s, until)| *s == server && *until > now);
        let struck = self.weather.foul && self.random.u32(0..1_000_000) < self.weather.call_ppm;
        if is_cut || is_down || struck {
            self.processes[process].disturbed_at = now;
        }
        if is_cut {
            return Fate::Lost;
        }
        if is_down {
            return Fate::Refused(there + back);
        }
        if !struck {
            return Fate::Answered(there, back);
        }
        if self.random.u32(0..5) == 0 {
            // Between a call and what follows from it.
            self.stop(process);
            return Fate::Answered(there, back);
        }
        let (fault, fate) = match self.random.u32(0..4) {
            0 => (Fault::CallRefused, Fate::Refused(there + back)),
            1 => (Fault::AnswerLost, Fate::Unanswered(there)),
            2 => (Fault::CallLate, Fate::Unanswered(PATIENCE + self.random.i64(0..LATEST))),
            _ => (Fault::CallLost, Fate::Lost),
        };
        self.strike(fault);
        fate
    }

    /// Stops a process, every other time for longer than a lease lasts.
    pub(crate) fn stop(&mut self, process: ProcessId) {
        let length =
            if self.random.bool() { self.random.i64(LEASE..LONGEST_STOP) } else { self.random.i64(200..LEASE) };
        self.say(|w| format!("{} is stopped for {length} ms", w.processes[process].name));
        self.strike(Fault::Stopped);
        let until = self.now + length;
        let it = &mut self.processes[process];
        it.paused_until = it.paused_until.max(until);
        (it.disturbed_at, it.slept_at) = (it.paused_until, it.paused_until);
    }

    /// Whether a process cannot reach a server now.
    pub(crate) fn is_cut(&self, process: ProcessId, server: Server) -> bool {
        self.weather.cuts.iter().any(|(p, s, until)| *p == process && *s == server && *until > self.now)
    }

    /// What becomes of a message.
    pub(crate) fn message_fault(&mut self) -> Option<Fault> {
        if !self.weather.foul || self.random.u32(0..1_000_000) >= self.weather.message_ppm {
            return None;
        }
        let fault = match self.random.u32(0..3) {
            0 => Fault::MessageLost,
            1 => Fault::MessageTwice,
            _ => Fault::MessageLate,
        };
        self.strike(fault);
        Some(fault)
    }

    fn cut(&mut self, process: ProcessId, server: Server, length: Ms) {
        let until = self.now + length;
        self.weather.cuts.push((process, server, until));
    }

    /// A living process, by chance.
    fn victim(&mut self, wanted: impl Fn(Option<usize>) -> bool) -> Option<ProcessId> {
        let alive =
            |(id, p): (usize, &super::world::Process)| (id != OUTSIDE && p.alive && wanted(p.region)).then_some(id);
        let found: Vec<ProcessId> = self.processes.iter().enumerate().filter_map(alive).collect();
        (!found.is_empty()).then(|| found[self.random.usize(0..found.len())])
    }

    /// Everything is as it should be from now on.
    fn calm(&mut self) {
        self.weather.foul = false;
        self.weather.cuts.clear();
        self.weather.down.clear();
        let now = self.now;
        for process in &mut self.processes {
            process.paused_until = process.paused_until.min(now);
        }
        let devices: Vec<String> = self.store.devices.keys().cloned().collect();
        for device in devices {
            self.store.trust_device(&device);
        }
        self.say(|_| "the weather is fair from now on".to_owned());
    }
}

/// Strikes until `until`, and until enough has been struck.
pub(crate) async fn drive(sim: Sim, until: Ms) {
    {
        let mut world = sim.world();
        world.weather.foul = true;
        world.weather.call_ppm = world.random.u32(1_000..40_000);
        world.weather.message_ppm = world.random.u32(10_000..200_000);
    }
    let pace = sim.random(800..3_000);
    loop {
        let wait = sim.random(100..pace);
        sim.sleep(wait).await;
        let mut world = sim.world();
        if world.now >= until && world.weather.total() >= FEWEST {
            world.calm();
            return;
        }
        let killed = strike_once(&mut world);
        drop(world);
        if let Some(process) = killed {
            let after = sim.random(50..6_000);
            boot(&sim, process, after);
        }
    }
}

/// One fault; gives the process that must be started again.
fn strike_once(world: &mut World) -> Option<ProcessId> {
    let choice = world.random.u32(0..100);
    let length = world.random.i64(200..LONGEST_STOP);
    match choice {
        0..20 => {
            let victim = world.victim(|region| region.is_some())?;
            world.say(|w| format!("{} is killed", w.processes[victim].name));
            world.strike(Fault::WorkerKilled);
            world.kill(victim);
            return Some(victim);
        }
        20..32 => {
            let victim = world.victim(|region| region.is_none())?;
            world.say(|w| format!("{} is killed", w.processes[victim].name));
            world.strike(Fault::DispatcherKilled);
            world.kill(victim);
            return Some(victim);
        }
        32..52 => {
            let victim = world.victim(|_| true)?;
            world.stop(victim);
        }
        52..60 => {
            let draining: Vec<uuid::Uuid> =
                world.store.workers.iter().filter(|(_, w)| w.state == "ready").map(|(id, _)| *id).collect();
            let chosen = *draining.get(world.random.usize(0..draining.len().max(1)))?;
            world.strike(Fault::Drained);
            world.store.drain_worker(chosen);
        }
        60..70 => {
            let victim = world.victim(|_| true)?;
            let region = world.processes[victim].region.unwrap_or_else(|| world.random.usize(0..world.queues.len()));
            let server = [Server::Store, Server::Objects, Server::Queue(region)][world.random.usize(0..3)];
            world.say(|w| format!("{} cannot reach {server:?} for {length} ms", w.processes[victim].name));
            world.strike(Fault::Cut);
            world.cut(victim, server, length);
        }
        70..75 => {
            let region = world.random.usize(0..world.queues.len());
            let with_queue = world.random.bool();
            let length = length * 3 / 2;
            world.say(|_| format!("region {region} is cut off for {length} ms"));
            world.strike(Fault::RegionCut);
            for process in 1..world.processes.len() {
                match world.processes[process].region {
                    Some(of) if of == region => world.cut(process, Server::Store, length),
                    None if with_queue => world.cut(process, Server::Queue(region), length),
                    _ => {}
                }
            }
        }
        75..82 => {
            let region = world.random.usize(0..world.queues.len());
            let server = [Server::Store, Server::Objects, Server::Queue(region)][world.random.usize(0..3)];
            let until = world.now + length / 3;
            world.say(|_| format!("{server:?} is down for {} ms", length / 3));
            world.strike(Fault::ServerDown);
            world.weather.down.push((server, until));
        }
        82..86 => {
            world.say(|_| "the database restarts".to_owned());
            world.strike(Fault::StoreRestarted);
            world.store.unlock_all();
        }
        86..90 => {
            let victim = world.victim(|region| region.is_some())?;
            world.strike(Fault::Clock);
            let skew = world.random.i64(-600_000..600_000);
            world.say(|w| format!("{}: clock off by {skew} ms", w.processes[victim].name));
            world.processes[victim].skew = skew;
        }
        90..97 => {
            let device = a_device(world)?;
            quarantine(world, &device);
        }
        _ => {
            // It strikes when an engine dies of it.
            world.engines_to_die += 1;
        }
    }
    None
}

/// The device of some worker.
pub(super) fn a_device(world: &mut World) -> Option<String> {
    Some(format!("device-{}", world.victim(|region| region.is_some())?))
}

pub(super) fn quarantine(world: &mut World, device: &str) {
    world.say(|_| format!("{device} is quarantined"));
    world.strike(Fault::Quarantined);
    world.store.quarantine(device);
}
