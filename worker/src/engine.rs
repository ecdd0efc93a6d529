//! The engine process: decodes bytes from strangers with no network, no credentials and no name of anything.
//!
//! It locks itself in ([`sandbox`]) before it reads the first byte of the source, and says so. Standard input is the socket on which it asks for ranges of the source; standard output the socket on which it is
//! told what to do and hands back what it made; standard error carries log lines. It ends when its parent does.

mod assemble;
mod audio;
mod clock;
mod epochs;
mod golden;
mod hardware;
mod likeness;
pub(crate) mod outbox;
mod pictures;
mod probe;
mod range;
mod reader;
pub(crate) mod rendition;
mod sandbox;
mod select;
mod video;

use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::mpsc;

use fleet::failure::FailureCode;
use media::device::CudaDevice;

use crate::confinement::{Confinement, Layers};
use crate::plan::VideoPlan;
use crate::protocol::{self, Command, Event, VideoTask};
pub(crate) use golden::FRAMES as GOLDEN_FRAMES;
use outbox::Outbox;
pub(crate) use probe::MAX_DURATION_S;
use range::RangeClient;
use reader::Reader;
pub use sandbox::SandboxError;

/// A single allocation inside FFmpeg may not be larger, in bytes.
const MAX_ALLOCATION: usize = 512 << 20;

/// Why a task failed.
#[derive(Debug, thiserror::Error)]
#[error("{code}: {message}")]
pub(crate) struct EngineError {
    pub(crate) code: FailureCode,
    pub(crate) message: String,
}

impl EngineError {
    pub(crate) fn new(code: FailureCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    pub(crate) fn internal(error: impl std::fmt::Display) -> Self {
        Self::new(FailureCode::Internal, error.to_string())
    }

    #[expect(clippy::needless_pass_by_value, reason = "used as a function in map_err")]
    pub(crate) fn undecodable(error: media::Error) -> Self {
        Self::new(FailureCode::Undecodable, error.to_string())
    }
}

impl From<select::FreezeTooLong> for EngineError {
    fn from(error: select::FreezeTooLong) -> Self {
        Self::new(FailureCode::LimitExceeded, error.to_string())
    }
}

/// Locks this process in as an engine does, for programs that show what the lock is worth.
///
/// # Errors
/// The lock does not hold.
pub fn lock(layers: Layers) -> Result<Confinement, SandboxError> {
    sandbox::lock(layers, false, || {})
}

/// Locks this process in and serves commands until the parent closes the socket. `gpu` starts the GPU driver first and
/// leaves open what it needs.
///
/// # Errors
/// The lock does not hold, the inherited descriptors are not sockets, or the parent died within a message.
pub fn run(layers: Layers, gpu: bool) -> io::Result<()> {
    media::process::close_inherited()?;
    media::log::to_tracing();
    media::limit_allocations(MAX_ALLOCATION);
    let source = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    let control = UnixStream::from(io::stdout().as_fd().try_clone_to_owned()?);
    let outbox = Outbox::new(control.try_clone()?);
    let mut device = None;
    let locked = sandbox::lock(layers, gpu, || device = hardware::warm());
    let first = match locked {
        Ok(confinement) => Event::Ready(confinement),
        Err(error) => Event::Failed { code: FailureCode::SandboxUnavailable, message: error.to_string() },
    };
    outbox.send(&first, &[]).map_err(|e| io::Error::other(e.message))?;
    if let Event::Failed { message, .. } = first {
        return Err(io::Error::other(message));
    }
    // The parent answers when it is content with that.
    let range = RangeClient::connect(source)?;
    let (sender, commands) = mpsc::channel();
    // Reads apart from the work, so that the end of the parent ends this process within milliseconds, not at the next
    // segment.
    std::thread::Builder::new().name("commands".to_owned()).spawn(move || {
        let mut control = control;
        while let Ok(Some(command)) = protocol::read::<Command>(&mut control) {
            if sender.send(command).is_err() {
                break;
            }
        }
        std::process::exit(0);
    })?;
    let mut engine = Engine { range, outbox, video: None, gpu: device, scaler: None };
    for command in commands {
        if let Err(error) = engine.serve(command) {
            tracing::info!(code = %error.code, "task failed: {}", error.message);
            let event = Event::Failed { code: error.code, message: error.message };
            engine.outbox.send(&event, &[]).map_err(|e| io::Error::other(e.message))?;
        }
    }
    Ok(())
}

struct Engine {
    range: RangeClient,
    outbox: Outbox,
    /// The open source, with the stream it was opened for: chunks of one job go through one demuxer.
    video: Option<(usize, Reader)>,
    gpu: Option<CudaDevice>,
    scaler: video::ScalingGraph,
}

impl Engine {
    fn serve(&mut self, command: Command) -> Result<(), EngineError> {
        let done = match command {
            Command::Probe => Event::Probed { facts: Box::new(probe::probe(&self.range)?) },
            Command::Video { plan, task } => Event::Done(self.video(&plan, task)?),
            Command::Audio { plan, first_segment } => {
                Event::Done(audio::encode(&self.range, &plan, first_segment, &self.outbox)?)
            }
            Command::TryHardware => Event::Hardware(hardware::try_out(self.gpu.as_ref())),
            Command::Golden { encoder } => Event::Golden(golden::run(&encoder, self.gpu.as_ref())?),
            Command::TryForbidden { operation } => {
                let refused = sandbox::is_refused(&operation);
                Event::Forbidden { refused: refused.ok_or_else(|| EngineError::internal("no such operation"))? }
            }
        };
        self.outbox.send(&done, &[])
    }

    fn video(&mut self, plan: &VideoPlan, task: VideoTask) -> Result<protocol::TaskReport, EngineError> {
        if plan.gpu_decode && self.gpu.is_none() {
            tracing::warn!("no GPU for decoding; going on without");
        }
        let mut reader = match self.video.take() {
            Some((stream, reader)) if stream == plan.stream => reader,
            _ => Reader::open(&self.range, plan.stream, &[plan.stream], plan.indexed)?,
        };
        // Opening tries decoders too; what they say then is no damage.
        let errors_before = media::log::decoder_errors();
        let mut report = video::encode(&mut reader, plan, task, self.gpu.as_ref(), &mut self.scaler, &self.outbox)?;
        self.video = Some((plan.stream, reader));
        report.damaged = report.damaged.max(media::log::decoder_errors() - errors_before);
        Ok(report)
    }
}
