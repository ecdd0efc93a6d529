//! Every call that leaves a worker or a dispatcher fails once, in the life of one fleet; at some of them, drawn by a seed,
//! answers are lost and processes die. Every job ends, and every promise is kept.

#[path = "fault_points/ways_out.rs"]
mod ways_out;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use fleet::config::WebhooksConfig;
use fleet::state::JobState;
use stories::fleet_processes::{Fleet, Process, small_ladder};
use stories::receiver::Receiver;
use stories::services::Postgres;
use stories::{made_clip, promises};
use uuid::Uuid;

use crate::operating::metadata_service;
use crate::webhooks::webhook;

/// Points at which an answer is lost or a process dies, before or after the call, in one run of the tests.
/// `TOUCHLINE_FAULT_POINTS=all` has all three happen at every point.
const DRAWN: usize = 24;
/// How long one part of the fleet's life may take, on a busy machine.
const LIMIT: Duration = Duration::from_secs(240);

/// A fleet under rules: processes that end are started again, as whatever manages containers does.
struct Life {
    fleet: Fleet,
    clip: PathBuf,
    dir: PathBuf,
    processes: Vec<Process>,
    /// Starts beyond the first of each process.
    restarts: u32,
    jobs: Vec<Uuid>,
}

impl Life {
    /// Ends what runs and starts it again under `rules`, which strike each point once.
    fn begin(&mut self, part: &str, rules: &str) {
        self.processes.clear();
        self.dir = self.fleet.dir.path().join(part);
        for folder in ["seen", "struck"] {
            std::fs::create_dir_all(self.dir.join(folder)).unwrap();
        }
        let dir = self.dir.display().to_string();
        let is_ours = |name: &str| name.starts_with("TOUCHLINE_FAULTS");
        self.fleet.environment.retain(|(name, _)| !is_ours(name));
        self.fleet.environment.push(("TOUCHLINE_FAULTS".to_owned(), rules.to_owned()));
        self.fleet.environment.push(("TOUCHLINE_FAULTS_DIR".to_owned(), dir));
        self.processes = vec![self.dispatcher(), self.worker(), self.worker()];
    }

    fn dispatcher(&self) -> Process {
        self.fleet.dispatcher()
    }

    fn worker(&self) -> Process {
        self.fleet.worker("local", &["--slots", "1", "--spot"])
    }

    fn keep_alive(&mut self) {
        for i in 0..self.processes.len() {
            if !self.processes[i].is_running() {
                self.restarts += 1;
                self.processes[i] = if i == 0 { self.dispatcher() } else { self.worker() };
            }
        }
    }

    async fn submit(&mut self) -> Uuid {
        let job = self.fleet.submit(&self.clip.display().to_string(), &small_ladder()).await;
        self.jobs.push(job);
        job
    }

    async fn state(&self, job: Uuid) -> JobState {
        self.fleet.store.job(job).await.unwrap().job_state()
    }

    /// Keeps the fleet alive until `done` says so.
    async fn until(&mut self, what: &str, limit: Duration, mut done: impl AsyncFnMut(&Self) -> bool) {
        let end = Instant::now() + limit;
        while !done(self).await {
            assert!(Instant::now() < end, "{what}: not within {limit:?}\n{}", self.fleet.logs());
            self.keep_alive();
            tokio::time::sleep(Duration::from_millis(40)).await;
        }
    }

    async fn ends(&mut self, job: Uuid) {
        self.until("the job ends", LIMIT, async |life| life.state(job).await.is_final()).await;
    }

    /// What people do with a match: watch it, change their minds, and clip it.
    async fn day(&mut self) {
        let job = self.submit().await;
        self.ends(job).await;
        let other = self.submit().await;
        self.until("it can be watched", LIMIT, async |life| {
            let row = life.fleet.store.job(other).await.unwrap();
            row.first_playable_at.is_some() || row.job_state().is_final()
        })
        .await;
        if self.fleet.store.cancel(other).await.is_ok() {
            self.fleet.store.retry(other).await.unwrap();
        }
        self.ends(other).await;
    }

    /// Names of points: those that were `seen`, or `struck`.
    fn points(&self, folder: &str) -> BTreeSet<String> {
        let files = std::fs::read_dir(self.dir.join(folder)).unwrap().flatten();
        files.map(|f| f.file_name().to_string_lossy().replace('%', "/")).collect()
    }

    /// All jobs have ended, each for a reason that it has, and the promises are kept.
    async fn is_well(&mut self) {
        for job in self.jobs.clone() {
            self.ends(job).await;
        }
        let output = self.fleet.config.objects(&self.fleet.config.buckets()).await.unwrap();
        promises::check(&self.fleet.store, &*output).await.assert_kept();
    }
}

async fn life() -> Life {
    let mut fleet = Fleet::local(&Postgres::shared().create_database()).await;
    fleet.config.webhooks = WebhooksConfig::local();
    fleet.write_config("fleet.toml", &fleet.config);
    let address = metadata_service(Arc::new(AtomicBool::new(false))).await;
    fleet.environment.push(("AWS_EC2_METADATA_SERVICE_ENDPOINT".to_owned(), address));
    let clip = made_clip(fleet.dir.path(), 13);
    Life { fleet, clip, dir: PathBuf::new(), processes: Vec::new(), restarts: 0, jobs: Vec::new() }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_call_fails_once_and_some_lose_their_answers_or_are_where_their_process_dies() {
    let mut life = life().await;
    let receiver = Receiver::start().await;
    let organisation = life.fleet.store.ensure_organisation("story", 1).await.unwrap();
    webhook(
        &life.fleet,
        organisation,
        &receiver.url(),
        &["job.playable", "job.succeeded", "job.failed", "job.cancelled"],
    )
    .await;

    let started = Instant::now();
    life.begin("fail", "*=fail");
    life.day().await;
    life.is_well().await;
    // Webhooks are sent when the jobs have ended, and again after a while where a statement before it failed.
    for point in MUST_BE_PASSED {
        life.until(&format!("{point} is passed by somebody"), LIMIT, async |life| life.points("seen").contains(*point))
            .await;
    }
    life.until("each that is passed is struck", LIMIT, async |life| life.points("seen") == life.points("struck")).await;
    let seen = life.points("seen");
    println!("{} points failed, {:.1} s", seen.len(), started.elapsed().as_secs_f64());
    let all = std::env::var("TOUCHLINE_FAULT_POINTS").is_ok_and(|v| v == "all");
    let seed = std::env::var("TOUCHLINE_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(20_261_121);
    for (part, strikes) in strikes(&seen, all, seed).into_iter().enumerate() {
        strike(&mut life, part, &strikes).await;
    }
    // Whatever was struck, the fleet makes the next match as if nothing had been.
    life.begin("after", "");
    let last = life.submit().await;
    life.ends(last).await;
    assert_eq!(life.state(last).await, JobState::Succeeded, "{}", life.fleet.logs());
    life.is_well().await;
    println!("{} restarts, {} jobs, {} points", life.restarts, life.jobs.len(), seen.len());
}

/// Passed in the life of every match, whatever place statements have in their files.
const MUST_BE_PASSED: &[&str] = &[
    "dispatcher objects.list ",
    "dispatcher objects.put index.m3u8",
    "dispatcher objects.put master.m3u8",
    "dispatcher objects.put watch.m3u8",
    "dispatcher queue.depth",
    "dispatcher queue.send",
    "dispatcher dead_letters.receive",
    "dispatcher webhook.send",
    "worker engine.answer",
    "worker engine.next",
    "worker engine.send",
    "worker engine.start",
    "worker metadata.get",
    "worker objects.put init",
    "worker objects.put picture",
    "worker objects.put segment",
    "worker queue.delete",
    "worker queue.extend",
    "worker queue.receive",
    "worker source.open",
    "worker source.read file",
];

/// What strikes which points, part after part of the fleet's life.
fn strikes(seen: &BTreeSet<String>, all: bool, seed: u64) -> Vec<Vec<(String, &'static str)>> {
    const ACTIONS: [&str; 3] = ["crash", "crash-after", "lost"];
    if all {
        return ACTIONS.map(|action| seen.iter().map(|point| (point.clone(), action)).collect()).into();
    }
    let mut points: Vec<&String> = seen.iter().collect();
    fastrand::Rng::with_seed(seed).shuffle(&mut points);
    vec![points.into_iter().take(DRAWN).cloned().zip(ACTIONS.into_iter().cycle()).collect()]
}

/// Days pass until all has struck that does: some points are passed only after another fault.
async fn strike(life: &mut Life, part: usize, strikes: &[(String, &'static str)]) {
    let started = Instant::now();
    let rules: Vec<String> = strikes.iter().map(|(point, action)| format!("{point}={action}")).collect();
    life.begin(&format!("part-{part}"), &rules.join(";"));
    let (mut days, mut before) = (0, 0);
    loop {
        life.day().await;
        days += 1;
        let struck = life.points("struck").len();
        if struck == strikes.len() || struck == before {
            break;
        }
        before = struck;
    }
    life.is_well().await;
    let struck = life.points("struck").len();
    println!("{struck} of {} points struck in {days} days, {:.1} s", strikes.len(), started.elapsed().as_secs_f64());
    assert!(struck * 4 >= strikes.len() * 3, "{:#?}", life.points("struck"));
}
