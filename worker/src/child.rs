//! The parent's side of an engine process: answers its reads of the source, takes its events, and notices when it dies,
//! hangs or takes too much. Reading order: `start` (spawning, and the lock) → this file → `limits` (what a task may take).
//!
//! From the first byte of the source on, an engine counts as taken over by whoever made that source: lengths are bounded
//! before memory is taken, and of its words only those are believed that a sound engine could have said.

mod limits;
mod start;
#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use fleet::failure::FailureCode;
use fleet::fault::call;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, watch};

use crate::confinement::Confinement;
use crate::failure::JobError;
use crate::protocol::{self, Command, Event, MAX_READ};
use crate::source::{Reader, SourceError};
pub(crate) use limits::TaskLimits;
pub(crate) use start::Engines;

/// Without an event and without a read of the source for this long, an engine counts as hung.
const HUNG_AFTER: Duration = Duration::from_secs(120);
/// Without an event for this long it counts as hung even when it reads: the longest way is that through a large source
/// without an index to the place where a chunk begins.
const SILENT_AFTER: Duration = Duration::from_secs(1800);
/// Time between looks at an engine's memory.
const MEMORY_EVERY: Duration = Duration::from_millis(100);
/// Events that wait for the parent; each may carry a segment.
const EVENTS: usize = 2;
/// Longest log line that is passed on, in bytes.
const MAX_LOG_LINE: u64 = 4096;
/// Longest sentence of an engine that is passed on, in characters.
const MAX_SENTENCE: usize = 500;

/// A running engine.
pub(crate) struct EngineProcess {
    commands: OwnedWriteHalf,
    events: mpsc::Receiver<std::io::Result<(Event, Vec<u8>)>>,
    source_error: Arc<Mutex<Option<SourceError>>>,
    activity: Arc<Activity>,
    allowed: Arc<Allowed>,
    task: TaskLimits,
    /// Time that the parent waited for the current task.
    waited: Duration,
    /// Bytes that the current task handed over.
    handed_over: u64,
    confinement: Confinement,
    pid: u32,
    ended: watch::Receiver<Option<Ended>>,
    keeper: tokio::task::JoinHandle<()>,
}

/// What the tasks around an engine go by; changes with each command.
#[derive(Debug)]
struct Allowed {
    memory: AtomicU64,
    header: AtomicU64,
    payload: AtomicU64,
}

impl Allowed {
    fn new(task: &TaskLimits) -> Self {
        let allowed = Self { memory: AtomicU64::new(0), header: AtomicU64::new(0), payload: AtomicU64::new(0) };
        allowed.set(task);
        allowed
    }

    fn set(&self, task: &TaskLimits) {
        self.memory.store(task.memory, Relaxed);
        self.header.store(task.header, Relaxed);
        self.payload.store(task.payload, Relaxed);
    }
}

/// How an engine ended.
#[derive(Clone, Debug)]
struct Ended {
    signal: Option<i32>,
    status: String,
    /// Bytes that it had taken when it was ended for it.
    memory: Option<u64>,
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
    /// Whether the process still runs.
    pub(crate) fn is_alive(&self) -> bool {
        self.ended.borrow().is_none()
    }

    /// What the engine is locked into.
    pub(crate) fn confinement(&self) -> &Confinement {
        &self.confinement
    }

    /// Gives a command, and what it may take.
    pub(crate) async fn send(&mut self, command: &Command, task: TaskLimits) -> Result<(), JobError> {
        let bytes = protocol::encode(command, &[]).map_err(JobError::internal)?;
        self.allowed.set(&task);
        self.task = task;
        self.waited = Duration::ZERO;
        self.handed_over = 0;
        self.activity.touch();
        if call("engine.send", self.commands.write_all(&bytes)).await.is_err() {
            return Err(self.died().await);
        }
        Ok(())
    }

    /// The next event and its payload.
    pub(crate) async fn next(&mut self) -> Result<(Event, Vec<u8>), JobError> {
        call("engine.next", self.event()).await
    }

    async fn event(&mut self) -> Result<(Event, Vec<u8>), JobError> {
        self.activity.touch();
        let before = self.waited;
        loop {
            let since = Instant::now();
            let received = tokio::time::timeout(Duration::from_secs(1), self.events.recv()).await;
            self.waited += since.elapsed();
            match received {
                Ok(Some(Ok((Event::Failed { code, message }, _)))) => return Err(self.explain(code, &message)),
                Ok(Some(Ok((event, payload)))) => {
                    self.handed_over = self.handed_over.saturating_add(payload.len() as u64);
                    if self.handed_over > self.task.output {
                        let what = format!("handed over more than {} bytes for one task", self.task.output);
                        return Err(JobError::new(FailureCode::EngineProtocol, what));
                    }
                    return Ok((event, payload));
                }
                Ok(Some(Err(error))) if error.kind() == std::io::ErrorKind::InvalidData => {
                    return Err(JobError::new(FailureCode::EngineProtocol, error.to_string()));
                }
                Ok(Some(Err(_)) | None) => return Err(self.died().await),
                Err(_) => {}
            }
            let hung = |limit: Duration| {
                let message = format!("no progress for {} s", limit.as_secs());
                JobError::new(FailureCode::EngineHung, message)
            };
            if self.activity.idle() > HUNG_AFTER {
                return Err(hung(HUNG_AFTER));
            }
            if self.waited > self.task.time {
                return Err(hung(self.task.time));
            }
            if self.waited - before > SILENT_AFTER {
                return Err(hung(SILENT_AFTER));
            }
        }
    }

    /// What an engine's own account of a failure comes to.
    fn explain(&self, code: FailureCode, message: &str) -> JobError {
        let source = self.source_error.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let message = sentence(message);
        match (source, code) {
            (Some(error), FailureCode::SourceUnavailable) => error.into(),
            (_, code) if is_an_engines_to_say(code) => JobError::new(code, message),
            _ => JobError::new(FailureCode::EngineProtocol, format!("the engine claims {code}: {message}")),
        }
    }

    async fn died(&mut self) -> JobError {
        let ended = tokio::time::timeout(Duration::from_secs(2), self.ended.wait_for(Option::is_some)).await;
        let ended = ended.ok().and_then(Result::ok).and_then(|ended| ended.clone());
        match ended {
            Some(Ended { memory: Some(taken), .. }) => {
                let limit = self.task.memory >> 20;
                let message = format!("took {} MiB of memory, the limit is {limit}", taken >> 20);
                JobError::new(FailureCode::LimitExceeded, message)
            }
            Some(Ended { signal: Some(SIGSYS), .. }) => JobError::new(
                FailureCode::EngineViolation,
                "the engine was ended by its system call filter: it tried what no engine needs",
            ),
            Some(Ended { signal: Some(signal), .. }) => {
                JobError::new(FailureCode::EngineCrashed, format!("the engine was killed by signal {signal}"))
            }
            Some(Ended { status, .. }) => {
                JobError::new(FailureCode::EngineCrashed, format!("the engine process ended: {status}"))
            }
            None => JobError::new(FailureCode::EngineCrashed, "the engine closed its socket"),
        }
    }
}

/// "Bad system call".
const SIGSYS: i32 = 31;

impl Drop for EngineProcess {
    fn drop(&mut self) {
        // With its keeper goes the process.
        self.keeper.abort();
    }
}

/// Codes about the source and the encoder. The others are for the parent to find: an engine that claims to have been
/// cancelled, say, would get its job a new try for ever.
fn is_an_engines_to_say(code: FailureCode) -> bool {
    matches!(
        code,
        FailureCode::EmptyFile
            | FailureCode::NotMedia
            | FailureCode::IncompleteFile
            | FailureCode::NoVideo
            | FailureCode::StillPicture
            | FailureCode::Encrypted
            | FailureCode::UnsupportedFormat
            | FailureCode::Undecodable
            | FailureCode::LimitExceeded
            | FailureCode::SourceUnavailable
            | FailureCode::EncoderUnavailable
            | FailureCode::GuardFailed
            | FailureCode::Internal
    )
}

/// An engine's sentence as it may stand in a log, a database or on a page: short, on one line, without control characters.
pub(crate) fn sentence(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_SENTENCE).collect()
}

/// Waits for the end of an engine, and ends it when it takes too much memory.
async fn keep(mut child: tokio::process::Child, allowed: Arc<Allowed>, ended: watch::Sender<Option<Ended>>) {
    use std::os::unix::process::ExitStatusExt;
    let statm = child.id().map(|pid| format!("/proc/{pid}/statm")).unwrap_or_default();
    let mut ticks = tokio::time::interval(MEMORY_EVERY);
    let mut memory = None;
    loop {
        tokio::select! {
            status = child.wait() => {
                let (signal, status) = match status {
                    Ok(status) => (status.signal(), status.to_string()),
                    Err(error) => (None, error.to_string()),
                };
                ended.send_replace(Some(Ended { signal, status, memory }));
                return;
            }
            _ = ticks.tick() => {
                let taken = resident_bytes(&statm).filter(|taken| *taken > allowed.memory.load(Relaxed));
                if taken.is_some() && memory.is_none() {
                    memory = taken;
                    if let Err(error) = child.start_kill() {
                        tracing::debug!(%error, "the engine had ended by itself");
                    }
                }
            }
        }
    }
}

/// Memory of a process that is in use, shared memory included.
fn resident_bytes(statm: &str) -> Option<u64> {
    let text = std::fs::read_to_string(statm).ok()?;
    let pages: u64 = text.split_ascii_whitespace().nth(1)?.parse().ok()?;
    Some(pages * PAGE)
}

/// Bytes in a page of memory on `x86_64`, and on `AArch64` as Amazon and Debian run it.
const PAGE: u64 = 4096;

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
            let Some(reader) = reader.as_mut().filter(|_| offset < length) else {
                socket.write_all(&0i64.to_le_bytes()).await?;
                continue;
            };
            match reader.read_at(offset, count as usize).await {
                Ok(bytes) => {
                    let length = i64::try_from(bytes.len()).map_err(std::io::Error::other)?;
                    let answer = async {
                        socket.write_all(&length.to_le_bytes()).await?;
                        socket.write_all(&bytes).await
                    };
                    call("engine.answer", answer).await?;
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

async fn read_events(
    mut control: OwnedReadHalf,
    allowed: Arc<Allowed>,
    sender: mpsc::Sender<std::io::Result<(Event, Vec<u8>)>>,
) {
    loop {
        let event = read_event(&mut control, &allowed).await;
        let failed = event.is_err();
        if sender.send(event).await.is_err() || failed {
            return;
        }
    }
}

async fn read_event(control: &mut OwnedReadHalf, allowed: &Allowed) -> std::io::Result<(Event, Vec<u8>)> {
    let mut prefix = [0; 8];
    control.read_exact(&mut prefix).await?;
    let (header, payload) = protocol::lengths(prefix)?;
    if header as u64 > allowed.header.load(Relaxed) || payload as u64 > allowed.payload.load(Relaxed) {
        let what = format!("a message of {header} + {payload} bytes exceeds what the task allows");
        return Err(std::io::Error::new(std::io::ErrorKind::InvalidData, what));
    }
    let mut bytes = vec![0; header];
    control.read_exact(&mut bytes).await?;
    // Also JSON that ends too early: the frame is whole, so the engine is not gone.
    let event = serde_json::from_slice(&bytes).map_err(|e| std::io::Error::new(std::io::ErrorKind::InvalidData, e))?;
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
            Ok(_) => tracing::info!(target: "engine", "{}", sentence(String::from_utf8_lossy(&line).trim_end())),
        }
    }
}
