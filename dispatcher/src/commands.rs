//! What each verb does, and how it looks to a person or a script.

mod access;
mod error;
mod follow;
mod money;
mod pools;
mod queues;
mod serve;
pub mod simulate;
mod submit;
mod tables;

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use fleet::config::Config;
use fleet::state::JobState;
use fleet::store::tenant::AuditEntry;
use fleet::store::{Store, StoreError};
use serde::Serialize;
use tokio::sync::watch;
use tracing_subscriber::EnvFilter;
use uuid::Uuid;

pub use self::error::CommandError;
use self::error::told;
use crate::cli::{Cli, FleetArgs, UploadArgs, Verb};
use crate::dispatch::DispatchError;
use crate::local;
use crate::sweep::{Retention, delete_objects, sweep_once};
use crate::why::{surroundings, why};

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
            eprintln!("error: {}", told(&error));
            ExitCode::from(error.exit_code())
        }
    }
}

async fn execute(cli: Cli) -> Result<(), CommandError> {
    let fleet = cli.fleet;
    match cli.verb {
        Verb::Local(args) => Ok(local::run(&local_dir(&fleet)?, args, stop_signal()).await?),
        Verb::Serve => serve::serve(&fleet).await,
        Verb::Migrate { worker_login } => migrate(&fleet, worker_login.as_deref()).await,
        Verb::Submit(args) => submit::submit(&fleet, args).await,
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
        Verb::Rename { job, title } => rename(&fleet, &job, &title).await,
        Verb::Delete { job, yes } => delete(&fleet, &job, yes).await,
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
        Verb::Redrive { code } => queues::redrive(&fleet, code.as_deref()).await,
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
        Verb::Queues { json } => queues::queues(&fleet, json).await,
        Verb::Simulate(args) => {
            print(&simulate::simulate(&args)?);
            Ok(())
        }
        Verb::Sweep { days, orphan_hours } => {
            let (config, store) = open(&fleet)?;
            let objects = config.objects(&config.buckets()).await?;
            let retention = Retention {
                rows: Duration::from_secs_f64(days * 86_400.0),
                orphans: Duration::from_secs_f64(orphan_hours * 3600.0),
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
        // A match that was deleted is found by nobody.
        return if store.job(id).await?.removed_at.is_none() { Ok(id) } else { Err(StoreError::NoJob(id).into()) };
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

/// What the audit log says of a change to a match from here.
fn changed(action: &'static str, job: Uuid, title: &str) -> AuditEntry<'static> {
    let detail = serde_json::json!({ "title": title });
    AuditEntry { actor: "cli", action, object: job.to_string(), detail, request: "" }
}

async fn rename(args: &FleetArgs, job: &str, title: &str) -> Result<(), CommandError> {
    let store = open(args)?.1;
    let job = store.job(find(&store, job).await?).await?;
    let tenant = store.tenant(job.organisation_id);
    let mut tx = tenant.begin().await?;
    if store.rename_in(&mut tx, job.id, title).await? {
        tenant.audit(&mut tx, &changed("job.renamed", job.id, title)).await?;
    }
    // There is one, and it is called so.
    store.job_in(&mut tx, job.id).await?;
    tx.commit().await.map_err(StoreError::from)?;
    print(&format!("{} is called \u{201c}{title}\u{201d}", job.id));
    Ok(())
}

/// Deletes a match, or says what that would be.
async fn delete(args: &FleetArgs, job: &str, is_meant: bool) -> Result<(), CommandError> {
    let (config, store) = open(args)?;
    let job = store.job(find(&store, job).await?).await?;
    if !is_meant {
        let what =
            format!("this deletes \u{201c}{}\u{201d} ({}) for good, with its clips; add --yes", job.title, job.state);
        return Err(CommandError::Usage(what));
    }
    let tenant = store.tenant(job.organisation_id);
    let audit = changed("job.deleted", job.id, &job.title);
    let objects = config.objects(&config.buckets()).await?;
    store.remove_job(&tenant, job.id, &audit).await?;
    // The next sweep of a dispatcher would do this; a file that was uploaded is always left to one.
    let deleted = delete_objects(&objects, job.organisation_id, job.id).await.map_err(DispatchError::from)?;
    print(&format!("{} is deleted, with {deleted} objects", job.id));
    Ok(())
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
