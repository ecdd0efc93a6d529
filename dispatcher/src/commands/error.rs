//! Why a command failed, and with which code it then exits.

use std::io;

use fleet::config::ConfigError;
use fleet::ladder::LadderError;
use fleet::store::StoreError;

use super::simulate::SimulateError;
use crate::dispatch::DispatchError;
use crate::local::LocalError;
use crate::upload::UploadError;

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
    Upload(#[from] UploadError),
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
    pub(super) fn exit_code(&self) -> u8 {
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
            Self::Store(e) if e.is_refused_login() => 2,
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

/// An error with its causes, and what to do, in one line.
pub(super) fn told(error: &CommandError) -> String {
    let advice = match error {
        CommandError::Store(e)
        | CommandError::Dispatch(DispatchError::Store(e))
        | CommandError::Local(LocalError::Store(e)) => e.advice(),
        _ => None,
    };
    [Some(chain(error)), advice.map(str::to_owned)].into_iter().flatten().collect::<Vec<_>>().join("; ")
}

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
