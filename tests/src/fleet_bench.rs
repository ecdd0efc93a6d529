//! Benchmarks of the fleet itself: the control plane, how soon a match can be watched, how well it spreads.

mod plot;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use fleet::cmaf::SegmentFacts;
use fleet::queue::Message;
use fleet::store::work::{Beat, Claimed, Commit, Completed, Completion, NewSegment};
use fleet::store::{Store, StoreOptions};
use uuid::Uuid;

use crate::fleet_processes::{Fleet, small_ladder};
use crate::measure::{Measured, median};
use crate::services::Postgres;
use crate::{ffmpeg, transcode};

#[expect(clippy::cast_precision_loss, reason = "counts")]
fn to_f64(n: u64) -> f64 {
    n as f64
}

/// Workers that ask at once.
const CLIENTS: usize = 16;
/// Segments of a chunk.
const SEGMENTS: u64 = 4;

/// Claims, heartbeats, commits and completions a second on this machine's Postgres, with 1 000 to 100 000 chunks queued.
///
/// # Panics
/// The database refuses.
pub async fn control(runs: u32) -> Vec<Measured> {
    let postgres = Postgres::start();
    println!("\ncontrol: {CLIENTS} workers at once; one turn is claim, heartbeat, {SEGMENTS} segments, done");
    println!("queued chunks | operations/s (median of {runs})");
    let mut rates = Vec::new();
    for queued in [1_000_u64, 10_000, 100_000] {
        let mut measured = Vec::new();
        for _ in 0..runs {
            measured.push(control_once(&postgres.create_database(), queued).await);
        }
        let rate = median(measured);
        println!("{queued:>13} | {rate:.0}");
        rates.push(rate);
    }
    let (few, many) = (dispatcher_mib(&postgres, 1_000).await, dispatcher_mib(&postgres, 100_000).await);
    println!(
        "peak memory of a dispatcher that sends all of them anew: {few:.0} MiB with 1000, {many:.0} MiB with 100000"
    );
    vec![
        Measured { name: "control_1k_against_100k".to_owned(), ratio: rates[0] / rates[rates.len() - 1], limit: 1.25 },
        Measured { name: "dispatcher_memory_100k_against_1k".to_owned(), ratio: many / few, limit: 1.5 },
    ]
}

/// Peak memory of a dispatcher that looked at this many queued chunks, and sent as many of them again as `AGAIN`.
async fn dispatcher_mib(postgres: &Postgres, queued: u64) -> f64 {
    /// Enough rounds of every loop to see what they keep.
    const AGAIN: i64 = 20_000;
    let fleet = Fleet::local(&postgres.create_database()).await;
    fill(&fleet.store, queued).await;
    let dispatcher = fleet.dispatcher();
    let enough = AGAIN.min(i64::try_from(queued).unwrap_or(AGAIN));
    let until = Instant::now() + Duration::from_secs(180);
    loop {
        let again: i64 = sqlx::query_scalar("select count(*) from touchline.chunks where sends > 1")
            .fetch_one(fleet.store.pool())
            .await
            .expect("a count");
        if again >= enough {
            break;
        }
        assert!(Instant::now() < until, "{again} sent again\n{}", fleet.logs());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    to_f64(crate::peak_kib(dispatcher.pid()).expect("it runs")) / 1024.0
}

async fn control_once(database: &str, queued: u64) -> f64 {
    let mut options = StoreOptions::new(database, "bench");
    options.max_connections = u32::try_from(CLIENTS).unwrap_or(16) + 4;
    let store = Store::open(&options).expect("an address");
    store.migrate().await.expect("a schema");
    fill(&store, queued).await;
    let rows: Vec<(Uuid, i32)> =
        sqlx::query_as("select job_id, chunk from touchline.chunks order by random() limit 100000")
            .fetch_all(store.pool())
            .await
            .expect("rows");
    let rows = Arc::new(rows);
    let (next, operations) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let started = Instant::now();
    let until = started + Duration::from_secs(5);
    let clients = (0..CLIENTS).map(|_| {
        let (store, rows, next, operations) = (store.clone(), rows.clone(), next.clone(), operations.clone());
        tokio::spawn(async move {
            let worker = Uuid::now_v7();
            while Instant::now() < until {
                let place = usize::try_from(next.fetch_add(1, Relaxed)).unwrap_or(usize::MAX);
                let Some((job, chunk)) = rows.get(place) else { break };
                operations.fetch_add(turn(&store, *job, *chunk, worker).await, Relaxed);
            }
        })
    });
    for client in futures_util::future::join_all(clients).await {
        client.expect("a client");
    }
    to_f64(operations.load(Relaxed)) / started.elapsed().as_secs_f64()
}

/// Jobs of 100 chunks each, all released.
async fn fill(store: &Store, queued: u64) {
    let organisation = store.ensure_organisation("bench", 1).await.expect("an organisation");
    let ladder = serde_json::to_value(small_ladder()).expect("a ladder");
    sqlx::query(
        "with jobs as (
            insert into touchline.jobs (id, organisation_id, state, source, ladder, home_region)
            select gen_random_uuid(), $1, 'running', '/none', $2, 'local' from generate_series(1, $3) returning id),
         renditions as (insert into touchline.renditions (job_id, name, kind) select id, 'v180', 'video' from jobs)
         insert into touchline.chunks (job_id, chunk, kind, state, position, first_segment, end_segment, region, sent_at,
            queued_at, sends)
         select id, n, 'video', 'queued', n, n * 4, n * 4 + 4, 'local', now(), now(), 1 from jobs, generate_series(1, 100) n",
    )
    .bind(organisation)
    .bind(ladder)
    .bind(i64::try_from(queued / 100).unwrap_or(10))
    .execute(store.pool())
    .await
    .expect("rows");
    sqlx::query("analyze").execute(store.pool()).await.expect("analyze");
}

/// What one worker does with one chunk; gives the number of calls.
async fn turn(store: &Store, job: Uuid, chunk: i32, worker: Uuid) -> u64 {
    let lease = Duration::from_secs(45);
    let backends = ["x264".to_owned()];
    let message = Message::new(job, chunk, 1);
    let Claimed::Ours(claim) = store.claim(&message, worker, "local", &backends, lease).await.expect("a claim") else {
        return 1;
    };
    let beat = Beat { id: claim.id, progress: 1 };
    assert_eq!(store.heartbeat(worker, &[beat], lease).await.expect("a heartbeat").len(), 1);
    let facts = SegmentFacts { size: 1, fragments: Vec::new() };
    for n in 0..SEGMENTS {
        let index = u64::try_from(chunk).unwrap_or(0) * SEGMENTS + n;
        let segment = NewSegment {
            rendition: "v180",
            index,
            uri: "seg.m4s",
            bytes: 1,
            first: index * 150,
            count: 150,
            seconds: 6.0,
            facts: &facts,
        };
        assert_eq!(store.commit_segment(claim.id, &segment).await.expect("a commit"), Commit::New);
    }
    assert_eq!(store.complete(claim.id, &Completion::default()).await.expect("an end"), Completed::Done);
    SEGMENTS + 3
}

/// How soon a match can be watched, against the time that its first segment takes to be encoded, for 1, 5 and 20 minutes.
///
/// # Panics
/// The fleet does not work.
pub async fn soon(clip: &Path, runs: u32) -> Vec<Measured> {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let text = "name: soon\ndescription: 720p\ntop: encode\neffort: fast\nrenditions:\n  \
        - { height: 720, quality: 23, max_kbps: 3500 }\n  - { height: 360, quality: 23, max_kbps: 1000 }\n";
    let ladder_file = dir.path().join("soon.yaml");
    std::fs::write(&ladder_file, text).expect("a temporary folder");
    let ladder = fleet::ladder::Ladder::from_yaml("soon", text).expect("a valid ladder");
    let cut = |seconds: u32| {
        let path = dir.path().join(format!("{seconds}.mp4"));
        let (name, length) = (path.display().to_string(), seconds.to_string());
        let input = clip.display().to_string();
        let said = ffmpeg(&["-stream_loop", "-1", "-i", &input, "-t", &length, "-c", "copy", &name]);
        drop(said);
        path
    };
    let first = cut(6);
    let alone = median(
        (0..runs)
            .map(|i| {
                let out = dir.path().join(format!("first-{i}"));
                let ladder = ladder_file.display().to_string();
                let run = transcode(&first, &out, &["--ladder", &ladder, "--slots", "1", "--encoder", "x264"]);
                assert_eq!(run.code, Some(0), "{}", run.stderr);
                run.took.as_secs_f64()
            })
            .collect(),
    );
    println!("\nsoon: 720p and 360p, warm worker; its first 6 s alone take {alone:.2} s (median of {runs})");
    println!("minutes | first playable after s | ratio");
    let fleet = Fleet::local(&Postgres::shared().create_database()).await;
    let _processes = (fleet.dispatcher(), fleet.worker("local", &["--encoder", "x264"]));
    let mut measured = Vec::new();
    for minutes in [1_u32, 5, 20] {
        let source = cut(minutes * 60).display().to_string();
        let mut times = Vec::new();
        for _ in 0..runs {
            let job = fleet.submit(&source, &ladder).await;
            let row =
                fleet.wait(job, "playable", Duration::from_secs(120), |row| row.first_playable_at.is_some()).await;
            let at = row.first_playable_at.expect("it was waited for");
            times.push((at - row.created_at).as_seconds_f64());
            fleet.store.cancel(job).await.expect("a cancelled job");
            let until = Instant::now() + Duration::from_secs(20);
            while fleet.store.workers(false).await.expect("workers").iter().any(|w| w.busy > 0)
                && Instant::now() < until
            {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
        let time = median(times);
        println!("{minutes:>7} | {time:>22.2} | {:.2}", time / alone);
        measured.push(Measured { name: format!("soon_{minutes}_min"), ratio: time / alone, limit: 3.0 });
    }
    measured
}

/// A 90-minute match on 1 to 64 workers that sleep instead of encoding: the time it takes against the ideal.
///
/// # Panics
/// The fleet does not work.
pub async fn spread() -> Vec<Measured> {
    /// Multiple of real time at which a worker pretends to encode.
    const SPEED: f64 = 20.0;
    const SECONDS: f64 = 5400.0;
    let dir = tempfile::tempdir().expect("a temporary folder");
    let clip = dir.path().join("match.mp4").display().to_string();
    let source = format!("color=c=green:s=320x180:r=25:d={SECONDS}");
    let said = ffmpeg(&["-f", "lavfi", "-i", &source, "-c:v", "libx264", "-preset", "ultrafast", "-g", "250", &clip]);
    drop(said);
    println!("\nspread: a 90-minute match, workers that pretend to encode at {SPEED} x real time");
    println!("workers | ideal s | took s | of ideal");
    let mut measured = Vec::new();
    let mut points = Vec::new();
    for workers in [1_u32, 2, 4, 8, 16, 32, 64] {
        let fleet = Fleet::local(&Postgres::shared().create_database()).await;
        let _dispatcher = fleet.dispatcher();
        let pretend = SPEED.to_string();
        let _workers: Vec<_> =
            (0..workers).map(|_| fleet.worker("local", &["--slots", "1", "--pretend", &pretend])).collect();
        let until = Instant::now() + Duration::from_secs(60);
        while fleet.store.workers(false).await.expect("workers").len() < workers as usize {
            assert!(Instant::now() < until, "workers do not start\n{}", fleet.logs());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        fleet.submit(&clip, &small_ladder()).await;
        let took = loop {
            let row: Option<(f64, i64)> = sqlx::query_as(
                "select extract(epoch from max(finished_at) - min(claimed_at))::float8,
                    count(*) filter (where state <> 'done')
                 from touchline.chunks where kind = 'video' having count(*) > 0",
            )
            .fetch_optional(fleet.store.pool())
            .await
            .unwrap_or_default();
            if let Some((took, 0)) = row {
                break took;
            }
            assert!(Instant::now() < until + Duration::from_secs(600), "{}", fleet.logs());
            tokio::time::sleep(Duration::from_millis(100)).await;
        };
        let ideal = SECONDS / SPEED / f64::from(workers);
        println!("{workers:>7} | {ideal:>7.1} | {took:>6.1} | {:>6.0} %", ideal / took * 100.0);
        points.push(plot::Point { workers, took_s: took, ideal_s: ideal });
        if workers <= 32 {
            let name = format!("spread_{workers}");
            measured.push(Measured { name, ratio: took / ideal, limit: 1.0 / 0.9 });
        }
    }
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/spread.svg");
    match std::fs::write(&file, plot::render(&points)) {
        Ok(()) => println!("plot: {}", file.display()),
        Err(error) => println!("the plot cannot be written: {error}"),
    }
    measured
}
