//! What is between a process and a server: calls that take time, do not arrive, arrive late, or whose answer is lost.

use std::fmt::Debug;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;

use super::memory::Ms;
use super::world::{Due, ProcessId, Sim, World};

/// How long a caller waits for an answer.
pub(crate) const PATIENCE: Ms = 2_500;
/// A statement that waits for a row's lock looks again after this.
const LOCKED: Ms = 200;

/// Who is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Server {
    /// The database.
    Store,
    /// The queue of a region, and its dead letters.
    Queue(usize),
    /// The output store.
    Objects,
}

/// The call failed; whether it took effect is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unreachable;

/// What becomes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It arrives after the first time, its answer after the second.
    Answered(Ms, Ms),
    /// Refused at once, without effect.
    Refused(Ms),
    /// It arrives after this time; its answer never does. With a time beyond the caller's patience, it arrives late.
    Unanswered(Ms),
    /// It never arrives.
    Lost,
}

/// A process's way to the servers.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    pub(crate) sim: Sim,
    pub(crate) process: ProcessId,
}

impl Client {
    /// Stops the process at a place where that hurts, one time of so many while faults strike.
    pub(crate) async fn stop_now_and_then(&self, of: u32) {
        {
            let mut world = self.sim.world();
            if !world.weather.foul || world.random.u32(0..of) > 0 {
                return;
            }
            world.stop(self.process);
        }
        // It goes on when it is woken, which waits for the stop's end.
        self.sim.sleep(0).await;
    }

    /// Calls a server, which does `op` at the moment when the call arrives.
    pub(crate) async fn call<T: Debug + Send + 'static>(
        &self,
        server: Server,
        name: &'static str,
        op: impl FnOnce(&mut World) -> T + Send + 'static,
    ) -> Result<T, Unreachable> {
        let mut op = Some(op);
        let once = move |world: &mut World| Poll::Ready(op.take().map(|op| op(world)));
        self.call_locking(server, name, once).await?.ok_or(Unreachable)
    }

    /// As [`call`](Self::call), for what may have to wait for a lock.
    pub(crate) async fn call_locking<T: Debug + Send + 'static>(
        &self,
        server: Server,
        name: &'static str,
        op: impl FnMut(&mut World) -> Poll<T> + Send + 'static,
    ) -> Result<T, Unreachable> {
        let slot = Arc::new(Mutex::new(None));
        {
            let mut world = self.sim.world();
            let (task, now) = (world.current, world.now);
            let fate = world.fate(self.process, server);
            let (arrives, answered) = match fate {
                Fate::Answered(there, back) => (Some(there), Some(back)),
                Fate::Unanswered(there) => (Some(there), None),
                Fate::Refused(_) | Fate::Lost => (None, None),
            };
            if fate != Fate::Lost && !matches!(fate, Fate::Answered(..)) {
                let process = self.process;
                world.say(|w| format!("{} {name}: {fate:?}", w.processes[process].name));
            }
            if let Some(there) = arrives {
                let arrival = Arrival { slot: slot.clone(), task, process: self.process, name, op, answered };
                world.at(now + there, Due::Run(Box::new(move |world| arrival.run(world, now + PATIENCE))));
            }
            if answered.is_none() {
                let patience = if let Fate::Refused(after) = fate { after } else { PATIENCE };
                let slot = slot.clone();
                world.at(
                    now + patience,
                    Due::Run(Box::new(move |world| {
                        *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(Err(Unreachable));
                        let now = world.now;
                        world.at(now, Due::Wake(task));
                    })),
                );
            }
        }
        poll_fn(|_| slot.lock().unwrap_or_else(PoisonError::into_inner).take().map_or(Poll::Pending, Poll::Ready)).await
    }
}

/// A call that arrives.
struct Arrival<T, F> {
    slot: Arc<Mutex<Option<Result<T, Unreachable>>>>,
    task: usize,
    process: ProcessId,
    name: &'static str,
    op: F,
    answered: Option<Ms>,
}

impl<T: Debug + Send + 'static, F: FnMut(&mut World) -> Poll<T> + Send + 'static> Arrival<T, F> {
    fn run(mut self, world: &mut World, patience: Ms) {
        let now = world.now;
        world.watch.caller = self.process;
        if self.answered.is_none() {
            // Whoever asked does not know that it has what it asked for.
            world.processes[self.process].disturbed_at = now.max(world.processes[self.process].disturbed_at);
        }
        let Poll::Ready(value) = (self.op)(world) else {
            if now < patience {
                world.at(now + LOCKED, Due::Run(Box::new(move |world| self.run(world, patience))));
            } else {
                self.answer(world, Err(Unreachable), 0);
            }
            return;
        };
        world.note((self.process as u64) << 32 | self.name.len() as u64);
        let (process, name) = (self.process, self.name);
        world.say(|w| {
            let text = format!("{value:?}");
            let short: String = text.chars().take(160).collect();
            format!("{} {name} -> {short}", w.processes[process].name)
        });
        if let Some(back) = self.answered {
            self.answer(world, Ok(value), back);
        }
    }

    fn answer(&self, world: &mut World, answer: Result<T, Unreachable>, after: Ms) {
        let (slot, task, at) = (self.slot.clone(), self.task, world.now + after);
        // Taken by the task when it is woken; it is not woken before.
        *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(answer);
        world.at(at, Due::Wake(task));
    }
}
