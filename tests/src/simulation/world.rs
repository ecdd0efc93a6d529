//! Everything of one simulated fleet that is not a running task: the clock, what is due, the servers, the processes.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use uuid::Uuid;

use super::deviation::Deviation;
use super::faults::Weather;
use super::film::Film;
use super::invariants::Watch;
use super::memory::{Memory, Ms};
use super::objects::Objects;
use super::queue::RegionQueue;

/// Names a task.
pub(crate) type TaskId = usize;
/// Names a process.
pub(crate) type ProcessId = usize;
/// A task's work.
pub(crate) type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The simulation itself: whatever no fault strikes.
pub(crate) const OUTSIDE: ProcessId = 0;

/// What happens at some time.
pub(crate) enum Due {
    /// A task goes on.
    Wake(TaskId),
    /// A server does what it was asked, or a message arrives.
    Run(Box<dyn FnOnce(&mut World) + Send>),
}

/// What is due; the first is the greatest.
struct Entry {
    at: Ms,
    number: u64,
    due: Due,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}
impl Eq for Entry {}
impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Entry {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        Reverse((self.at, self.number)).cmp(&Reverse((other.at, other.number)))
    }
}

/// A process of the fleet.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) name: String,
    /// Region of a worker; `None` of a dispatcher.
    pub(crate) region: Option<usize>,
    pub(crate) alive: bool,
    /// Stopped (SIGSTOP, a machine that hangs) until then.
    pub(crate) paused_until: Ms,
    /// How far its clock is off: what it says of the time of day, not of lengths.
    pub(crate) skew: Ms,
    /// When something last kept it from its work.
    pub(crate) disturbed_at: Ms,
    /// When it was last stopped.
    pub(crate) slept_at: Ms,
}

/// One simulated fleet.
pub(crate) struct World {
    pub(crate) now: Ms,
    pub(crate) random: fastrand::Rng,
    pub(crate) processes: Vec<Process>,
    pub(crate) store: Memory,
    pub(crate) queues: Vec<RegionQueue>,
    pub(crate) objects: Objects,
    pub(crate) weather: Weather,
    pub(crate) watch: Watch,
    pub(crate) deviation: Option<Deviation>,
    /// Lines of what happens, when somebody wants to read them.
    pub(crate) trace: Option<Vec<String>>,
    /// Changes with everything that happens: equal for equal runs.
    pub(crate) digest: u64,
    /// Engines that will die on their next segment.
    pub(crate) engines_to_die: u32,
    /// Chunks that were split or taken back because they seemed slow.
    pub(crate) relieved: u32,
    /// A chunk that ends whoever works on it: job and chunk.
    pub(crate) poison: Option<(Uuid, i32)>,
    pub(crate) films: BTreeMap<Uuid, Film>,
    /// People who will ask for something yet.
    pub(crate) undecided: u32,
    /// Age at which what lost attempts left is deleted.
    pub(crate) orphans_after: Ms,
    /// Age at which rows of jobs that ended without success are deleted, if they are.
    pub(crate) rows_after: Option<Ms>,
    /// Names given so far.
    ids: u128,
    pub(crate) steps: u64,
    pub(crate) over: bool,
    due: BinaryHeap<Entry>,
    number: u64,
    pub(super) current: TaskId,
    pub(super) next_task: TaskId,
    pub(super) spawned: Vec<(TaskId, ProcessId, Work)>,
    pub(super) ended: Vec<TaskId>,
    pub(super) killed: Vec<ProcessId>,
}

impl World {
    pub(super) fn new(seed: u64, deviation: Option<Deviation>) -> Self {
        let outside = Process::new("outside".to_owned(), None);
        Self {
            now: 0,
            random: fastrand::Rng::with_seed(seed),
            processes: vec![outside],
            store: Memory::new(deviation),
            queues: Vec::new(),
            objects: Objects::default(),
            weather: Weather::default(),
            watch: Watch::default(),
            deviation,
            trace: None,
            digest: seed,
            engines_to_die: 0,
            relieved: 0,
            poison: None,
            films: BTreeMap::new(),
            undecided: 0,
            orphans_after: 0,
            // Early, so that it meets writers; and in some runs alone, as a job that is gone is not tried again.
            rows_after: seed.is_multiple_of(4).then_some(2_000),
            ids: 0,
            steps: 0,
            over: false,
            due: BinaryHeap::new(),
            number: 0,
            current: 0,
            next_task: 0,
            spawned: Vec::new(),
            ended: Vec::new(),
            killed: Vec::new(),
        }
    }

    /// Whether a fault was planted.
    pub(crate) fn does(&self, deviation: Deviation) -> bool {
        self.deviation == Some(deviation)
    }

    /// Has something happen.
    pub(crate) fn at(&mut self, at: Ms, due: Due) {
        self.number += 1;
        self.due.push(Entry { at: at.max(self.now), number: self.number, due });
    }

    pub(super) fn next(&mut self) -> Option<Due> {
        let entry = self.due.pop()?;
        self.now = self.now.max(entry.at);
        self.store.now = self.now;
        self.steps += 1;
        Some(entry.due)
    }

    /// Goes into what tells runs apart.
    pub(crate) fn note(&mut self, mark: u64) {
        self.digest = (self.digest ^ mark ^ self.now.cast_unsigned()).wrapping_mul(0x0100_0000_01b3).rotate_left(17);
    }

    /// Writes a line of the trace.
    pub(crate) fn say(&mut self, line: impl FnOnce(&Self) -> String) {
        if self.trace.is_some() {
            let line = format!("{:>9.3} {}", seconds(self.now), line(self));
            if let Some(trace) = &mut self.trace {
                trace.push(line);
            }
        }
    }

    /// The clock that a process measures lengths with, which only goes forward.
    pub(crate) fn clock(&self) -> Duration {
        Duration::from_millis(self.now.unsigned_abs())
    }

    pub(crate) fn start(&mut self, process: ProcessId, work: Work) -> TaskId {
        let id = self.next_task;
        self.next_task += 1;
        self.spawned.push((id, process, work));
        self.at(self.now, Due::Wake(id));
        id
    }

    /// A new name.
    pub(crate) fn id(&mut self) -> Uuid {
        self.ids += 1;
        Uuid::from_u128(self.ids)
    }

    /// Ends a process at once; what it sent is on its way.
    pub(crate) fn kill(&mut self, process: ProcessId) {
        self.processes[process].alive = false;
        self.processes[process].disturbed_at = self.now;
        self.killed.push(process);
    }
}

impl Process {
    pub(crate) fn new(name: String, region: Option<usize>) -> Self {
        Self { name, region, alive: true, paused_until: 0, skew: 0, disturbed_at: Ms::MIN, slept_at: Ms::MIN }
    }
}

/// Milliseconds as seconds, for people.
pub(crate) fn seconds(ms: Ms) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "minutes")]
    let seconds = ms as f64 / 1000.0;
    seconds
}

/// The world, as tasks reach it. No task holds it across a wait.
#[derive(Clone)]
pub(crate) struct Sim(Arc<Mutex<World>>);

impl std::fmt::Debug for Sim {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sim")
    }
}

impl Sim {
    pub(super) fn new(world: World) -> Self {
        Self(Arc::new(Mutex::new(world)))
    }

    pub(crate) fn world(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits in virtual time.
    pub(crate) fn sleep(&self, ms: Ms) -> Sleep {
        Sleep { sim: self.clone(), ms, until: None }
    }

    /// A number from `range`.
    pub(crate) fn random(&self, range: std::ops::Range<Ms>) -> Ms {
        self.world().random.i64(range)
    }
}

/// See [`Sim::sleep`].
pub(crate) struct Sleep {
    sim: Sim,
    ms: Ms,
    until: Option<Ms>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        let sim = self.sim.clone();
        let mut world = sim.world();
        match self.until {
            Some(until) if world.now >= until => Poll::Ready(()),
            Some(_) => Poll::Pending,
            None => {
                let until = world.now + self.ms;
                self.until = Some(until);
                let task = world.current;
                world.at(until, Due::Wake(task));
                Poll::Pending
            }
        }
    }
}
