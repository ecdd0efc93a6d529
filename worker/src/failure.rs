//! How a job ends badly: a stable code and a sentence for the log.

use fleet::failure::FailureCode;
use fleet::fault::Injected;
use fleet::ladder::LadderError;

use crate::source::SourceError;

/// A failed job.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct JobError {
    /// Stable code.
    pub code: FailureCode,
    /// What happened, for the log and for developers.
    pub message: String,
}

impl JobError {
    /// An error with a code.
    pub fn new(code: FailureCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    /// An invariant did not hold.
    pub fn internal(error: impl std::fmt::Display) -> Self {
        Self::new(FailureCode::Internal, error.to_string())
    }

    /// Writing `what` failed.
    pub fn output(what: &std::path::Path, error: &std::io::Error) -> Self {
        Self::new(FailureCode::OutputFailed, format!("{}: {error}", what.display()))
    }
}

impl From<SourceError> for JobError {
    fn from(error: SourceError) -> Self {
        let code = match &error {
            SourceError::NotFound { .. } | SourceError::BadLocation { .. } | SourceError::NotAFile { .. } => {
                FailureCode::SourceNotFound
            }
            SourceError::Forbidden { .. } => FailureCode::SourceForbidden,
            SourceError::Changed { .. } => FailureCode::SourceChanged,
            _ => FailureCode::SourceUnavailable,
        };
        let mut message = error.to_string();
        if let Some(cause) = root(&error).filter(|cause| !message.contains(cause)) {
            message = format!("{message}: {cause}");
        }
        if matches!(&error, SourceError::Setup { input, .. } if input.starts_with("s3://")) {
            message.push_str("; check the credentials and the region in the AWS settings");
        }
        Self::new(code, message)
    }
}

/// What is behind an error.
fn root(error: &SourceError) -> Option<String> {
    let mut cause = std::error::Error::source(error)?;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    Some(cause.to_string().trim_end_matches('.').to_owned())
}

impl From<Injected> for JobError {
    fn from(fault: Injected) -> Self {
        Self::new(FailureCode::EngineCrashed, fault.to_string())
    }
}

impl From<LadderError> for JobError {
    fn from(error: LadderError) -> Self {
        Self::new(FailureCode::BadLadder, error.to_string())
    }
}
