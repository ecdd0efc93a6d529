//! A region's queue: it delivers at least once, in no order, and under bad weather twice, late or never.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use fleet::queue::{Depth, Message, Queue, QueueError, Receipt, Received};

use super::faults::Fault;
use super::memory::Ms;
use super::network::{Client, Server, Unreachable};
use super::world::World;

/// A message that was received this often goes to the dead letters.
const MOST_RECEIVES: u32 = 6;

/// A queue with its dead letters.
#[derive(Clone, Debug, Default)]
pub(crate) struct RegionQueue {
    messages: BTreeMap<u64, Stored>,
    number: u64,
}

#[derive(Clone, Copy, Debug)]
struct Stored {
    message: Message,
    visible_at: Ms,
    receives: u32,
    delivery: u64,
    dead: bool,
}

impl RegionQueue {
    fn add(&mut self, message: Message, visible_at: Ms) {
        self.number += 1;
        self.messages.insert(self.number, Stored { message, visible_at, receives: 0, delivery: 0, dead: false });
    }

    /// Messages of both kinds.
    pub(crate) fn len(&self) -> usize {
        self.messages.len()
    }

    fn find(&mut self, receipt: &Receipt, dead: bool) -> Option<(u64, &mut Stored)> {
        let (id, delivery) = receipt.0.split_once(':')?;
        let (id, delivery): (u64, u64) = (id.parse().ok()?, delivery.parse().ok()?);
        let stored = self.messages.get_mut(&id)?;
        (stored.delivery == delivery && stored.dead == dead).then_some((id, stored))
    }
}

/// A queue as a process reaches it.
#[derive(Debug)]
pub(crate) struct QueueClient {
    client: Client,
    region: usize,
    dead: Option<Box<QueueClient>>,
}

impl QueueClient {
    pub(crate) fn new(client: Client, region: usize) -> Self {
        let dead = Self { client: client.clone(), region, dead: None };
        Self { client, region, dead: Some(Box::new(dead)) }
    }

    async fn ask<T: std::fmt::Debug + Send + 'static>(
        &self,
        name: &'static str,
        op: impl FnOnce(&mut World) -> T + Send + 'static,
    ) -> Result<T, QueueError> {
        let unavailable =
            |Unreachable| QueueError::Unavailable { queue: self.region.to_string(), reason: "no answer".to_owned() };
        self.client.call(Server::Queue(self.region), name, op).await.map_err(unavailable)
    }
}

fn send(world: &mut World, region: usize, messages: &[Message]) {
    for message in messages {
        let now = world.now;
        match world.message_fault() {
            Some(Fault::MessageLost) => continue,
            Some(Fault::MessageTwice) => {
                let late = world.random.i64(0..20_000);
                world.queues[region].add(*message, now + late);
            }
            Some(Fault::MessageLate) => {
                let late = world.random.i64(1_000..40_000);
                world.queues[region].add(*message, now + late);
                continue;
            }
            _ => {}
        }
        world.queues[region].add(*message, now);
    }
}

fn receive(world: &mut World, region: usize, dead: bool, max: usize, visibility: Ms) -> Vec<Received> {
    let now = world.now;
    let queue = &mut world.queues[region];
    let mut visible: Vec<u64> = Vec::new();
    for (id, stored) in &mut queue.messages {
        if stored.visible_at <= now && !stored.dead && stored.receives >= MOST_RECEIVES {
            (stored.dead, stored.receives, stored.delivery) = (true, 0, 0);
        }
        if stored.visible_at <= now && stored.dead == dead {
            visible.push(*id);
        }
    }
    let mut received = Vec::new();
    while received.len() < max && !visible.is_empty() {
        let id = visible.swap_remove(world.random.usize(0..visible.len()));
        queue.number += 1;
        let delivery = queue.number;
        let Some(stored) = queue.messages.get_mut(&id) else { continue };
        stored.visible_at = now + visibility;
        stored.receives += 1;
        stored.delivery = delivery;
        received.push(Received {
            message: Some(stored.message),
            receipt: Receipt(format!("{id}:{delivery}")),
            receive_count: stored.receives,
        });
    }
    received
}

fn ms(duration: Duration) -> Ms {
    Ms::try_from(duration.as_millis()).unwrap_or(Ms::MAX)
}

#[async_trait]
impl Queue for QueueClient {
    async fn send(&self, messages: &[Message]) -> Result<Vec<usize>, QueueError> {
        let (region, messages) = (self.region, messages.to_vec());
        self.ask("send", move |world| {
            send(world, region, &messages);
            (0..messages.len()).collect()
        })
        .await
    }

    async fn receive(&self, max: usize, _: Duration, visibility: Duration) -> Result<Vec<Received>, QueueError> {
        let (region, dead) = (self.region, self.dead.is_none());
        self.ask("receive", move |world| receive(world, region, dead, max, ms(visibility))).await
    }

    async fn extend(&self, receipts: &[Receipt], visibility: Duration) -> Result<(), QueueError> {
        let (region, dead, receipts) = (self.region, self.dead.is_none(), receipts.to_vec());
        self.ask("extend", move |world| {
            let until = world.now + ms(visibility);
            for receipt in &receipts {
                if let Some((_, stored)) = world.queues[region].find(receipt, dead) {
                    stored.visible_at = until;
                }
            }
        })
        .await
    }

    async fn delete(&self, receipts: &[Receipt]) -> Result<(), QueueError> {
        let (region, dead, receipts) = (self.region, self.dead.is_none(), receipts.to_vec());
        self.ask("delete", move |world| {
            for receipt in &receipts {
                if let Some((id, _)) = world.queues[region].find(receipt, dead) {
                    world.queues[region].messages.remove(&id);
                }
            }
        })
        .await
    }

    async fn depth(&self) -> Result<Depth, QueueError> {
        let region = self.region;
        self.ask("depth", move |world| {
            let now = world.now;
            let live = world.queues[region].messages.values().filter(|m| !m.dead);
            live.fold(Depth::default(), |depth, m| match m.visible_at <= now {
                true => Depth { visible: depth.visible + 1, ..depth },
                false => Depth { in_flight: depth.in_flight + 1, ..depth },
            })
        })
        .await
    }

    fn dead_letters(&self) -> Option<&dyn Queue> {
        self.dead.as_deref().map(|dead| dead as &dyn Queue)
    }
}
