//! Local mode: the whole fleet on one machine with nothing to configure. The same code as in the cloud, swapped only at
//! the edges: Postgres from the system's binaries, a queue in it, objects in a folder, workers as processes.
//!
//! Everything is a child of the dispatcher and ends with it, however that ends. Started again, it goes on where it was.

mod capacity;
mod credentials;
mod postgres;

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use fleet::config::{
    ApiConfig, CapacityConfig, Config, ConfigError, DatabaseConfig, ProcessesConfig, RegionConfig, Timing,
    WebhooksConfig,
};
use fleet::store::{Store, StoreError, StoreOptions};
use tokio::sync::watch;

pub use capacity::LocalCapacity;
pub use credentials::{ADDRESS_FILE, KEY_FILE};
pub use postgres::{LocalPostgres, PostgresError};

use crate::api::{self, Api};
use crate::cli::LocalArgs;
use crate::dispatch::Dispatcher;
use crate::scaling::processes;

/// The one region.
const REGION: &str = "local";
/// Database of the fleet.
const DATABASE: &str = "touchline";
/// Login of the workers.
const WORKER_LOGIN: &str = "touchline_local_worker";
/// File that tells commands where the running fleet is.
const CONFIG_FILE: &str = "touchline.toml";

/// Why local mode could not start, or ended.
#[derive(Debug, thiserror::Error)]
pub enum LocalError {
    /// The database.
    #[error(transparent)]
    Postgres(#[from] PostgresError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// It is no folder.
    #[error("{0} is not a folder; give one with --dir")]
    NoFolder(PathBuf),
    /// Its name cannot be written into a configuration.
    #[error("{0}: the folder's name must be UTF-8; give another one with --dir")]
    Name(PathBuf),
    /// Another dispatcher has the folder.
    #[error("{0}: a dispatcher is running here already")]
    InUse(PathBuf),
    /// No dispatcher runs there.
    #[error("no local fleet is running in {0}: start one with `dispatcher local`, or give --config")]
    NotRunning(PathBuf),
    /// A file, an address or a process.
    #[error("{what}")]
    Io {
        /// What was tried.
        what: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The database went away.
    #[error("the database ended; see {0}")]
    DatabaseEnded(PathBuf),
}

impl LocalError {
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Postgres(
                PostgresError::Missing
                | PostgresError::InUse { .. }
                | PostgresError::Version { .. }
                | PostgresError::Closed { .. },
            )
            | Self::Config(_)
            | Self::NoFolder(_)
            | Self::Name(_)
            | Self::InUse(_)
            | Self::NotRunning(_) => 2,
            _ => 3,
        }
    }
}

fn io_error(what: impl Into<String>) -> impl FnOnce(io::Error) -> LocalError {
    let what = what.into();
    move |source| LocalError::Io { what, source }
}

/// The configuration of the fleet that runs in a folder.
///
/// # Errors
/// None runs there.
pub fn config(dir: &Path) -> Result<Config, LocalError> {
    let path = dir.join(CONFIG_FILE);
    let running = File::open(dir.join("lock")).is_ok_and(|lock| lock.try_lock_shared().is_err());
    if !running || !path.exists() {
        return Err(LocalError::NotRunning(dir.to_owned()));
    }
    Ok(Config::read(&path)?)
}

/// Runs the fleet in `dir` until `stop`, or until it has been idle for as long as asked.
///
/// # Errors
/// [`LocalError`].
pub async fn run(dir: &Path, args: LocalArgs, stop: watch::Receiver<bool>) -> Result<(), LocalError> {
    if dir.exists() && !dir.is_dir() {
        return Err(LocalError::NoFolder(dir.to_owned()));
    }
    if dir.to_str().is_none() {
        return Err(LocalError::Name(dir.to_owned()));
    }
    fs::create_dir_all(dir).map_err(io_error(format!("{} cannot be made", dir.display())))?;
    let dir = fs::canonicalize(dir).map_err(io_error(dir.display().to_string()))?;
    let lock = lock(&dir)?;
    // What a dispatcher that was killed left must not look like a running one.
    remove(&dir.join(CONFIG_FILE))?;

    // The kernel ends the database with the thread that started it: this one waits until the end.
    let (started, outcome) = tokio::sync::oneshot::channel();
    let (end, ending) = std::sync::mpsc::channel::<()>();
    let (ended, mut database_ended) = watch::channel(false);
    let folder = dir.clone();
    let keeper = std::thread::spawn(move || keep_database(&folder, started, &ending, &ended));
    let postgres = outcome.await.map_err(|_| LocalError::DatabaseEnded(dir.join("postgres/log")))??;

    let result = tokio::select! {
        result = operate(&dir, &args, &postgres, stop) => result,
        _ = database_ended.wait_for(|ended| *ended) => Err(LocalError::DatabaseEnded(dir.join("postgres/log"))),
    };
    remove(&dir.join(CONFIG_FILE))?;
    drop(end);
    if tokio::task::spawn_blocking(move || keeper.join()).await.is_err() {
        tracing::error!("the database's keeper failed");
    }
    drop(lock);
    result
}

/// Addresses of a running database.
struct Addresses {
    admin: String,
    fleet: String,
    worker: String,
    /// The workers' own, new with each start.
    worker_password: String,
}

/// Starts the database, and again whenever it ends by itself, until `ending` closes or it does not start any more.
fn keep_database(
    dir: &Path,
    started: tokio::sync::oneshot::Sender<Result<Addresses, LocalError>>,
    ending: &std::sync::mpsc::Receiver<()>,
    ended: &watch::Sender<bool>,
) {
    let mut server = match LocalPostgres::start(dir) {
        Ok(server) => server,
        Err(error) => {
            if started.send(Err(error.into())).is_err() {
                tracing::debug!("nobody waits for the database");
            }
            return;
        }
    };
    let worker_password = match secret() {
        Ok(secret) => secret,
        Err(error) => {
            if started.send(Err(io_error("/dev/urandom")(error))).is_err() {
                tracing::debug!("nobody waits for the database");
            }
            return;
        }
    };
    let addresses = Addresses {
        admin: server.url("postgres"),
        fleet: server.url(DATABASE),
        worker: server.url_as(WORKER_LOGIN, DATABASE).replace(server.password(), &worker_password),
        worker_password,
    };
    if started.send(Ok(addresses)).is_ok() {
        let port = server.port();
        while let Err(std::sync::mpsc::RecvTimeoutError::Timeout) = ending.recv_timeout(Duration::from_millis(200)) {
            if server.is_running() {
                continue;
            }
            tracing::error!("the database ended; starting it again");
            server = match LocalPostgres::start_at(dir, port) {
                Ok(server) => server,
                Err(error) => {
                    tracing::error!(%error, "the database does not start again");
                    ended.send_replace(true);
                    return;
                }
            };
        }
    }
    if let Err(error) = server.stop() {
        tracing::warn!(%error, "ending the database");
    }
}

async fn operate(
    dir: &Path,
    args: &LocalArgs,
    postgres: &Addresses,
    mut stop: watch::Receiver<bool>,
) -> Result<(), LocalError> {
    prepare_database(postgres).await?;
    let machine =
        ProcessesConfig { region: REGION.to_owned(), workers: args.workers, slots: args.slots, idle_s: args.idle };
    let config = Config {
        output: dir.join("media").display().to_string(),
        database: DatabaseConfig { url: Some(postgres.fleet.clone()), ..DatabaseConfig::default() },
        regions: vec![RegionConfig { name: REGION.to_owned(), queue: "postgres".to_owned(), dead_letters: None }],
        buckets: Vec::new(),
        api: ApiConfig {
            uploads: Some(dir.join("uploads").display().to_string()),
            signing_secret: Some(credentials::signing_secret(dir)?),
            // One machine, one owner: what the owner can read, jobs can.
            local_sources: true,
            requests_per_second: 500,
            ..ApiConfig::default()
        },
        timing: Timing {
            heartbeat: args.heartbeat,
            lease: args.heartbeat * 4.5,
            region: 60.0,
            resend: (args.heartbeat * 15.0).min(3600.0),
        },
        capacity: Some(CapacityConfig::of_processes(machine.clone())),
        webhooks: WebhooksConfig::local(),
    };
    let store = config.store("touchline-dispatcher")?;
    store.migrate().await?;
    let login_exists = store.ensure_worker_login(WORKER_LOGIN, &postgres.worker_password).await?;
    tracing::debug!(login_exists, "worker login");
    // The folder is ours alone: nobody else takes turns, and a run that was killed has not given its own back.
    store.end_turns().await?;
    let dispatcher = Arc::new(Dispatcher::new(&config).await?);

    let listener = tokio::net::TcpListener::bind(args.listen).await.map_err(io_error(format!(
        "{} cannot be listened on; another program may use it: give --listen with another port",
        args.listen
    )))?;
    let address = listener.local_addr().map_err(io_error("the listening address"))?;
    let key = credentials::key(dir, &store).await?;
    let interface = Api::new(&config, store.clone(), dispatcher.objects.clone())?;
    let routes = api::routes(interface.clone());
    let following = tokio::spawn(interface.run(stop.clone()));
    let server = tokio::spawn(crate::http::serve(listener, routes, stop.clone()));

    // Workers see their own login, and where the fleet is.
    let worker_config = Config {
        database: DatabaseConfig { url: Some(postgres.worker.clone()), ..DatabaseConfig::default() },
        // Links are signed by dispatchers alone.
        api: ApiConfig::default(),
        capacity: None,
        ..config.clone()
    };
    let worker_file = dir.join("worker.toml");
    write_config(&worker_file, &worker_config)?;
    write_config(&dir.join(CONFIG_FILE), &config)?;
    fs::write(dir.join(ADDRESS_FILE), format!("http://{address}")).map_err(io_error(ADDRESS_FILE))?;
    tracing::info!(dir = %dir.display(), address = %format!("http://{address}"), "the local fleet is running");
    credentials::greet(&address, &key);

    let mut capacity = LocalCapacity::new(&store, processes::fleet(&machine), &worker_file, args)?;
    let (finish, finished) = watch::channel(false);
    let loops = tokio::spawn(dispatcher.clone().run(finished));
    let mut idle_since = Instant::now();
    loop {
        match capacity.turn(&dispatcher.store).await {
            Ok(true) => idle_since = Instant::now(),
            Ok(false) => {
                if args.exit_after.is_some_and(|s| idle_since.elapsed().as_secs_f64() >= s) {
                    tracing::info!("no work is left");
                    break;
                }
            }
            Err(error) => tracing::warn!(error = &error as &dyn std::error::Error, "capacity: trying again"),
        }
        tokio::select! {
            () = tokio::time::sleep(Duration::from_millis(200)) => {}
            _ = stop.wait_for(|stopped| *stopped) => break,
        }
    }
    // Workers first: they hand back what they have while there still is a database to hand it to.
    capacity.stop().await;
    finish.send_replace(true);
    if loops.await.is_err() {
        tracing::error!("a loop failed");
    }
    server.abort();
    following.abort();
    Ok(())
}

/// A password that nobody can guess.
fn secret() -> io::Result<String> {
    let mut random = [0_u8; 24];
    io::Read::read_exact(&mut File::open("/dev/urandom")?, &mut random)?;
    Ok(random.iter().map(|b| format!("{b:02x}")).collect())
}

/// The database of the fleet exists.
async fn prepare_database(postgres: &Addresses) -> Result<(), StoreError> {
    let admin = Store::open(&StoreOptions::new(postgres.admin.clone(), "touchline-local"))?;
    admin.ensure_database(DATABASE).await
}

fn lock(dir: &Path) -> Result<File, LocalError> {
    let path = dir.join("lock");
    let lock = File::create(&path).map_err(io_error(format!("{} cannot be written", path.display())))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(_) => Err(LocalError::InUse(dir.to_owned())),
    }
}

fn remove(path: &Path) -> Result<(), LocalError> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(io_error(path.display().to_string())(e)),
        _ => Ok(()),
    }
}

/// Writes a configuration that only its owner can read: it holds a password.
fn write_config(path: &Path, config: &Config) -> Result<(), LocalError> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let failed = || io_error(format!("{} cannot be written", path.display()));
    let text = toml::to_string(config).map_err(io::Error::other).map_err(failed())?;
    let part = path.with_extension("part");
    let mut file =
        fs::OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(&part).map_err(failed())?;
    file.write_all(text.as_bytes()).map_err(failed())?;
    fs::rename(&part, path).map_err(failed())
}
