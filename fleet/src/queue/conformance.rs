//! What every queue promises, as one suite for all.

#![expect(clippy::unwrap_used, reason = "the suite fails by panicking")]

use std::collections::HashMap;
use std::slice::from_ref;
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::{Depth, MAX_BATCH, MESSAGE_VERSION, Message, Queue, Receipt, Received};

const SECOND: Duration = Duration::from_secs(1);
/// How long numbers that are only about right may take to become right: SQS says a minute.
const SETTLED: Duration = Duration::from_secs(90);
/// More than any queue here lets a message be received.
const TOO_OFTEN: u32 = 60;

/// Checks a queue, which must be empty; `send_raw` sends it a body that need not be a message. SQS gives approximate
/// numbers, emulators tick once a second, and machines are busy, so nothing here asks for more. Takes about 40 s.
///
/// # Panics
/// A promise is broken.
pub async fn conformance(queue: &dyn Queue, send_raw: impl AsyncFn(&str)) {
    delivers_and_deletes(queue).await;
    waits_for_the_first(queue).await;
    delivers_again(queue).await;
    gives_no_message_for_what_is_none(queue, send_raw).await;
    many_receivers(queue).await;
    buries_what_nobody_deletes(queue).await;
}

fn message(chunk: i32) -> Message {
    Message::new(Uuid::from_u128(7), chunk, 1)
}

fn receipts(received: &[Received]) -> Vec<Receipt> {
    received.iter().map(|r| r.receipt.clone()).collect()
}

/// Receives until there are `count`.
async fn receive_all(queue: &dyn Queue, count: usize, visibility: Duration) -> Vec<Received> {
    let mut all = Vec::new();
    let until = Instant::now() + SECOND * 30;
    while all.len() < count && Instant::now() < until {
        all.extend(queue.receive(MAX_BATCH, SECOND, visibility).await.unwrap());
    }
    assert_eq!(all.len(), count, "messages that are visible are received");
    all
}

async fn receive_one(queue: &dyn Queue, visibility: Duration) -> Received {
    receive_all(queue, 1, visibility).await.remove(0)
}

/// Waits until the queue says that it holds so many.
async fn holds(queue: &dyn Queue, visible: u64, in_flight: u64) {
    let until = Instant::now() + SETTLED;
    loop {
        let depth = queue.depth().await.unwrap();
        if depth == (Depth { visible, in_flight }) {
            return;
        }
        assert!(Instant::now() < until, "{visible} visible and {in_flight} in flight are reported as {depth:?}");
        tokio::time::sleep(SECOND / 5).await;
    }
}

async fn delivers_and_deletes(queue: &dyn Queue) {
    assert!(queue.send(&[]).await.unwrap().is_empty(), "nothing to send is no error");
    let messages: Vec<Message> = (0..10).map(message).collect();
    let accepted = queue.send(&messages).await.unwrap();
    assert_eq!(accepted, (0..10).collect::<Vec<_>>(), "all of a batch are accepted");
    let received = receive_all(queue, 10, SECOND * 60).await;
    let mut chunks: Vec<i32> = received.iter().map(|r| r.message.expect("a message").chunk).collect();
    chunks.sort_unstable();
    assert_eq!(chunks, (0..10).collect::<Vec<_>>(), "what is sent is received");
    assert!(received.iter().all(|r| r.receive_count == 1), "the first delivery counts as one");
    holds(queue, 0, 10).await;
    queue.delete(&receipts(&received)).await.unwrap();
    queue.delete(&receipts(&received)).await.expect("what is gone counts as deleted");
    queue.delete(&[]).await.expect("nothing to delete is no error");
    queue.extend(&[], SECOND).await.expect("nothing to extend is no error");
    holds(queue, 0, 0).await;
}

async fn waits_for_the_first(queue: &dyn Queue) {
    let started = Instant::now();
    assert!(queue.receive(1, SECOND * 2, SECOND).await.unwrap().is_empty());
    let waited = started.elapsed();
    assert!(waited >= SECOND * 3 / 2 && waited < SECOND * 10, "a wait of 2 s took {waited:?}");
    let started = Instant::now();
    let (received, ()) = tokio::join!(async { queue.receive(1, SECOND * 15, SECOND * 60).await.unwrap() }, async {
        tokio::time::sleep(SECOND).await;
        queue.send(&[message(1)]).await.unwrap();
    });
    assert_eq!(received.len(), 1, "a message ends the wait");
    assert!(started.elapsed() < SECOND * 10, "a message after 1 s woke after {:?}", started.elapsed());
    let again = queue.receive(1, SECOND * 2, SECOND).await.unwrap();
    assert!(again.is_empty(), "a delivery is invisible for as long as was asked");
    queue.delete(&receipts(&received)).await.unwrap();
}

async fn delivers_again(queue: &dyn Queue) {
    queue.send(&[message(1)]).await.unwrap();
    let first = receive_one(queue, SECOND).await;
    let second = receive_one(queue, SECOND * 5).await;
    assert_eq!((second.message, second.receive_count), (Some(message(1)), 2), "an expired delivery comes again");
    queue.extend(from_ref(&first.receipt), SECOND).await.expect("an expired delivery is passed over");
    queue.extend(from_ref(&second.receipt), SECOND * 120).await.unwrap();
    assert!(queue.receive(1, SECOND * 8, SECOND).await.unwrap().is_empty(), "an extended delivery came again");
    queue.extend(from_ref(&second.receipt), Duration::ZERO).await.unwrap();
    let third = receive_one(queue, SECOND * 60).await;
    assert_eq!(third.receive_count, 3, "a delivery that is handed back comes again");
    // Some queues delete the message with an old receipt, others do not.
    queue.delete(&[first.receipt, second.receipt]).await.expect("an expired delivery is passed over");
    queue.delete(&[third.receipt]).await.unwrap();
    holds(queue, 0, 0).await;
}

async fn gives_no_message_for_what_is_none(queue: &dyn Queue, send_raw: impl AsyncFn(&str)) {
    let later = Message { v: MESSAGE_VERSION + 1, ..message(1) };
    let later = serde_json::to_string(&later).unwrap();
    let bodies = ["not JSON", "{\"v\":1}", "[]", &later];
    for body in bodies {
        send_raw(body).await;
    }
    let received = receive_all(queue, bodies.len(), SECOND * 60).await;
    assert!(received.iter().all(|r| r.message.is_none()), "a body that is no message gives none: {received:?}");
    queue.delete(&receipts(&received)).await.unwrap();
    holds(queue, 0, 0).await;
}

async fn many_receivers(queue: &dyn Queue) {
    let messages: Vec<Message> = (0..200).map(message).collect();
    for batch in messages.chunks(MAX_BATCH) {
        assert_eq!(queue.send(batch).await.unwrap().len(), batch.len(), "all of a batch are accepted");
    }
    holds(queue, 200, 0).await;
    let receivers = (1..=8).map(|max| async move {
        let mut seen = Vec::new();
        loop {
            let received = queue.receive(max, SECOND * 2, SECOND * 120).await.unwrap();
            if received.is_empty() {
                return seen;
            }
            assert!(received.len() <= max, "{} messages where {max} were asked for", received.len());
            queue.delete(&receipts(&received)).await.unwrap();
            seen.extend(received.into_iter().map(|r| r.message.expect("a message").chunk));
        }
    });
    let mut times: HashMap<i32, usize> = HashMap::new();
    for chunk in futures_util::future::join_all(receivers).await.into_iter().flatten() {
        *times.entry(chunk).or_default() += 1;
    }
    assert_eq!(times.len(), messages.len(), "every message comes at least once");
    holds(queue, 0, 0).await;
}

async fn buries_what_nobody_deletes(queue: &dyn Queue) {
    let Some(dead) = queue.dead_letters() else { return };
    queue.send(&[message(9)]).await.unwrap();
    let mut times = 0;
    loop {
        let received = queue.receive(1, SECOND * 3, SECOND * 60).await.unwrap();
        let Some(one) = received.first() else { break };
        times += 1;
        assert!(times < TOO_OFTEN, "a message that nobody deletes comes for ever");
        queue.extend(from_ref(&one.receipt), Duration::ZERO).await.unwrap();
    }
    let buried = receive_one(dead, SECOND * 60).await;
    assert_eq!(buried.message, Some(message(9)), "what came {times} times is among the dead letters");
    dead.delete(&[buried.receipt]).await.unwrap();
    holds(queue, 0, 0).await;
    holds(dead, 0, 0).await;
}
