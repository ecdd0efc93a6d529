//! Why the source could not be read.

use std::error::Error;
use std::io;
use std::sync::Arc;

use fleet::fault::Injected;

/// A failure to find, open or read the source.
///
/// Every message names the input as [`SourceLocation`](super::SourceLocation) shows it, so never with the query
/// string or the user of a URL. The error is `Clone` because readers that wait for the same block share its fate.
#[derive(Debug, Clone, thiserror::Error)]
pub enum SourceError {
    /// The text is no location this program can read from.
    #[error("{input}: {reason}")]
    BadLocation {
        /// The text, without secrets.
        input: String,
        /// What is wrong with it.
        reason: String,
    },
    /// There is no such file, object or page.
    #[error("{input}: not found")]
    NotFound {
        /// The location, without secrets.
        input: String,
    },
    /// The file system or the server refuses to let us read. S3 also answers this for a missing object when
    /// the caller may not list the bucket, and for a presigned URL that has expired.
    #[error("{input}: access denied")]
    Forbidden {
        /// The location, without secrets.
        input: String,
    },
    /// A directory, pipe, socket or device: nothing that can be read at any place twice.
    #[error("{input}: is a {kind}, not a regular file")]
    NotAFile {
        /// The location, without secrets.
        input: String,
        /// What it is instead.
        kind: &'static str,
    },
    /// The bytes are no longer those that were opened.
    #[error("{input}: changed while it was being read")]
    Changed {
        /// The location, without secrets.
        input: String,
    },
    /// The server sends the whole body whatever part is asked for.
    #[error("{input}: the server does not support range requests")]
    RangesUnsupported {
        /// The location, without secrets.
        input: String,
    },
    /// One read asked for more than [`MAX_READ_LEN`](super::MAX_READ_LEN).
    #[error("{input}: a read of {len} bytes is longer than the allowed {max}")]
    ReadTooLong {
        /// The location, without secrets.
        input: String,
        /// Bytes asked for.
        len: usize,
        /// Bytes allowed.
        max: usize,
    },
    /// The server's answer contradicts the protocol or the request.
    #[error("{input}: unusable answer from the server: {reason}")]
    InvalidResponse {
        /// The location, without secrets.
        input: String,
        /// What is wrong with the answer.
        reason: String,
    },
    /// The request could not be made at all: no credentials, no region, no TLS roots.
    #[error("{input}: the request could not be made")]
    Setup {
        /// The location, without secrets.
        input: String,
        /// What failed.
        #[source]
        source: Arc<dyn Error + Send + Sync>,
    },
    /// The network or the server failed, and went on failing through every retry.
    #[error("{input}: temporarily unavailable")]
    Unavailable {
        /// The location, without secrets.
        input: String,
        /// What failed last.
        #[source]
        source: Arc<dyn Error + Send + Sync>,
    },
    /// The operating system failed to read the file.
    #[error("{input}: read failed")]
    Io {
        /// The location, without secrets.
        input: String,
        /// What failed.
        #[source]
        source: Arc<io::Error>,
    },
}

impl From<Injected> for SourceError {
    fn from(fault: Injected) -> Self {
        Self::unavailable("source", fault)
    }
}

impl SourceError {
    /// Whether the same read may succeed later without anybody changing anything.
    ///
    /// Reads already retry such errors for about half a minute before they return one, so a caller's own retry
    /// belongs to the whole attempt, minutes later.
    #[must_use]
    pub fn retryable(&self) -> bool {
        match self {
            Self::Unavailable { .. } => true,
            Self::BadLocation { .. }
            | Self::NotFound { .. }
            | Self::Forbidden { .. }
            | Self::NotAFile { .. }
            | Self::Changed { .. }
            | Self::RangesUnsupported { .. }
            | Self::ReadTooLong { .. }
            | Self::InvalidResponse { .. }
            | Self::Setup { .. }
            | Self::Io { .. } => false,
        }
    }

    /// A transient failure with its cause.
    pub(super) fn unavailable(input: &str, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Unavailable { input: input.to_owned(), source: Arc::from(source.into()) }
    }

    /// A failure before anything was sent, with its cause.
    pub(super) fn setup(input: &str, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Setup { input: input.to_owned(), source: Arc::from(source.into()) }
    }

    /// An answer that cannot be used.
    pub(super) fn invalid(input: &str, reason: impl Into<String>) -> Self {
        Self::InvalidResponse { input: input.to_owned(), reason: reason.into() }
    }

    /// What an HTTP status other than success means; `None` for statuses that are no error by themselves.
    pub(super) fn from_status(input: &str, status: u16) -> Option<Self> {
        let input_owned = || input.to_owned();
        match status {
            200 | 206 => None,
            401 | 403 | 407 => Some(Self::Forbidden { input: input_owned() }),
            404 | 410 => Some(Self::NotFound { input: input_owned() }),
            // 416 after a successful open: the object is now shorter than it was.
            412 | 416 => Some(Self::Changed { input: input_owned() }),
            408 | 425 | 429 | 500..=599 => {
                Some(Self::unavailable(input, format!("the server answered with status {status}")))
            }
            _ => Some(Self::invalid(input, format!("status {status}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_http_status_has_one_meaning() {
        let cases: [(u16, &str, bool); 12] = [
            (401, "m.mp4: access denied", false),
            (403, "m.mp4: access denied", false),
            (404, "m.mp4: not found", false),
            (410, "m.mp4: not found", false),
            (412, "m.mp4: changed while it was being read", false),
            (416, "m.mp4: changed while it was being read", false),
            (408, "m.mp4: temporarily unavailable", true),
            (429, "m.mp4: temporarily unavailable", true),
            (500, "m.mp4: temporarily unavailable", true),
            (503, "m.mp4: temporarily unavailable", true),
            (302, "m.mp4: unusable answer from the server: status 302", false),
            (400, "m.mp4: unusable answer from the server: status 400", false),
        ];
        for (status, message, retryable) in cases {
            let error = SourceError::from_status("m.mp4", status).unwrap();
            assert_eq!(error.to_string(), message, "{status}");
            assert_eq!(error.retryable(), retryable, "{status}");
        }
        assert!(SourceError::from_status("m.mp4", 206).is_none());
    }
}
