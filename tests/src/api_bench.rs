//! The HTTP interface under load, beside a job that is being encoded on the same machine.

use std::process::Command;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::client::Client;
use crate::fleet_processes::{Fleet, Process, small_ladder};
use crate::interface::{Interface, TENANT_SCOPES, key};
use crate::measure::Measured;
use crate::services::Postgres;
use crate::{ffmpeg, made_clip};

/// Clients that listen to events all the time.
const LISTENERS: usize = 1000;
/// Organisations that they and the requests belong to.
const ORGANISATIONS: usize = 10;
/// Requests a second.
const RATE: u64 = 200;
/// Jobs that have ended, in each organisation: what lists and searches go through.
const HISTORY: i32 = 500;
/// What the 99th percentile of reads should stay below, in milliseconds.
const READ_P99_MS: f64 = 50.0;

/// What requests do, in turns: seventeen reads and three writes.
const MIX: [Ask; 20] = {
    use Ask::{ClipAndDelete, Job, Jobs, Me, Playback, Playlist, Renditions, Search, Share};
    [
        Jobs,
        Job,
        Playback,
        Job,
        ClipAndDelete,
        Jobs,
        Job,
        Playlist,
        Jobs,
        Job,
        Renditions,
        Jobs,
        Job,
        Share,
        Search,
        Job,
        Playback,
        Jobs,
        Me,
        ClipAndDelete,
    ]
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ask {
    Jobs,
    Search,
    Job,
    Playback,
    Playlist,
    Renditions,
    Me,
    Share,
    ClipAndDelete,
}

impl Ask {
    fn is_read(self) -> bool {
        !matches!(self, Self::Share | Self::ClipAndDelete)
    }
}

/// One organisation's part in the load.
struct Club {
    client: Client,
    /// A job that can be watched.
    job: Uuid,
    /// Its growing playlist.
    playlist: String,
}

/// Milliseconds of requests from when they were due, and what went wrong.
#[derive(Default)]
struct Outcome {
    reads: Vec<f64>,
    writes: Vec<f64>,
    errors: Vec<String>,
}

/// 1 000 listeners and 200 requests a second of mixed load for `seconds`, beside a job that is being encoded.
///
/// # Panics
/// The fleet does not work.
pub async fn api(seconds: u32) -> Vec<Measured> {
    raise_open_files();
    let postgres = Postgres::start();
    let mut fleet = Fleet::local(&postgres.create_database()).await;
    let interface = Interface::of(&mut fleet, 100_000);
    let dispatcher = fleet.dispatcher();
    interface.ready(&fleet).await;
    let _worker = fleet.worker("local", &["--slots", "1", "--encoder", "x264"]);
    let clubs = Arc::new(clubs(&fleet, &interface).await);

    let heard = Arc::new(AtomicU64::new(0));
    let lost = Arc::new(AtomicU64::new(0));
    let listeners: Vec<_> = (0..LISTENERS)
        .map(|n| {
            let club = &clubs[n % ORGANISATIONS];
            tokio::spawn(listen(club.client.request(Method::GET, "/events"), heard.clone(), lost.clone()))
        })
        .collect();
    while listening(&interface).await < LISTENERS {
        assert!(lost.load(Relaxed) == 0, "listeners are refused\n{}", fleet.logs());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    // Caches fill and connections are made before anything is measured.
    drop(load(&clubs, Duration::from_secs(5)).await);
    let before = resident_mib(&dispatcher);
    let third = Duration::from_secs_f64(f64::from(seconds) / 3.0);
    let mut outcome = Outcome::default();
    let mut memory = Vec::new();
    for _ in 0..3 {
        let part = load(&clubs, third).await;
        outcome.reads.extend(part.reads);
        outcome.writes.extend(part.writes);
        outcome.errors.extend(part.errors);
        memory.push(resident_mib(&dispatcher));
    }
    let encoding: i64 = sqlx::query_scalar("select count(*) from touchline.chunks where state = 'running'")
        .fetch_one(fleet.store.pool())
        .await
        .expect("a count");
    assert!(encoding > 0, "a job is encoded all the while");
    for listener in listeners {
        listener.abort();
    }
    report(outcome, before, &memory, (heard.load(Relaxed), lost.load(Relaxed)))
}

fn report(mut outcome: Outcome, before: f64, memory: &[f64], (heard, lost): (u64, u64)) -> Vec<Measured> {
    println!("\napi: {LISTENERS} listeners, {RATE} requests/s in {ORGANISATIONS} organisations, one job being encoded");
    println!("requests | number | p50 ms | p95 ms | p99 ms | max ms");
    for (name, times) in [("reads", &mut outcome.reads), ("writes", &mut outcome.writes)] {
        times.sort_by(f64::total_cmp);
        let at = |share| percentile(times, share);
        let number = times.len();
        println!("{name:>8} | {number:>6} | {:>6.1} | {:>6.1} | {:>6.1} | {:.1}", at(0.5), at(0.95), at(0.99), at(1.0));
    }
    println!("errors: {}; listeners lost: {lost}; events heard: {heard}", outcome.errors.len());
    for error in outcome.errors.iter().take(5) {
        println!("  {error}");
    }
    println!("memory of the dispatcher: {before:.0} MiB, then after each third {memory:.0?} MiB");
    let number = outcome.reads.len() + outcome.writes.len() + outcome.errors.len();
    let growth = memory.last().copied().unwrap_or(f64::NAN) / memory.first().copied().unwrap_or(f64::NAN);
    let share = |n: usize| n as f64 / number.max(1) as f64;
    let read_p99 = percentile(&outcome.reads, 0.99) / READ_P99_MS;
    [
        ("api_read_p99_of_50_ms", read_p99, 1.0),
        ("api_errors", share(outcome.errors.len()), 0.0),
        ("api_listeners_lost", share(usize::try_from(lost).unwrap_or(usize::MAX)), 0.0),
        ("api_memory_last_against_first_third", growth, 1.2),
    ]
    .map(|(name, ratio, limit)| Measured { name: name.to_owned(), ratio, limit })
    .to_vec()
}

fn percentile(sorted: &[f64], share: f64) -> f64 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a place in the list")]
    let place = ((sorted.len() as f64 * share).ceil() as usize).max(1) - 1;
    sorted.get(place).or_else(|| sorted.last()).copied().unwrap_or(f64::NAN)
}

/// Organisations with a history, each with a job that can be watched; the first one's is being encoded.
async fn clubs(fleet: &Fleet, interface: &Interface) -> Vec<Club> {
    let base = made_clip(fleet.dir.path(), 60).display().to_string();
    let long = fleet.dir.path().join("match.mp4").display().to_string();
    drop(ffmpeg(&["-stream_loop", "400", "-i", &base, "-c", "copy", &long]));
    let mut clubs = Vec::new();
    for n in 0..ORGANISATIONS {
        let organisation = fleet.store.ensure_organisation(&format!("club {n}"), 1).await.expect("an organisation");
        history(fleet, organisation).await;
        let client = interface.client(&key(&fleet.store, organisation, &TENANT_SCOPES).await);
        let source = if n == 0 { &long } else { &base };
        let job = fleet.submit_for(organisation, source, &small_ladder()).await;
        fleet.wait(job, "playable", Duration::from_secs(300), |row| row.watchable_ms >= 12_000).await;
        let playback = client.get(&format!("/jobs/{job}/playback")).await.1;
        let playlist = playback["watch_url"].as_str().expect("it can be watched").to_owned();
        clubs.push(Club { client, job, playlist });
    }
    clubs
}

/// Jobs that ended long ago.
async fn history(fleet: &Fleet, organisation: Uuid) {
    let ladder = serde_json::to_value(small_ladder()).expect("a ladder");
    sqlx::query(
        "insert into touchline.jobs (id, organisation_id, state, title, source, ladder, ladder_name, home_region, created_at,
            finished_at)
         select gen_random_uuid(), $1, 'cancelled', 'match ' || n, '/none', $2, 'story', 'local', now() - n * interval '1 hour',
            now() - n * interval '1 hour' from generate_series(1, $3) n",
    )
    .bind(organisation)
    .bind(ladder)
    .bind(HISTORY)
    .execute(fleet.store.pool())
    .await
    .expect("rows");
}

/// Sends requests at a steady rate, whether or not earlier ones were answered: who is slow is not spared.
async fn load(clubs: &Arc<Vec<Club>>, time: Duration) -> Outcome {
    let outcome = Arc::new(Mutex::new(Outcome::default()));
    let started = Instant::now();
    let number = RATE * time.as_secs().max(1);
    let mut asked = Vec::new();
    for n in 0..number {
        let due = started + Duration::from_micros(n * 1_000_000 / RATE);
        tokio::time::sleep_until(due.into()).await;
        let (clubs, outcome) = (clubs.clone(), outcome.clone());
        asked.push(tokio::spawn(async move {
            let place = usize::try_from(n).unwrap_or(0);
            let what = MIX[place % MIX.len()];
            let answer = ask(&clubs[place / MIX.len() % ORGANISATIONS], what).await;
            let ms = due.elapsed().as_secs_f64() * 1000.0;
            let mut outcome = outcome.lock().expect("no request panics");
            match answer {
                Err(error) => outcome.errors.push(error),
                Ok(()) if what.is_read() => outcome.reads.push(ms),
                Ok(()) => outcome.writes.push(ms),
            }
        }));
    }
    for one in asked {
        one.await.expect("a request ends");
    }
    std::mem::take(&mut *outcome.lock().expect("no request panics"))
}

async fn ask(club: &Club, what: Ask) -> Result<(), String> {
    let job = format!("/jobs/{}", club.job);
    let post = async |path: String, body: Value| read(club.client.request(Method::POST, &path).json(&body)).await;
    let path = match what {
        Ask::Jobs => "/jobs".to_owned(),
        Ask::Search => "/jobs?q=match%204&limit=20".to_owned(),
        Ask::Job => job,
        Ask::Playback => job + "/playback",
        Ask::Playlist => {
            let (status, text) = club.client.fetch(&club.playlist).await;
            return if status.is_success() { Ok(()) } else { Err(format!("{status}: {text}")) };
        }
        Ask::Renditions => job + "/renditions",
        Ask::Me => "/me".to_owned(),
        Ask::Share => return post(job + "/share", json!({})).await.map(drop),
        Ask::ClipAndDelete => {
            let clip = post(job + "/clips", json!({ "start_s": 1, "end_s": 9, "title": "goal" })).await?;
            let path = format!("/clips/{}", clip["id"].as_str().unwrap_or_default());
            return read(club.client.request(Method::DELETE, &path)).await.map(drop);
        }
    };
    read(club.client.request(Method::GET, &path)).await.map(drop)
}

/// The answer's body, when it is a good one.
async fn read(request: RequestBuilder) -> Result<Value, String> {
    let answer = request.send().await.map_err(|e| format!("{e:?}"))?;
    let status = answer.status();
    let text = answer.text().await.map_err(|e| format!("{e:?}"))?;
    if status.is_success() {
        Ok(serde_json::from_str(&text).unwrap_or_default())
    } else {
        Err(format!("{status}: {text}"))
    }
}

/// Listens until it is ended; counts events, and itself when the stream ends before.
async fn listen(request: RequestBuilder, heard: Arc<AtomicU64>, lost: Arc<AtomicU64>) {
    if let Ok(mut answer) = request.send().await
        && answer.status().is_success()
    {
        while let Ok(Some(piece)) = answer.chunk().await {
            let events = piece.windows(6).filter(|w| w == b"event:").count();
            heard.fetch_add(events as u64, Relaxed);
        }
    }
    lost.fetch_add(1, Relaxed);
}

/// How many listen, as the dispatcher's metrics say.
async fn listening(interface: &Interface) -> usize {
    let metrics = interface.client("").fetch("/metrics").await.1;
    let line = metrics.lines().find_map(|l| l.strip_prefix("touchline_event_listeners "));
    line.and_then(|n| n.trim().parse().ok()).unwrap_or(0)
}

/// Resident memory of a process.
fn resident_mib(process: &Process) -> f64 {
    // `setpriv` has become the program itself.
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.pid())).unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:"));
    line.and_then(|l| l.split_whitespace().next()?.parse::<f64>().ok()).map_or(f64::NAN, |kib| kib / 1024.0)
}

/// Two files for each listener: one here, one in the dispatcher, which inherits the limit.
fn raise_open_files() {
    let limit = format!("--nofile={}:", LISTENERS * 4);
    let raised = Command::new("prlimit").args(["--pid", &std::process::id().to_string(), &limit]).status();
    assert!(raised.is_ok_and(|s| s.success()), "prlimit of util-linux allows more open files");
}
