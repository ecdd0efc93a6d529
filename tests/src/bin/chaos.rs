//! `./run chaos`: a fleet under load whose processes are killed, stopped and drained at random; then every promise is
//! checked over the database and the output.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use fleet::state::JobState;
use stories::fleet_processes::{Fleet, Process, small_ladder};
use stories::services::{Postgres, signal};
use stories::{children, made_clip, promises};

const HELP: &str = "chaos [--kills N] [--seed S] [--workers W] [--clip SECONDS]

Starts Postgres, two dispatchers and W workers (3) of this build, keeps jobs of clips of so many seconds (60) coming, and
N times (200) kills (SIGKILL), stops for a while (SIGSTOP) or drains (SIGTERM) a process chosen by seed S: a worker, an
engine, a dispatcher, now and then the database. Then it lets the fleet finish and checks the promises. Exit code 0: all
are kept.";

/// What is asked for.
struct Request {
    kills: u32,
    seed: u64,
    workers: usize,
    clip_s: u32,
}

fn request() -> Result<Option<Request>, String> {
    let mut request = Request { kills: 200, seed: 20_261_121, workers: 3, clip_s: 60 };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        if argument == "--help" || argument == "-h" {
            return Ok(None);
        }
        let value = arguments.next().ok_or_else(|| format!("{argument}: a value is missing\n\n{HELP}"))?;
        let bad = |_| format!("{argument}: {value} is no number");
        match argument.as_str() {
            "--kills" => request.kills = value.parse().map_err(bad)?,
            "--seed" => request.seed = value.parse().map_err(bad)?,
            "--workers" => request.workers = value.parse().map_err(bad)?,
            "--clip" => request.clip_s = value.parse().map_err(bad)?,
            _ => return Err(format!("unknown argument {argument}\n\n{HELP}")),
        }
    }
    request.workers = request.workers.clamp(1, 64);
    Ok(Some(request))
}

fn main() -> ExitCode {
    let request = match request() {
        Ok(Some(request)) => request,
        Ok(None) => {
            println!("{HELP}");
            return ExitCode::SUCCESS;
        }
        Err(text) => {
            eprintln!("{text}");
            return ExitCode::from(2);
        }
    };
    // The kernel ends a started process with the thread that started it: everything is started from this one.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime {
        Ok(runtime) => runtime.block_on(chaos(&request)),
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(3)
        }
    }
}

/// Counts of what was done to the fleet.
#[derive(Debug, Default)]
struct Done {
    workers: u32,
    engines: u32,
    dispatchers: u32,
    databases: u32,
    stopped: u32,
    drained: u32,
}

async fn chaos(request: &Request) -> ExitCode {
    let started = Instant::now();
    let mut random = fastrand::Rng::with_seed(request.seed);
    let mut postgres = Postgres::start();
    let fleet = Fleet::local(&postgres.create_database()).await;
    let clip = made_clip(fleet.dir.path(), request.clip_s).display().to_string();
    let mut workers: Vec<Process> = (0..request.workers).map(|_| fleet.worker("local", &["--slots", "1"])).collect();
    let mut dispatchers = [fleet.dispatcher(), fleet.dispatcher()];
    let mut done = Done::default();
    println!(
        "{} kills, seed {}, {} workers, clips of {} s",
        request.kills, request.seed, request.workers, request.clip_s
    );
    let mut kills = 0;
    let mut jobs = 0;
    while kills < request.kills {
        // Always something to do, and never so much that the end takes long.
        let open =
            fleet.store.jobs(None, 1000).await.map(|rows| rows.iter().filter(|r| !r.job_state().is_final()).count());
        if open.is_ok_and(|open| open < 3) {
            fleet.submit(&clip, &small_ladder()).await;
            jobs += 1;
        }
        tokio::time::sleep(Duration::from_millis(random.u64(100..1200))).await;
        match random.u32(0..100) {
            0..35 => {
                let victim = random.usize(0..workers.len());
                workers[victim].kill();
                workers[victim] = fleet.worker("local", &["--slots", "1"]);
                done.workers += 1;
            }
            35..60 => {
                let victim = random.usize(0..workers.len());
                let engines = children(workers[victim].pid());
                let Some(engine) = engines.get(random.usize(0..engines.len().max(1))) else { continue };
                signal(*engine, "KILL");
                done.engines += 1;
            }
            60..75 => {
                let victim = random.usize(0..dispatchers.len());
                dispatchers[victim].kill();
                dispatchers[victim] = fleet.dispatcher();
                done.dispatchers += 1;
            }
            75..88 => {
                // As a machine that hangs: longer than a lease, so that the work goes on elsewhere before it wakes.
                let all = workers.len() + dispatchers.len();
                let victim = random.usize(0..all);
                let process =
                    if victim < workers.len() { &workers[victim] } else { &dispatchers[victim - workers.len()] };
                process.signal("STOP");
                tokio::time::sleep(Duration::from_millis(random.u64(500..4500))).await;
                process.signal("CONT");
                done.stopped += 1;
            }
            88..98 => {
                let victim = random.usize(0..workers.len());
                workers[victim].signal("TERM");
                let fresh = fleet.worker("local", &["--slots", "1"]);
                let mut old = std::mem::replace(&mut workers[victim], fresh);
                if old.wait() != Some(0) {
                    println!("a drained worker ended badly:\n{}", old.log());
                }
                done.drained += 1;
            }
            _ => {
                postgres.stop();
                postgres.resume();
                done.databases += 1;
            }
        }
        kills += 1;
        if kills % 20 == 0 {
            println!("{kills} kills, {jobs} jobs, {:.0} s", started.elapsed().as_secs_f64());
        }
    }
    let ended = finish(&fleet, jobs).await;
    let output = match fleet.config.objects(&fleet.config.buckets()).await {
        Ok(output) => output,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(3);
        }
    };
    let verdict = promises::check(&fleet.store, &*output).await;
    let failed = fleet.store.jobs(Some(JobState::Failed), 1000).await.unwrap_or_default();
    let again = (verdict.made_s - verdict.committed_s).max(0.0);
    println!(
        "workers killed {}, engines killed {}, dispatchers killed {}, databases crashed {}, stopped {}, drained {}",
        done.workers, done.engines, done.dispatchers, done.databases, done.stopped, done.drained
    );
    println!(
        "jobs {}, succeeded {}, failed {}, kills {kills}, re-encoded {again:.0} s of {:.0} s encoded, violations = {}",
        verdict.jobs,
        verdict.jobs - failed.len(),
        failed.len(),
        verdict.made_s,
        verdict.violations.len()
    );
    for text in &verdict.violations {
        println!("  {text}");
    }
    for job in &failed {
        println!("  job {} failed: {:?} {:?}", job.id, job.failure_code, job.failure_message);
    }
    if !ended || !verdict.violations.is_empty() || !failed.is_empty() {
        println!("seed {}\n{}", request.seed, fleet.logs());
        return ExitCode::from(1);
    }
    ExitCode::SUCCESS
}

/// Waits until every job has ended; `false` when some does not.
async fn finish(fleet: &Fleet, jobs: u32) -> bool {
    let until = Instant::now() + Duration::from_secs(300);
    while Instant::now() < until {
        if let Ok(rows) = fleet.store.jobs(None, 1000).await
            && rows.len() == jobs as usize
            && rows.iter().all(|r| r.job_state().is_final())
        {
            // Attempts that were cut short may still be noted as such.
            tokio::time::sleep(Duration::from_secs(1)).await;
            return true;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    false
}
