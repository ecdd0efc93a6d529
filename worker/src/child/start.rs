//! Starts engines, and lets them read only when they are seen to be locked in.

use std::os::fd::OwnedFd;
use std::process::Stdio;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use fleet::failure::FailureCode;
use fleet::fault::call;
use tokio::net::UnixStream;
use tokio::process::Child;
use tokio::sync::{mpsc, oneshot, watch};

use super::{Activity, Allowed, EVENTS, EngineProcess, TaskLimits, keep, pass_on_log, read_events, serve_source};
use crate::confinement::{Confinement, Layers};
use crate::failure::JobError;
use crate::protocol::Event;
use crate::source::{Reader, Source};

/// An engine that is not ready after this long is given up; a GPU driver may take seconds to start.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// Variables an engine may see; everything else, credentials above all, stays with the parent.
const ENVIRONMENT: [&str; 6] = [
    "LD_LIBRARY_PATH",
    "CUDA_VISIBLE_DEVICES",
    "NVIDIA_VISIBLE_DEVICES",
    "NVIDIA_DRIVER_CAPABILITIES",
    "RUST_LOG",
    "RUST_BACKTRACE",
];

/// How engines are started; the same for all of one run.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Engines {
    layers: Layers,
    gpu: bool,
}

impl Engines {
    /// Engines with these locks.
    pub(crate) fn with(layers: Layers) -> Self {
        Self { layers, gpu: false }
    }

    /// Engines in their sandbox, or, when `insecure`, without and with a loud word.
    pub(crate) fn new(insecure: bool) -> Self {
        if insecure {
            tracing::error!("INSECURE: engines run without a sandbox; a hostile file can do what this process can");
            eprintln!("warning: --insecure-engine: a hostile file can do what this process can");
        }
        Self::with(if insecure { Layers::None } else { Layers::Both })
    }

    /// The same, with the GPU's driver started and its devices left open.
    pub(crate) fn gpu(self, gpu: bool) -> Self {
        Self { gpu, ..self }
    }

    /// Starts an engine on `source`.
    pub(crate) async fn start(self, source: &Source) -> Result<EngineProcess, JobError> {
        call("engine.start", self.spawn(Some((source.reader(), source.len())))).await
    }

    /// Starts an engine that has nothing to read, for trying hardware or locks.
    pub(crate) async fn start_without_source(self) -> Result<EngineProcess, JobError> {
        call("engine.start", self.spawn(None)).await
    }

    /// Whether an engine can be locked in here.
    pub(crate) async fn check(self) -> Result<(), JobError> {
        self.start_without_source().await.map(drop)
    }

    async fn spawn(self, source: Option<(Reader, u64)>) -> Result<EngineProcess, JobError> {
        let failed = |e: std::io::Error| JobError::internal(format!("starting an engine: {e}"));
        let (source_ours, source_theirs) = std::os::unix::net::UnixStream::pair().map_err(failed)?;
        let (control_ours, control_theirs) = std::os::unix::net::UnixStream::pair().map_err(failed)?;
        let program = std::env::current_exe().map_err(failed)?;
        let mut command = tokio::process::Command::new(program);
        let layers = clap::ValueEnum::to_possible_value(&self.layers).map(|v| v.get_name().to_owned());
        command
            .arg("engine")
            .arg("--layers")
            .arg(layers.unwrap_or_default())
            .args(self.gpu.then_some("--gpu"))
            .env_clear()
            .envs(ENVIRONMENT.iter().filter_map(|name| Some((name, std::env::var_os(name)?))))
            // An engine may not write a file, so the driver need not try to keep what it compiles.
            .env("CUDA_CACHE_DISABLE", "1")
            .stdin(Stdio::from(OwnedFd::from(source_theirs)))
            .stdout(Stdio::from(OwnedFd::from(control_theirs)))
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let child = spawn_on_lasting_thread(command).await.map_err(failed)?;
        self.attend(child, source_ours, control_ours, source).await
    }

    /// Takes charge of a process at the other ends of two sockets.
    pub(super) async fn attend(
        self,
        mut child: Child,
        source_ours: std::os::unix::net::UnixStream,
        control_ours: std::os::unix::net::UnixStream,
        source: Option<(Reader, u64)>,
    ) -> Result<EngineProcess, JobError> {
        let failed = |e: std::io::Error| JobError::internal(format!("starting an engine: {e}"));
        let to_tokio = |stream: std::os::unix::net::UnixStream| {
            stream.set_nonblocking(true)?;
            UnixStream::from_std(stream)
        };
        let source_socket = to_tokio(source_ours).map_err(failed)?;
        let (control_read, commands) = to_tokio(control_ours).map_err(failed)?.into_split();

        let pid = child.id().unwrap_or_default();
        let task = TaskLimits::START;
        let allowed = Arc::new(Allowed::new(&task));
        let activity = Arc::new(Activity { started: Instant::now(), last_ms: AtomicU64::new(0) });
        if let Some(stderr) = child.stderr.take() {
            tokio::spawn(pass_on_log(stderr));
        }
        let (sender, events) = mpsc::channel(EVENTS);
        tokio::spawn(read_events(control_read, allowed.clone(), sender));
        let (end, ended) = watch::channel(None);
        let keeper = tokio::spawn(keep(child, allowed.clone(), end));
        let source_error = Arc::new(Mutex::new(None));
        let mut engine = EngineProcess {
            commands,
            events,
            source_error: source_error.clone(),
            activity: activity.clone(),
            allowed,
            task,
            waited: Duration::ZERO,
            handed_over: 0,
            confinement: Confinement { layers: Layers::None, landlock_abi: None, gpu: self.gpu, refused: Vec::new() },
            pid,
            ended,
            keeper,
        };
        engine.confinement = self.ready(&mut engine).await?;
        // Only now does the engine get to see the source.
        let (reader, length) = source.unzip();
        tokio::spawn(serve_source(source_socket, reader, length.unwrap_or(0), source_error, activity));
        Ok(engine)
    }

    /// Waits until the engine says that it is locked in, and asks the kernel.
    async fn ready(self, engine: &mut EngineProcess) -> Result<Confinement, JobError> {
        let unavailable = |what: String| JobError::new(FailureCode::SandboxUnavailable, what);
        let confinement = match tokio::time::timeout(READY_WITHIN, engine.events.recv()).await {
            Ok(Some(Ok((Event::Ready(confinement), _)))) => confinement,
            Ok(Some(Ok((Event::Failed { code: FailureCode::SandboxUnavailable, message }, _)))) => {
                return Err(unavailable(message));
            }
            Ok(Some(Ok((other, _)))) => {
                return Err(JobError::new(FailureCode::EngineProtocol, format!("unexpected first event {other:?}")));
            }
            Ok(Some(Err(_)) | None) => return Err(engine.died().await),
            Err(_) => {
                let what = format!("an engine was not ready within {} s", READY_WITHIN.as_secs());
                return Err(JobError::new(FailureCode::EngineHung, what));
            }
        };
        if confinement.layers != self.layers {
            return Err(unavailable(format!("asked for {:?}, got {:?}", self.layers, confinement.layers)));
        }
        if self.layers.seccomp() {
            confirm(engine.pid).map_err(unavailable)?;
        }
        Ok(confinement)
    }
}

/// What the kernel says of every thread of an engine: a filter is on, and no privileges can be gained.
fn confirm(pid: u32) -> Result<(), String> {
    let tasks = format!("/proc/{pid}/task");
    let threads = std::fs::read_dir(&tasks).map_err(|e| format!("{tasks}: {e}"))?;
    for thread in threads {
        let path = thread.map_err(|e| format!("{tasks}: {e}"))?.path().join("status");
        let status = match std::fs::read_to_string(&path) {
            Ok(status) => status,
            // The thread ended meanwhile.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(format!("{}: {error}", path.display())),
        };
        for (field, wanted) in [("Seccomp:", "2"), ("NoNewPrivs:", "1")] {
            let value = status.lines().find_map(|line| line.strip_prefix(field)).map(str::trim);
            if value != Some(wanted) {
                return Err(format!("{}: {field} {}", path.display(), value.unwrap_or("unknown")));
            }
        }
    }
    Ok(())
}

type Work = Box<dyn FnOnce() + Send>;

/// Spawns on a thread that lives as long as this process. An engine asks to be ended with the *thread* that started it,
/// and threads of the runtime come and go.
async fn spawn_on_lasting_thread(mut command: tokio::process::Command) -> std::io::Result<Child> {
    static STARTER: OnceLock<std::sync::mpsc::Sender<Work>> = OnceLock::new();
    let gone = || std::io::Error::other("the thread that starts engines is gone");
    let starter = STARTER.get_or_init(|| {
        let (sender, work) = std::sync::mpsc::channel::<Work>();
        let thread = std::thread::Builder::new().name("engines".to_owned());
        if let Err(error) = thread.spawn(move || work.into_iter().for_each(|work| work())) {
            tracing::error!(%error, "no thread to start engines on");
        }
        sender
    });
    let (answer, started) = oneshot::channel();
    let runtime = tokio::runtime::Handle::current();
    let work = Box::new(move || {
        let _inside = runtime.enter();
        let child = command.spawn();
        // The command holds the child's ends of the sockets; the end of the child must close them.
        drop(command);
        if answer.send(child).is_err() {
            tracing::debug!("nobody waits for this engine any more");
        }
    });
    starter.send(work).map_err(|_| gone())?;
    started.await.map_err(|_| gone())?
}
