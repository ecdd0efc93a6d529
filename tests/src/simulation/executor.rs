//! Runs the tasks of one simulated fleet, one at a time, in the order of the virtual clock.
//!
//! A task goes on only when something that it waits for is due; a process that is stopped goes on when it is woken, one
//! that is killed never. What a task sent before its end arrives all the same.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use super::memory::Ms;
use super::world::{Due, ProcessId, Sim, TaskId, Work};

/// Things that happen in one run at most: more is a loop.
const MOST_STEPS: u64 = 400_000;

/// Runs until nothing is due, somebody says that it is over, or an invariant is broken. `false`: it did not come to an end.
pub(super) fn run(sim: &Sim, latest: Ms) -> bool {
    let mut tasks: Vec<Option<(ProcessId, Work)>> = Vec::new();
    let mut context = Context::from_waker(Waker::noop());
    loop {
        let due = {
            let mut world = sim.world();
            let spawned = std::mem::take(&mut world.spawned);
            let ended = std::mem::take(&mut world.ended);
            let killed = std::mem::take(&mut world.killed);
            let next = if world.over || world.watch.is_broken() { None } else { world.next() };
            let late = world.now > latest || world.steps > MOST_STEPS;
            drop(world);
            for (id, process, work) in spawned {
                tasks.resize_with(tasks.len().max(id + 1), || None);
                tasks[id] = Some((process, work));
            }
            for id in ended {
                // Out of the lock: what ends may say so to the world.
                drop(tasks.get_mut(id).and_then(Option::take));
            }
            for process in killed {
                for task in tasks.iter_mut().filter(|t| t.as_ref().is_some_and(|(p, _)| *p == process)) {
                    drop(task.take());
                }
            }
            if late {
                return false;
            }
            next
        };
        match due {
            None => return true,
            Some(Due::Run(run)) => {
                let mut world = sim.world();
                run(&mut world);
                world.look();
            }
            Some(Due::Wake(id)) => {
                let Some((process, _)) = tasks.get(id).and_then(Option::as_ref) else { continue };
                {
                    let mut world = sim.world();
                    let it = &world.processes[*process];
                    let until = it.paused_until;
                    if until > world.now {
                        world.at(until, Due::Wake(id));
                        continue;
                    }
                    world.current = id;
                }
                // Out of its place, so that what it starts or ends does not find it there.
                let Some((process, mut work)) = tasks[id].take() else { continue };
                if work.as_mut().poll(&mut context).is_pending() {
                    tasks[id] = Some((process, work));
                }
            }
        }
    }
}

/// The outcome of a task that another one waits for; dropping it ends the task.
pub(crate) struct Join<T> {
    sim: Sim,
    task: TaskId,
    outcome: Arc<Mutex<Option<T>>>,
}

impl Sim {
    /// Starts a task beside the present one.
    pub(crate) fn spawn(&self, process: ProcessId, work: impl Future<Output = ()> + Send + 'static) -> TaskId {
        self.world().start(process, Box::pin(work))
    }

    /// Starts a task whose outcome the present one will wait for.
    pub(crate) fn fork<T: Send + 'static>(
        &self,
        process: ProcessId,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Join<T> {
        let outcome = Arc::new(Mutex::new(None));
        let (cell, sim, parent) = (outcome.clone(), self.clone(), self.world().current);
        let task = self.spawn(process, async move {
            let value = work.await;
            *cell.lock().unwrap_or_else(PoisonError::into_inner) = Some(value);
            let mut world = sim.world();
            let now = world.now;
            world.at(now, Due::Wake(parent));
        });
        Join { sim: self.clone(), task, outcome }
    }

    /// Wakes a task: something that it looks at has changed.
    pub(crate) fn wake(&self, task: TaskId) {
        let mut world = self.world();
        let now = world.now;
        world.at(now, Due::Wake(task));
    }
}

impl<T> Future for Join<T> {
    type Output = T;

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<T> {
        self.outcome.lock().unwrap_or_else(PoisonError::into_inner).take().map_or(Poll::Pending, Poll::Ready)
    }
}

impl<T> Drop for Join<T> {
    fn drop(&mut self) {
        self.sim.world().ended.push(self.task);
    }
}

/// Drives `work` until it is done or `stop` says so; looked at whenever the task is woken.
pub(crate) async fn unless<T, S>(work: impl Future<Output = T>, mut stop: impl FnMut() -> Option<S>) -> Result<T, S> {
    let mut work = std::pin::pin!(work);
    std::future::poll_fn(|context| {
        if let Some(reason) = stop() {
            return Poll::Ready(Err(reason));
        }
        work.as_mut().poll(context).map(Ok)
    })
    .await
}
