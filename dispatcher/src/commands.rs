//! What each verb does, and how it looks to a person or a script.

mod access;
mod follow;
mod money;
mod pools;
pub mod simulate;
mod tables;

use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use fleet::config::{Config, ConfigError};
use fleet::failure::FailureCode;
use fleet::ladder::LadderError;
use fleet::profiles;
use fleet::state::JobState;
use fleet::store::jobs::NewJob;
use fleet::store::{Store, StoreError};
use serde::Serialize;
use tokio::sync::watch;
use tracing_subscriber::EnvFilter;
use uuid::Uuid;

use self::simulate::SimulateError;
use crate::api::{self, Api};
use crate::cli::{Cli, FleetArgs, SubmitArgs, UploadArgs, Verb};
use crate::dispatch::{DispatchError, Dispatcher};
use crate::http;
use crate::local::{self, LocalError};
use crate::sweep::{Retention, sweep_once};
use crate::why::{surroundings, why};

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The dispatcher.
    #[error(transparent)]
    Dispatch(#[from] DispatchError),
    /// The ladder.
    #[error(transparent)]
    Ladder(#[from] LadderError),
    /// Local mode.
    #[error(transparent)]
    Local(#[from] LocalError),
    /// An upload.
    #[error(transparent)]
    Upload(#[from] crate::upload::UploadError),
    /// The simulator.
    #[error(transparent)]
    Simulate(#[from] SimulateError),
    /// What was typed.
    #[error("{0}")]
    Usage(String),
    /// The job that was followed failed.
    #[error("the job failed with {code}: {message}")]
    JobFailed {
        /// Stable code.
        code: String,
        /// One sentence.
        message: String,
    },
    /// Stopped by the user.
    #[error("stopped")]
    Stopped,
    /// The machine.
    #[error("{what}")]
    Io {
        /// What was tried.
        what: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

impl CommandError {
    fn exit_code(&self) -> u8 {
        match self {
            Self::Config(_) | Self::Ladder(_) | Self::Usage(_) => 2,
            Self::Store(
                StoreError::NoJob(_)
                | StoreError::NoTier { .. }
                | StoreError::NoOrganisation(_)
                | StoreError::Conflict { .. }
                | StoreError::BadUrl(_),
            ) => 2,
            Self::Store(e) | Self::Dispatch(DispatchError::Store(e)) if e.is_transient() => 3,
            Self::Dispatch(_) | Self::Io { .. } => 3,
            Self::Local(e) => e.exit_code(),
            Self::Upload(e) => e.exit_code(),
            Self::Simulate(e) => e.exit_code(),
            Self::Store(_) => 4,
            Self::JobFailed { .. } => 5,
            Self::Stopped => 130,
        }
    }
}

/// Runs what was asked for.
#[must_use]
pub fn run(cli: Cli) -> ExitCode {
    let is_service = matches!(cli.verb, Verb::Local(_) | Verb::Serve);
    let filter = EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| EnvFilter::new(if is_service { "info,sqlx=warn" } else { "warn" }));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .init();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::from(3);
        }
    };
    let outcome = runtime.block_on(execute(cli));
    runtime.shutdown_timeout(Duration::from_secs(2));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", chain(&error));
            ExitCode::from(error.exit_code())
        }
    }
}

/// An error with its causes in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        next = cause.source();
    }
    text
}

async fn execute(cli: Cli) -> Result<(), CommandError> {
    let fleet = cli.fleet;
    match cli.verb {
        Verb::Local(args) => Ok(local::run(&local_dir(&fleet)?, args, stop_signal()).await?),
        Verb::Serve => serve(&fleet).await,
        Verb::Migrate { worker_login } => migrate(&fleet, worker_login.as_deref()).await,
        Verb::Submit(args) => submit(&fleet, args).await,
        Verb::Upload(args) => upload(&fleet, &args).await,
        Verb::Jobs { state, limit, json } => {
            let state = state.map(|word| JobState::from_word(&word).ok_or_else(|| unknown_state(&word))).transpose()?;
            let jobs = open(&fleet)?.1.jobs(state, limit).await?;
            if json {
                print_json(&jobs)
            } else {
                print(&tables::jobs(&jobs))
            }
            Ok(())
        }
        Verb::Show { job, json } => {
            let store = open(&fleet)?.1;
            let id = find(&store, &job).await?;
            let (job, chunks, events) = (store.job(id).await?, store.chunks(id).await?, store.events(id).await?);
            if json {
                print_json(
                    &serde_json::json!({ "job": job, "chunks": chunks, "events": tables::events_json(&events) }),
                );
            } else {
                print(&tables::show(&job, &chunks, &events));
            }
            Ok(())
        }
        Verb::Why { job, json } => explain(&fleet, &job, json).await,
        Verb::Follow { job, json } => {
            let store = open(&fleet)?.1;
            let id = find(&store, &job).await?;
            follow::follow(&store, id, json, &stop_signal()).await
        }
        Verb::Cancel { job } => {
            let store = open(&fleet)?.1;
            let id = find(&store, &job).await?;
            let text = if store.cancel(id).await? { "cancelled" } else { "was cancelled already" };
            print(&format!("{id} {text}"));
            Ok(())
        }
        Verb::Retry { job } => {
            let store = open(&fleet)?.1;
            let id = find(&store, &job).await?;
            store.retry(id).await?;
            print(&format!("{id} is tried again"));
            Ok(())
        }
        Verb::Focus { job, at } => {
            let store = open(&fleet)?.1;
            let id = find(&store, &job).await?;
            store.focus(id, at).await?;
            print(&format!("{id}: from {} on first", fleet::timeline::clock(at)));
            Ok(())
        }
        Verb::Quote(args) => money::show_quote(&fleet, &args).await,
        Verb::Receipt { job, csv, json } => money::show_receipt(&fleet, &job, csv, json).await,
        Verb::Play { job, json } => access::play(&fleet, &job, json).await,
        Verb::Organisation(verb) => access::organisation(&open(&fleet)?.1, verb).await,
        Verb::Key(verb) => access::key(&open(&fleet)?.1, verb).await,
        Verb::Openapi => {
            print(
                &crate::api::document()
                    .to_pretty_json()
                    .map_err(io::Error::other)
                    .map_err(|source| CommandError::Io { what: "the document cannot be written".to_owned(), source })?,
            );
            Ok(())
        }
        Verb::Redrive { code } => redrive(&fleet, code.as_deref()).await,
        Verb::Workers { gone, json } => {
            let workers = open(&fleet)?.1.workers(gone).await?;
            if json {
                print_json(&workers)
            } else {
                print(&tables::workers(&workers))
            }
            Ok(())
        }
        Verb::Devices { trust, json } => {
            let store = open(&fleet)?.1;
            if let Some(name) = trust {
                if !store.trust_device(&name).await? {
                    let what = format!("{name} is not in quarantine; see `dispatcher devices`");
                    return Err(CommandError::Usage(what));
                }
                print(&format!("{name} is trusted again by workers that start from now on"));
                return Ok(());
            }
            let devices = store.devices().await?;
            if json {
                print_json(&devices)
            } else {
                print(&tables::devices(&devices))
            }
            Ok(())
        }
        Verb::Drain { worker } => {
            if open(&fleet)?.1.drain_worker(worker).await? {
                print(&format!("{worker} ends when its chunks are handed over"));
                return Ok(());
            }
            Err(CommandError::Usage(format!("no worker {worker} is running; see `dispatcher workers`")))
        }
        Verb::Pools { fleet: Some(file), json } => pools::check(&file, json).await,
        Verb::Pools { fleet: None, json } => pools::show(&fleet, json).await,
        Verb::Queues { json } => queues(&fleet, json).await,
        Verb::Simulate(args) => {
            print(&simulate::simulate(&args)?);
            Ok(())
        }
        Verb::Sweep { days, orphan_hours } => {
            let (config, store) = open(&fleet)?;
            let objects = config.objects(&config.buckets()).await?;
            let span =
                |seconds: f64| Duration::try_from_secs_f64(seconds).map_err(|e| CommandError::Usage(e.to_string()));
            let retention = Retention {
                rows: span(days * 86_400.0)?,
                orphans: span(orphan_hours * 3600.0)?,
                ..Retention::default()
            };
            let swept = sweep_once(&store, &objects, &retention).await?;
            print(&format!("deleted: {} jobs, {} objects, {} uploads", swept.jobs, swept.objects, swept.uploads));
            Ok(())
        }
    }
}

/// Text on standard output; a closed pipe is not worth an error.
fn print(text: &str) {
    if let Err(error) = writeln!(io::stdout().lock(), "{}", text.trim_end()) {
        tracing::debug!(%error, "standard output is closed");
    }
}

pub(crate) fn print_json<T: Serialize>(value: &T) {
    match serde_json::to_string(value) {
        Ok(text) => print(&text),
        Err(error) => tracing::error!(%error, "printing JSON"),
    }
}

fn unknown_state(word: &str) -> CommandError {
    let words: Vec<&str> = JobState::ALL.iter().map(|s| s.as_str()).collect();
    CommandError::Usage(format!("no state {word}; there are {}", words.join(", ")))
}

/// Folder of the local fleet.
fn local_dir(args: &FleetArgs) -> Result<PathBuf, CommandError> {
    if let Some(dir) = &args.dir {
        return Ok(dir.clone());
    }
    let data = std::env::var_os("XDG_DATA_HOME").map(PathBuf::from).filter(|p| p.is_absolute());
    let home = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".local/share"));
    let base = data.or_else(home).ok_or_else(|| CommandError::Usage("give --dir: there is no HOME".to_owned()))?;
    Ok(base.join("touchline"))
}

/// Configuration and store of the fleet that is meant.
fn open(args: &FleetArgs) -> Result<(Config, Store), CommandError> {
    let config = match &args.config {
        Some(path) => Config::read(path)?,
        None => local::config(&local_dir(args)?)?,
    };
    let store = config.store("touchline-cli")?;
    Ok((config, store))
}

/// A job by id or its first letters.
async fn find(store: &Store, text: &str) -> Result<Uuid, CommandError> {
    if let Ok(id) = text.parse() {
        return Ok(id);
    }
    let is_prefix = text.len() >= 4 && text.chars().all(|c| c.is_ascii_hexdigit() || c == '-');
    if !is_prefix {
        return Err(CommandError::Usage(format!("{text} is no job id; give at least its first four letters")));
    }
    match store.jobs_by_prefix(text).await?.as_slice() {
        [one] => Ok(*one),
        [] => Err(CommandError::Usage(format!("no job begins with {text}; see `dispatcher jobs`"))),
        _ => Err(CommandError::Usage(format!("several jobs begin with {text}; give more letters"))),
    }
}

/// Becomes true at Ctrl-C or SIGTERM.
fn stop_signal() -> watch::Receiver<bool> {
    let (sender, receiver) = watch::channel(false);
    tokio::spawn(async move {
        let terminated = async {
            match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
                Ok(mut signal) => signal.recv().await,
                Err(_) => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = terminated => {}
        }
        sender.send_replace(true);
        // Kept alive for receivers that come later.
        std::future::pending::<()>().await;
    });
    receiver
}

async fn serve(args: &FleetArgs) -> Result<(), CommandError> {
    let path = args
        .config
        .as_ref()
        .ok_or_else(|| CommandError::Usage("give --config FILE; for one machine use `dispatcher local`".to_owned()))?;
    let config = Config::load(&path.to_string_lossy()).await?;
    let dispatcher = Arc::new(Dispatcher::new(&config).await?);
    dispatcher.store.ping().await?;
    let stop = stop_signal();
    let interface = match config.api.listen {
        None => None,
        Some(address) => Some(listen(&config, &dispatcher, address, &stop).await?),
    };
    tracing::info!(regions = config.regions.len(), output = config.output, "dispatcher is running");
    dispatcher.run(stop).await;
    if let Some(interface) = interface {
        interface
            .await
            .map_err(io::Error::other)
            .and_then(|outcome| outcome)
            .map_err(|source| CommandError::Io { what: "the HTTP interface ended".to_owned(), source })?;
    }
    Ok(())
}

/// Serves the HTTP interface beside the dispatcher's loops.
async fn listen(
    config: &Config,
    dispatcher: &Dispatcher,
    address: std::net::SocketAddr,
    stop: &watch::Receiver<bool>,
) -> Result<tokio::task::JoinHandle<io::Result<()>>, CommandError> {
    let api = Api::new(config, dispatcher.store.clone(), dispatcher.objects.clone())?;
    let failed = |source| CommandError::Io { what: format!("{address} cannot be listened on"), source };
    let listener = tokio::net::TcpListener::bind(address).await.map_err(failed)?;
    tracing::info!(%address, "the HTTP interface is open");
    let (routes, stop) = (api::routes(api.clone()), stop.clone());
    Ok(tokio::spawn(async move {
        let (served, ()) = tokio::join!(http::serve(listener, routes, stop.clone()), api.run(stop));
        served
    }))
}

async fn upload(fleet: &FleetArgs, args: &UploadArgs) -> Result<(), CommandError> {
    let dir = if fleet.config.is_none() { local_dir(fleet).ok() } else { None };
    let place = crate::upload::find(args, dir.as_deref())?;
    let done = |uploaded: crate::upload::Uploaded| {
        if args.json {
            print_json(&serde_json::json!({ "event": "completed", "file": uploaded.path, "upload": uploaded.upload }));
        } else {
            print(&uploaded.id);
        }
    };
    match crate::upload::run(args, place, stop_signal(), done).await? {
        Some(()) => Ok(()),
        None => {
            eprintln!("stopped; run the same command again to go on where it was");
            Err(CommandError::Stopped)
        }
    }
}

async fn migrate(args: &FleetArgs, worker_login: Option<&str>) -> Result<(), CommandError> {
    let (_, store) = open(args)?;
    store.migrate().await?;
    if let Some(login) = worker_login {
        store.grant_worker(login).await?;
    }
    print("the schema is up to date");
    Ok(())
}

async fn submit(args: &FleetArgs, asked: SubmitArgs) -> Result<(), CommandError> {
    let ladder = profiles::load(&asked.ladder)?;
    let (config, store) = open(args)?;
    if let Some(region) = &asked.region
        && config.region(region).is_none()
    {
        let names: Vec<&str> = config.regions.iter().map(|r| r.name.as_str()).collect();
        return Err(CommandError::Usage(format!("no region {region}; there are {}", names.join(", "))));
    }
    let sources = asked.sources.iter().map(|s| source(s)).collect::<Result<Vec<_>, _>>()?;
    let organisation = store.ensure_organisation(&asked.organisation, asked.weight).await?;
    let ready_by = match asked.ready_in {
        Some(minutes) if minutes.is_finite() && (0.0..=525_600.0).contains(&minutes) => {
            Some(time::OffsetDateTime::now_utc() + Duration::from_secs_f64(minutes * 60.0))
        }
        Some(_) => return Err(CommandError::Usage("--ready-in: give minutes".to_owned())),
        None => None,
    };
    let mut ids = Vec::new();
    for source in sources {
        let name = source.split(['?', '#']).next().and_then(|s| s.rsplit('/').next()).unwrap_or_default().to_owned();
        let id = store
            .submit(&NewJob {
                organisation,
                title: asked.title.clone().unwrap_or(name),
                home_region: asked.region.clone().unwrap_or_else(|| config.home_region(&source).to_owned()),
                source,
                ladder: ladder.clone(),
                upload: None,
                encoder: asked.encoder.clone(),
                ready_by,
            })
            .await?;
        if asked.json {
            print_json(&serde_json::json!({ "event": "submitted", "job": id }));
        } else {
            print(&id.to_string());
        }
        ids.push(id);
    }
    if asked.follow {
        let stop = stop_signal();
        for id in ids {
            follow::follow(&store, id, asked.json, &stop).await?;
        }
    }
    Ok(())
}

/// A source as a job keeps it: files by their absolute path, so that a worker elsewhere in the tree finds them.
fn source(text: &str) -> Result<String, CommandError> {
    if ["s3://", "http://", "https://"].iter().any(|scheme| text.starts_with(scheme)) {
        return Ok(text.to_owned());
    }
    let path = std::fs::canonicalize(Path::new(text))
        .map_err(|source| CommandError::Io { what: format!("{text} cannot be found"), source })?;
    if !path.is_file() {
        return Err(CommandError::Usage(format!("{text} is not a file")));
    }
    path.into_os_string()
        .into_string()
        .map_err(|p| CommandError::Usage(format!("{} is not a UTF-8 path; rename it", p.display())))
}

async fn explain(args: &FleetArgs, job: &str, json: bool) -> Result<(), CommandError> {
    let (config, store) = open(args)?;
    let id = find(&store, job).await?;
    let chunks = store.chunks(id).await?;
    let waiting = chunks.iter().position(|c| c.state == "waiting").unwrap_or(0);
    let around = surroundings(&config, &store, id, i64::try_from(waiting).unwrap_or(0)).await?;
    let answer = why(&store.job(id).await?, &chunks, &around);
    if json {
        print_json(&answer);
    } else {
        print(&format!("{id} is {}", answer.state));
        for reason in &answer.reasons {
            print(&format!("  - {reason}"));
        }
    }
    Ok(())
}

async fn redrive(args: &FleetArgs, code: Option<&str>) -> Result<(), CommandError> {
    if let Some(code) = code
        && FailureCode::from_code(code).is_none()
    {
        return Err(CommandError::Usage(format!("no failure code {code}; see docs/OPERATING.md")));
    }
    let (config, store) = open(args)?;
    let dispatcher = Dispatcher::new(&config).await?;
    let drained = dispatcher.drain_dead_letters_once().await?;
    let mut again = 0;
    for job in store.jobs(Some(JobState::Failed), 1000).await? {
        if code.is_none_or(|c| job.failure_code.as_deref() == Some(c)) {
            store.retry(job.id).await?;
            again += 1;
        }
    }
    print(&format!("{drained} dead letter(s) removed, {again} job(s) tried again"));
    Ok(())
}

async fn queues(args: &FleetArgs, json: bool) -> Result<(), CommandError> {
    let (config, store) = open(args)?;
    let alive = (config.timing.heartbeat * 4.0).max(config.timing.lease);
    let loads = store.region_loads(alive).await?;
    let unhealthy = store.unhealthy_regions().await?;
    let mut rows = Vec::new();
    for region in &config.regions {
        let queue = region.queue(&store).await;
        let depth = queue.depth().await;
        let dead = match queue.dead_letters() {
            Some(dead) => dead.depth().await.ok(),
            None => None,
        };
        let load = loads.iter().find(|l| l.region == region.name).cloned().unwrap_or_default();
        let reason = unhealthy.iter().find(|(name, _)| *name == region.name).map(|(_, reason)| reason.clone());
        rows.push(tables::QueueRow::new(&region.name, load, depth, dead, reason));
    }
    let (backlog, seconds) = store.backlog().await?;
    let outbox = store.outbox_depth().await?;
    if json {
        print_json(
            &serde_json::json!({ "regions": rows, "waiting_chunks": backlog, "media_seconds": seconds, "unsent": outbox }),
        );
    } else {
        print(&tables::queues(&rows));
        print(&format!(
            "{backlog} chunk(s), {} of video, are not done; {outbox} message(s) wait to be sent",
            fleet::timeline::clock(seconds)
        ));
    }
    Ok(())
}
