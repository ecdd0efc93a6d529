//! What every queue promises, as one suite for all.

#![expect(clippy::unwrap_used, reason = "the suite fails by panicking")]

use std::collections::HashMap;
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::{Message, Queue, Received};

const SECOND: Duration = Duration::from_secs(1);

/// Checks a queue, which must be empty. SQS gives approximate numbers and ticks in seconds, so nothing here asks for more.
///
/// # Panics
/// A promise is broken.
pub async fn conformance(queue: &dyn Queue) {
    delivers_and_deletes(queue).await;
    waits_for_the_first(queue).await;
    delivers_again(queue).await;
    many_receivers(queue).await;
}

fn message(chunk: i32) -> Message {
    Message::new(Uuid::from_u128(7), chunk, 1)
}

async fn receive_all(queue: &dyn Queue, count: usize, visibility: Duration) -> Vec<Received> {
    let mut all = Vec::new();
    let until = Instant::now() + SECOND * 20;
    while all.len() < count && Instant::now() < until {
        all.extend(queue.receive(10, SECOND, visibility).await.unwrap());
    }
    all
}

async fn delivers_and_deletes(queue: &dyn Queue) {
    let messages: Vec<Message> = (0..10).map(message).collect();
    assert_eq!(queue.send(&messages).await.unwrap().len(), 10);
    let received = receive_all(queue, 10, SECOND * 30).await;
    let mut chunks: Vec<i32> = received.iter().map(|r| r.message.expect("a message").chunk).collect();
    chunks.sort_unstable();
    assert_eq!(chunks, (0..10).collect::<Vec<_>>());
    assert!(received.iter().all(|r| r.receive_count == 1));
    let depth = queue.depth().await.unwrap();
    assert_eq!((depth.visible, depth.in_flight), (0, 10));
    let receipts: Vec<_> = received.into_iter().map(|r| r.receipt).collect();
    queue.delete(&receipts).await.unwrap();
    queue.delete(&receipts).await.expect("what is gone counts as deleted");
    let depth = queue.depth().await.unwrap();
    assert_eq!((depth.visible, depth.in_flight), (0, 0));
}

async fn waits_for_the_first(queue: &dyn Queue) {
    let started = Instant::now();
    assert!(queue.receive(1, SECOND * 2, SECOND).await.unwrap().is_empty());
    assert!(started.elapsed() >= Duration::from_millis(1500), "waited {:?}", started.elapsed());
    let started = Instant::now();
    let (received, ()) = tokio::join!(async { queue.receive(1, SECOND * 10, SECOND * 30).await.unwrap() }, async {
        tokio::time::sleep(SECOND).await;
        queue.send(&[message(1)]).await.unwrap();
    });
    assert_eq!(received.len(), 1);
    assert!(started.elapsed() < SECOND * 6, "woken after {:?}", started.elapsed());
    queue.delete(&[received[0].receipt.clone()]).await.unwrap();
}

async fn delivers_again(queue: &dyn Queue) {
    queue.send(&[message(1)]).await.unwrap();
    let first = receive_all(queue, 1, SECOND).await.remove(0);
    let second = receive_all(queue, 1, SECOND * 2).await.remove(0);
    assert_eq!((second.message, second.receive_count), (Some(message(1)), 2));
    // The first delivery has expired: extending it is no error.
    queue.extend(&[first.receipt], SECOND).await.unwrap();
    queue.extend(std::slice::from_ref(&second.receipt), SECOND * 60).await.unwrap();
    assert!(queue.receive(1, SECOND * 4, SECOND).await.unwrap().is_empty(), "an extended delivery came again");
    queue.extend(&[second.receipt], Duration::ZERO).await.unwrap();
    let third = receive_all(queue, 1, SECOND * 30).await.remove(0);
    assert_eq!(third.receive_count, 3);
    queue.delete(&[third.receipt]).await.unwrap();
}

async fn many_receivers(queue: &dyn Queue) {
    const MESSAGES: i32 = 100;
    for batch in (0..MESSAGES).collect::<Vec<_>>().chunks(10) {
        let batch: Vec<Message> = batch.iter().map(|c| message(*c)).collect();
        queue.send(&batch).await.unwrap();
    }
    let receivers = (0..8).map(|_| async {
        let mut seen = Vec::new();
        loop {
            let received = queue.receive(10, SECOND, SECOND * 60).await.unwrap();
            if received.is_empty() {
                return seen;
            }
            let receipts: Vec<_> = received.iter().map(|r| r.receipt.clone()).collect();
            queue.delete(&receipts).await.unwrap();
            seen.extend(received.into_iter().filter_map(|r| r.message).map(|m| m.chunk));
        }
    });
    let mut times: HashMap<i32, usize> = HashMap::new();
    for chunk in futures_util::future::join_all(receivers).await.into_iter().flatten() {
        *times.entry(chunk).or_default() += 1;
    }
    assert_eq!(times.len(), 100, "every message comes at least once");
}
