//! The parent's side of an engine process: starts it, answers its reads of the source, takes its events, and notices
//! when it dies or hangs.

use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use fleet::failure::FailureCode;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;

use crate::failure::JobError;
use crate::protocol::{self, Command, Event, MAX_READ};
use crate::source::{Reader, Source, SourceError};

/// Without an event and without a read of the source for this long, an engine counts as hung.
const HUNG_AFTER: Duration = Duration::from_secs(120);
/// Events that wait for the parent; each may carry a segment.
const EVENTS: usize = 2;
/// Longest log line that is passed on, in bytes.
const MAX_LOG_LINE: u64 = 4096;
/// Variables an engine may see; everything else, credentials above all, stays with the parent.
const ENVIRONMENT: [&str; 6] = [
    "LD_LIBRARY_PATH",
    "CUDA_VISIBLE_DEVICES",
    "NVIDIA_VISIBLE_DEVICES",
    "NVIDIA_DRIVER_CAPABILITIES",
    "RUST_LOG",
    "RUST_BACKTRACE",
];

/// A running engine.
pub(crate) struct EngineProcess {
    child: tokio::process::Child,
    commands: OwnedWriteHalf,
    events: mpsc::Receiver<std::io::Result<(Event, Vec<u8>)>>,
    source_error: Arc<Mutex<Option<SourceError>>>,
    activity: Arc<Activity>,
}

#[derive(Debug)]
struct Activity {
    started: Instant,
    last_ms: AtomicU64,
}

impl Activity {
    fn touch(&self) {
        self.last_ms.store(u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX), Relaxed);
    }

    fn idle(&self) -> Duration {
        self.started.elapsed().saturating_sub(Duration::from_millis(self.last_ms.load(Relaxed)))
    }
}

impl EngineProcess {
    /// Starts an engine on `source`.
    pub(crate) fn start(source: &Source) -> Result<Self, JobError> {
        Self::spawn(Some((source.reader(), source.len())))
    }

    /// Starts an engine that has nothing to read, for trying the hardware.
    pub(crate) fn start_without_source() -> Result<Self, JobError> {
        Self::spawn(None)
    }

    /// Whether the process still runs.
    pub(crate) fn is_alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    fn spawn(source: Option<(Reader, u64)>) -> Result<Self, JobError> {
        let failed = |e: std::io::Error| JobError::internal(format!("starting an engine: {e}"));
        let (source_ours, source_theirs) = std::os::unix::net::UnixStream::pair().map_err(failed)?;
        let (control_ours, control_theirs) = std::os::unix::net::UnixStream::pair().map_err(failed)?;
        let program = std::env::current_exe().map_err(failed)?;
        let mut command = tokio::process::Command::new(program);
        command
            .arg("engine")
            .env_clear()
            .envs(ENVIRONMENT.iter().filter_map(|name| Some((name, std::env::var_os(name)?))))
            .stdin(Stdio::from(OwnedFd::from(source_theirs)))
            .stdout(Stdio::from(OwnedFd::from(control_theirs)))
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let mut child = command.spawn().map_err(failed)?;
        // The command holds the child's ends of the sockets; the end of the child must close them.
        drop(command);
        let to_tokio = |stream: std::os::unix::net::UnixStream| {
            stream.set_nonblocking(true)?;
            UnixStream::from_std(stream)
        };
        let source_socket = to_tokio(source_ours).map_err(failed)?;
        let (control_read, commands) = to_tokio(control_ours).map_err(failed)?.into_split();

        let source_error = Arc::new(Mutex::new(None));
        let activity = Arc::new(Activity { started: Instant::now(), last_ms: AtomicU64::new(0) });
        let (reader, length) = source.unzip();
        tokio::spawn(serve_source(source_socket, reader, length.unwrap_or(0), source_error.clone(), activity.clone()));
        if let Some(stderr) = child.stderr.take() {
            tokio::spawn(pass_on_log(stderr));
        }
        let (sender, events) = mpsc::channel(EVENTS);
        tokio::spawn(read_events(control_read, sender));
        Ok(Self { child, commands, events, source_error, activity })
    }

    /// Gives a command.
    pub(crate) async fn send(&mut self, command: &Command) -> Result<(), JobError> {
        let bytes = protocol::encode(command, &[]).map_err(JobError::internal)?;
        self.activity.touch();
        if self.commands.write_all(&bytes).await.is_err() {
            return Err(self.died().await);
        }
        Ok(())
    }

    /// The next event and its payload.
    pub(crate) async fn next(&mut self) -> Result<(Event, Vec<u8>), JobError> {
        loop {
            match tokio::time::timeout(Duration::from_secs(5), self.events.recv()).await {
                Ok(Some(Ok((Event::Failed { code, message }, _)))) => return Err(self.explain(code, message)),
                Ok(Some(Ok(event))) => {
                    self.activity.touch();
                    return Ok(event);
                }
                Ok(Some(Err(error))) if error.kind() == std::io::ErrorKind::InvalidData => {
                    return Err(JobError::new(FailureCode::EngineProtocol, error.to_string()));
                }
                Ok(Some(Err(_)) | None) => return Err(self.died().await),
                Err(_) if self.activity.idle() > HUNG_AFTER => {
                    let message = format!("no progress for {} s", HUNG_AFTER.as_secs());
                    return Err(JobError::new(FailureCode::EngineHung, message));
                }
                Err(_) => {}
            }
        }
    }

    /// What the source said, when the engine could not read it.
    fn explain(&self, code: FailureCode, message: String) -> JobError {
        let source = self.source_error.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match source {
            Some(error) if code == FailureCode::SourceUnavailable => error.into(),
            _ => JobError::new(code, message),
        }
    }

    async fn died(&mut self) -> JobError {
        let how = match tokio::time::timeout(Duration::from_secs(2), self.child.wait()).await {
            Ok(Ok(status)) => match status.signal() {
                Some(signal) => format!("killed by signal {signal}"),
                None => format!("{status}"),
            },
            _ => "its socket closed".to_owned(),
        };
        JobError::new(FailureCode::EngineCrashed, format!("the engine process ended: {how}"))
    }
}

/// Answers range requests; the protocol is in `engine/range.rs`.
async fn serve_source(
    mut socket: UnixStream,
    mut reader: Option<Reader>,
    length: u64,
    failure: Arc<Mutex<Option<SourceError>>>,
    activity: Arc<Activity>,
) {
    let outcome: std::io::Result<()> = async {
        socket.write_all(&length.to_le_bytes()).await?;
        let mut request = [0; 12];
        loop {
            socket.read_exact(&mut request).await?;
            activity.touch();
            let (offset, count) = request.split_at(8);
            let offset = u64::from_le_bytes(offset.try_into().map_err(std::io::Error::other)?);
            let count = u32::from_le_bytes(count.try_into().map_err(std::io::Error::other)?).min(MAX_READ);
            let Some(reader) = &mut reader else {
                socket.write_all(&0i64.to_le_bytes()).await?;
                continue;
            };
            match reader.read_at(offset, count as usize).await {
                Ok(bytes) => {
                    let length = i64::try_from(bytes.len()).map_err(std::io::Error::other)?;
                    socket.write_all(&length.to_le_bytes()).await?;
                    socket.write_all(&bytes).await?;
                }
                Err(error) => {
                    tracing::warn!(%error, "the source could not be read");
                    *failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                    socket.write_all(&(-1i64).to_le_bytes()).await?;
                }
            }
        }
    }
    .await;
    if let Err(error) = outcome {
        // The usual end: the engine closed its socket.
        tracing::trace!(%error, "source socket closed");
    }
}

async fn read_events(mut control: OwnedReadHalf, sender: mpsc::Sender<std::io::Result<(Event, Vec<u8>)>>) {
    loop {
        let event = read_event(&mut control).await;
        let failed = event.is_err();
        if sender.send(event).await.is_err() || failed {
            return;
        }
    }
}

async fn read_event(control: &mut OwnedReadHalf) -> std::io::Result<(Event, Vec<u8>)> {
    let mut prefix = [0; 8];
    control.read_exact(&mut prefix).await?;
    let (header, payload) = protocol::lengths(prefix)?;
    let mut bytes = vec![0; header];
    control.read_exact(&mut bytes).await?;
    let event = serde_json::from_slice(&bytes).map_err(std::io::Error::from)?;
    let mut bytes = vec![0; payload];
    control.read_exact(&mut bytes).await?;
    Ok((event, bytes))
}

async fn pass_on_log(stderr: tokio::process::ChildStderr) {
    let mut reader = BufReader::new(stderr);
    let mut line = Vec::new();
    loop {
        line.clear();
        match (&mut reader).take(MAX_LOG_LINE).read_until(b'\n', &mut line).await {
            Ok(0) | Err(_) => return,
            Ok(_) => tracing::info!(target: "engine", "{}", String::from_utf8_lossy(&line).trim_end()),
        }
    }
}
