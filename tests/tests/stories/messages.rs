//! Duplicate, late, reordered and lost messages change nothing but time.

use std::time::Duration;

use fleet::queue::{Message, Queue};
use stories::fleet_processes::{Fleet, small_ladder};
use stories::services::Postgres;
use stories::{made_clip, promises};

#[tokio::test(flavor = "multi_thread")]
async fn messages_that_come_twice_late_in_disorder_or_never_change_nothing_but_time() {
    let fleet = Fleet::local(&Postgres::shared().create_database()).await;
    let dispatcher = fleet.dispatcher();
    let _worker = fleet.worker("local", &["--slots", "2"]);
    let clip = made_clip(fleet.dir.path(), 300);
    let jobs = [
        fleet.submit(&clip.display().to_string(), &small_ladder()).await,
        fleet.submit(&clip.display().to_string(), &small_ladder()).await,
    ];
    let queue = fleet.config.regions[0].queue(&fleet.store).await;
    let random = fastrand::Rng::with_seed(7);
    disturb(&fleet, &*queue, &jobs, random).await;
    for job in jobs {
        fleet.succeeded(job, Duration::from_secs(180)).await;
    }
    // Messages for what is long done, and for what never was.
    let strange: Vec<Message> = jobs
        .iter()
        .flat_map(|job| [Message::new(*job, 1, 1), Message::new(*job, 1, 99), Message::new(*job, 9999, 1)])
        .chain([Message::new(uuid::Uuid::now_v7(), 1, 1)])
        .collect();
    queue.send(&strange).await.unwrap();
    let until = std::time::Instant::now() + Duration::from_secs(30);
    loop {
        let depth = queue.depth().await.unwrap();
        if depth.visible + depth.in_flight == 0 {
            break;
        }
        assert!(std::time::Instant::now() < until, "messages are left: {depth:?}\n{}", fleet.logs());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    drop(dispatcher);
    let output = fleet.config.objects(&fleet.config.buckets()).await.unwrap();
    promises::check(&fleet.store, &*output).await.assert_kept();
    let twice: i64 = sqlx::query_scalar(
        "select count(*) from (select job_id, chunk from touchline.attempts where outcome = 'done'
            group by 1, 2 having count(*) > 1) t",
    )
    .fetch_one(fleet.store.pool())
    .await
    .unwrap();
    assert_eq!(twice, 0, "no chunk was done twice");
}

/// Doubles, delays, reorders and steals messages while the jobs run.
async fn disturb(fleet: &Fleet, queue: &dyn Queue, jobs: &[uuid::Uuid], mut random: fastrand::Rng) {
    let until = std::time::Instant::now() + Duration::from_secs(15);
    while std::time::Instant::now() < until {
        for received in queue.receive(10, Duration::from_millis(100), Duration::from_millis(500)).await.unwrap() {
            let message = received.message.unwrap();
            match random.u32(0..4) {
                // Lost.
                0 => queue.delete(&[received.receipt]).await.unwrap(),
                // Twice, and once more.
                1 => drop(queue.send(&[message, message]).await.unwrap()),
                // Late, behind others.
                2 => queue.extend(&[received.receipt], Duration::from_secs(2)).await.unwrap(),
                // At once.
                _ => queue.extend(&[received.receipt], Duration::ZERO).await.unwrap(),
            }
        }
        let mut ended = true;
        for job in jobs {
            ended &= fleet.store.job(*job).await.unwrap().job_state().is_final();
        }
        if ended {
            return;
        }
        tokio::time::sleep(Duration::from_millis(u64::from(random.u8(0..60)))).await;
    }
}
