//! A worker, as `worker::service` is one: it polls, claims, keeps leases, and hands back. Leases ([`Leases`]), where a
//! chunk goes on and what a failure means are the worker's own code.

mod attempt;
mod commit;

use std::sync::Arc;
use std::time::Duration;

use fleet::queue::{MAX_BATCH, Queue, Received};
use fleet::store::work::AttemptId;
use uuid::Uuid;
use worker::service::lease::Leases;

use super::deviation::Deviation;
use super::memory::{Claimed, Ms, Task};
use super::network::{Client, Server, Unreachable};
use super::objects::ObjectClient;
use super::people::boot;
use super::queue::QueueClient;
use super::world::{ProcessId, Sim, TaskId};

/// Times of a simulated fleet, about a quarter of the product's, in the same proportions.
pub(crate) const HEARTBEAT: Ms = 2_500;
pub(crate) const LEASE: Ms = 11_000;
/// How long a drain waits for a segment to be finished.
const DRAIN: Ms = 5_000;
/// Between two looks at which leases have run out.
pub(crate) const LOOK: Ms = 250;

/// What the tasks of one worker share.
pub(crate) struct Service {
    pub(crate) id: Uuid,
    pub(crate) client: Client,
    pub(crate) queue: QueueClient,
    pub(crate) objects: ObjectClient,
    pub(crate) leases: Leases,
    state: std::sync::Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    draining_since: Option<Ms>,
    /// Tasks of attempts that run: they look at their leases when they are woken.
    attempts: Vec<TaskId>,
}

impl Service {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.state().draining_since.is_some()
    }

    /// Whether a drain has waited long enough.
    fn is_cut_short(&self) -> bool {
        let now = self.client.sim.world().now;
        self.state().draining_since.is_some_and(|since| now >= since + DRAIN)
    }

    pub(crate) fn holds(&self, id: AttemptId) -> bool {
        self.leases.holds(id)
    }

    fn wake_attempts(&self) {
        for task in self.state().attempts.clone() {
            self.client.sim.wake(task);
        }
    }

    fn drain(self: &Arc<Self>) {
        let now = self.client.sim.world().now;
        self.state().draining_since.get_or_insert(now);
        let (service, sim) = (self.clone(), self.client.sim.clone());
        self.client.sim.spawn(self.client.process, async move {
            sim.sleep(DRAIN).await;
            service.wake_attempts();
        });
    }

    /// The lease that is asked for.
    pub(crate) fn lease(&self) -> Ms {
        let world = self.client.sim.world();
        let skew =
            if world.does(Deviation::LeaseByWorkersClock) { world.processes[self.client.process].skew } else { 0 };
        LEASE + skew
    }
}

/// Runs a worker until it is drained or killed.
pub(crate) async fn run(sim: Sim, process: ProcessId, region: usize, id: Uuid, slots: usize) {
    let client = Client { sim: sim.clone(), process };
    let service = Arc::new(Service {
        id,
        queue: QueueClient::new(client.clone(), region),
        objects: ObjectClient(client.clone()),
        leases: Leases::default(),
        state: std::sync::Mutex::default(),
        client,
    });
    let device = format!("device-{process}");
    let slots_row = i64::try_from(slots).unwrap_or(1);
    loop {
        let device = device.clone();
        let call = service.client.call(Server::Store, "register_worker", move |w| {
            w.store.register_worker(id, &region.to_string(), &device, slots_row);
            w.store.device_checked(&device);
        });
        match call.await {
            Ok(()) => break,
            Err(Unreachable) => sim.sleep(500).await,
        }
    }
    let beating = service.clone();
    sim.spawn(process, async move { keep(beating).await });
    let looking = service.clone();
    sim.spawn(process, async move { give_up(looking).await });
    poll(&service, slots).await;
    let farewell = service.client.call(Server::Store, "worker_gone", move |w| w.store.worker_gone(id)).await;
    if farewell.is_err() {
        sim.world().say(|_| "a farewell was not recorded".to_owned());
    }
    // What manages containers starts a worker again.
    let after = sim.random(50..5_000);
    sim.world().kill(process);
    boot(&sim, process, after);
}

async fn poll(service: &Arc<Service>, slots: usize) {
    let sim = &service.client.sim;
    while !service.is_draining() {
        let free = slots.saturating_sub(service.state().attempts.len());
        if free == 0 {
            sim.sleep(300).await;
            continue;
        }
        let received = service
            .queue
            .receive(free.min(MAX_BATCH), Duration::ZERO, Duration::from_millis(LEASE.unsigned_abs()))
            .await;
        match received {
            Ok(received) if received.is_empty() => sim.sleep(700).await,
            Ok(received) => {
                for one in received {
                    let asked = sim.world().clock();
                    let Some(task) = claim(service, &one).await else { continue };
                    start(service, task, asked, one);
                }
            }
            Err(_) => sim.sleep(800).await,
        }
    }
    // Attempts end at their next segment; those that take too long are cut short.
    for _ in 0..40 {
        if service.state().attempts.is_empty() {
            break;
        }
        sim.sleep(400).await;
    }
}

fn start(service: &Arc<Service>, task: Task, asked: Duration, received: Received) {
    let (it, sim) = (service.clone(), service.client.sim.clone());
    // Entered before it runs, so that it counts at once.
    let number = sim.world().next_task;
    service.state().attempts.push(number);
    sim.spawn(service.client.process, async move {
        attempt::run(&it, task, asked, received.receipt).await;
        it.state().attempts.retain(|t| *t != number);
    });
}

async fn claim(service: &Arc<Service>, received: &Received) -> Option<Task> {
    let message = received.message?;
    let (id, lease) = (service.id, service.lease());
    let claimed = service.client.call(Server::Store, "claim", move |w| w.store.claim(message, id, lease)).await;
    let outcome = match claimed {
        Ok(Claimed::Ours(task)) => return Some(*task),
        Ok(Claimed::Stale) => service.queue.delete(std::slice::from_ref(&received.receipt)).await,
        Ok(Claimed::Elsewhere) => {
            service.queue.extend(std::slice::from_ref(&received.receipt), Duration::from_secs(5)).await
        }
        Err(Unreachable) => service.queue.extend(std::slice::from_ref(&received.receipt), Duration::from_secs(2)).await,
    };
    if outcome.is_err() {
        service.client.sim.world().say(|_| "the message comes again by itself".to_owned());
    }
    None
}

/// Sends heartbeats for ever.
async fn keep(service: Arc<Service>) {
    loop {
        beat(&service).await;
        service.wake_attempts();
        service.client.sim.sleep(HEARTBEAT).await;
    }
}

/// Gives up leases that were not renewed in time, for ever.
async fn give_up(service: Arc<Service>) {
    while !service.client.sim.world().does(Deviation::LeaseNeverExpires) {
        let now = service.client.sim.world().clock();
        service.leases.expire(Duration::from_millis(LEASE.unsigned_abs()), now);
        service.wake_attempts();
        service.client.sim.sleep(LOOK).await;
    }
}

async fn beat(service: &Arc<Service>) {
    let mut beats = service.leases.beats();
    // They come in the order of a hash, which is not the seed's.
    beats.sort_by_key(|b| (b.id.job, b.id.chunk, b.id.attempt));
    let (id, lease, told) = (service.id, service.lease(), beats.clone());
    let sent = service.client.sim.world().clock();
    if !beats.is_empty()
        && let Ok(held) =
            service.client.call(Server::Store, "heartbeat", move |w| w.store.heartbeat(id, &told, lease)).await
    {
        let known: &[_] = if service.client.sim.world().does(Deviation::LostLeaseGoesOn) { &[] } else { &beats };
        let receipts = service.leases.answered(known, &held, sent);
        if !receipts.is_empty()
            && service.queue.extend(&receipts, Duration::from_millis(LEASE.unsigned_abs())).await.is_err()
        {
            service.client.sim.world().say(|_| "visibility was not extended".to_owned());
        }
    }
    let draining = service.is_draining();
    let command = service.client.call(Server::Store, "worker_beat", move |w| w.store.worker_beat(id, draining)).await;
    if command == Ok(true) && !draining {
        service.drain();
        service.wake_attempts();
    }
}
