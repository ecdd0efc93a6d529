//! Every way a job can fail: a stable code for programs, a sentence for a coach, a sentence for ops.
//!
//! Codes are part of the public interface: they are never renamed and never reused.

use serde::{Deserialize, Serialize};

/// Why a job failed. The serialised form (`snake_case`) is stable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum FailureCode {
    /// The source has no bytes.
    EmptyFile,
    /// The bytes are not a media container that is accepted here.
    NotMedia,
    /// A film that was cut off before its index was written, or in it.
    IncompleteFile,
    /// A media file without a moving picture.
    NoVideo,
    /// A single still picture.
    StillPicture,
    /// The media is encrypted (DRM).
    Encrypted,
    /// The container or codec is known, but not accepted.
    UnsupportedFormat,
    /// The container opens, but no picture can be decoded.
    Undecodable,
    /// A stated limit on duration, size, streams or frame rate is exceeded.
    LimitExceeded,
    /// The source does not exist.
    SourceNotFound,
    /// The credentials at hand may not read the source.
    SourceForbidden,
    /// The source changed while it was being read.
    SourceChanged,
    /// The source could not be read after several tries.
    SourceUnavailable,
    /// The engine process died on this source.
    EngineCrashed,
    /// The engine process made no progress.
    EngineHung,
    /// The engine said something its parent does not accept.
    EngineProtocol,
    /// The engine process tried what none needs to, and was ended for it.
    EngineViolation,
    /// The pictures that came out are not those that went in: the machine is suspected.
    GuardFailed,
    /// Engines cannot be locked in on this machine.
    SandboxUnavailable,
    /// The requested encoder does not work on this machine.
    EncoderUnavailable,
    /// The output could not be written.
    OutputFailed,
    /// The output folder belongs to another job.
    OutputInUse,
    /// The finished output breaks a MUST of the HLS rules, and was not published.
    ConformanceFailed,
    /// The ladder file is not valid.
    BadLadder,
    /// Worker after worker fell silent on the same part of the source.
    WorkersLost,
    /// The source's packets proved unfit to be copied; the job is planned again, to encode them.
    CopyImpossible,
    /// Somebody asked for the job to stop.
    Cancelled,
    /// A defect of Touchline.
    Internal,
}

/// What a caller does about a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Disposition {
    /// The same work may succeed later: try again with backoff.
    Retry,
    /// It will fail the same way again: give up and say so.
    Fail,
    /// Nobody's fault; go on from the last committed segment.
    Interrupted,
}

impl FailureCode {
    /// All codes, in the order of the documentation.
    pub const ALL: [Self; 28] = [
        Self::EmptyFile,
        Self::NotMedia,
        Self::IncompleteFile,
        Self::NoVideo,
        Self::StillPicture,
        Self::Encrypted,
        Self::UnsupportedFormat,
        Self::Undecodable,
        Self::LimitExceeded,
        Self::SourceNotFound,
        Self::SourceForbidden,
        Self::SourceChanged,
        Self::SourceUnavailable,
        Self::EngineCrashed,
        Self::EngineHung,
        Self::EngineProtocol,
        Self::EngineViolation,
        Self::GuardFailed,
        Self::SandboxUnavailable,
        Self::EncoderUnavailable,
        Self::OutputFailed,
        Self::OutputInUse,
        Self::ConformanceFailed,
        Self::BadLadder,
        Self::WorkersLost,
        Self::CopyImpossible,
        Self::Cancelled,
        Self::Internal,
    ];

    /// The code of a stable string; `None` for one of a later version.
    #[must_use]
    pub fn from_code(code: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|c| c.as_str() == code)
    }

    /// The stable string, as in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::EmptyFile => "empty_file",
            Self::NotMedia => "not_media",
            Self::IncompleteFile => "incomplete_file",
            Self::NoVideo => "no_video",
            Self::StillPicture => "still_picture",
            Self::Encrypted => "encrypted",
            Self::UnsupportedFormat => "unsupported_format",
            Self::Undecodable => "undecodable",
            Self::LimitExceeded => "limit_exceeded",
            Self::SourceNotFound => "source_not_found",
            Self::SourceForbidden => "source_forbidden",
            Self::SourceChanged => "source_changed",
            Self::SourceUnavailable => "source_unavailable",
            Self::EngineCrashed => "engine_crashed",
            Self::EngineHung => "engine_hung",
            Self::EngineProtocol => "engine_protocol",
            Self::EngineViolation => "engine_violation",
            Self::GuardFailed => "guard_failed",
            Self::SandboxUnavailable => "sandbox_unavailable",
            Self::EncoderUnavailable => "encoder_unavailable",
            Self::OutputFailed => "output_failed",
            Self::OutputInUse => "output_in_use",
            Self::ConformanceFailed => "conformance_failed",
            Self::BadLadder => "bad_ladder",
            Self::WorkersLost => "workers_lost",
            Self::CopyImpossible => "copy_impossible",
            Self::Cancelled => "cancelled",
            Self::Internal => "internal",
        }
    }

    /// A sentence for a coach: what happened and what to do, without technical words.
    #[must_use]
    pub fn for_coach(self) -> &'static str {
        match self {
            Self::EmptyFile => "The file is empty. Please export or upload it again.",
            Self::NotMedia => "This file is not a video. Please choose the video file itself.",
            Self::IncompleteFile => {
                "The end of this video is missing, and it cannot be played without it. Please copy it from the camera again."
            }
            Self::NoVideo => "This file has sound but no picture. Please choose the match video.",
            Self::StillPicture => "This is a photo, not a video. Please choose the match video.",
            Self::Encrypted => {
                "This video is protected against copying, so it cannot be prepared. Please use the original recording."
            }
            Self::UnsupportedFormat => {
                "This kind of video is not supported. Please export it as MP4 (H.264) and try again."
            }
            Self::Undecodable => {
                "The video is damaged and no picture could be read from it. Please copy it from the camera again."
            }
            Self::LimitExceeded => {
                "This video is longer or larger than what is allowed. Please cut it into parts or export it smaller."
            }
            Self::SourceNotFound => {
                "The video could not be found. It may have been moved or deleted; please upload it again."
            }
            Self::SourceForbidden => {
                "The video may not be read from where it is stored. Please ask the person who manages your account."
            }
            Self::SourceChanged => {
                "The video was replaced while it was being prepared. It will have to be started again."
            }
            Self::SourceUnavailable
            | Self::EngineCrashed
            | Self::EngineHung
            | Self::EngineProtocol
            | Self::EngineViolation
            | Self::GuardFailed
            | Self::SandboxUnavailable
            | Self::EncoderUnavailable
            | Self::OutputFailed
            | Self::OutputInUse
            | Self::WorkersLost
            | Self::CopyImpossible
            | Self::Internal => {
                "Something went wrong on our side. Nothing of your video is lost; please try again later."
            }
            Self::ConformanceFailed => {
                "The prepared video did not pass our checks, so it was not released. We have been told about it."
            }
            Self::BadLadder => "The chosen quality setting is not valid. Please choose another one.",
            Self::Cancelled => "The video was cancelled.",
        }
    }

    /// A sentence for ops: where to look first.
    #[must_use]
    pub fn for_ops(self) -> &'static str {
        match self {
            Self::EmptyFile => "source has zero bytes; the upload was never completed or the key is a placeholder",
            Self::NotMedia => {
                "no allow-listed demuxer accepts the bytes; the file is text, an archive, or something else"
            }
            Self::IncompleteFile => {
                "MP4 or MOV without its index (moov) or with a part of it: the camera lost power, or a copy was broken off"
            }
            Self::NoVideo => "container opens, but holds no video stream other than cover art",
            Self::StillPicture => "image file or a single-picture stream",
            Self::Encrypted => {
                "CENC/DRM sample entries (encv/enca/sinf) found; there is no key and none will be asked for"
            }
            Self::UnsupportedFormat => "codec or container outside the allow list; see `worker probe`",
            Self::Undecodable => {
                "streams were found, but the decoder gave no picture; see the engine log lines of this job"
            }
            Self::LimitExceeded => "a limit of `worker probe --help` was exceeded; the message names it",
            Self::SourceNotFound => "404 or missing file; check bucket, key and region",
            Self::SourceForbidden => {
                "403 or permission denied; check the role's s3:GetObject or the presigned URL's expiry"
            }
            Self::SourceChanged => "ETag, size or mtime differ from those at open; submit the job again",
            Self::SourceUnavailable => "reads kept failing after backoff; check storage health and network",
            Self::EngineCrashed => "engine child died by signal or exit code; keep the source for analysis",
            Self::EngineHung => "no progress within the watchdog time; the child was killed",
            Self::EngineProtocol => "engine output broke framing, limits or the plan; treat the source as hostile",
            Self::EngineViolation => {
                "engine child was ended by its system call filter (SIGSYS): treat the source as an attack, keep it for analysis"
            }
            Self::GuardFailed => {
                "made pictures differ from the film, or came too fast; when the known film fails too, the device is quarantined"
            }
            Self::SandboxUnavailable => {
                "kernel lacks Landlock or seccomp, or a container profile denies them; see `worker sandbox`, or use --insecure-engine"
            }
            Self::EncoderUnavailable => {
                "opening a test session failed; check driver, NVENC presence and session count, or use --encoder x264"
            }
            Self::OutputFailed => "writing segments or playlists failed; check disk space and permissions",
            Self::OutputInUse => {
                "output folder holds a plan with another fingerprint; choose an empty folder or pass --overwrite"
            }
            Self::ConformanceFailed => "report.json lists the failed MUST rules; master.m3u8 was not written",
            Self::BadLadder => "ladder file failed validation; the message names field and line",
            Self::WorkersLost => {
                "several workers in a row stopped sending heartbeats on one chunk before it made progress; see their hosts' logs"
            }
            Self::CopyImpossible => "packets differ from what the index promised; the next plan encodes them",
            Self::Cancelled => "cancelled by request; committed segments stay for a resume",
            Self::Internal => "a bug: an invariant did not hold; please report it with the log",
        }
    }

    /// What a caller does about it. Bad input never retries.
    #[must_use]
    pub fn disposition(self) -> Disposition {
        match self {
            Self::EmptyFile
            | Self::NotMedia
            | Self::IncompleteFile
            | Self::NoVideo
            | Self::StillPicture
            | Self::Encrypted
            | Self::UnsupportedFormat
            | Self::Undecodable
            | Self::LimitExceeded
            | Self::SourceNotFound
            | Self::SourceForbidden
            | Self::SourceChanged
            | Self::EngineProtocol
            | Self::EngineViolation
            | Self::OutputInUse
            | Self::ConformanceFailed
            | Self::BadLadder
            | Self::WorkersLost
            | Self::CopyImpossible
            | Self::Internal => Disposition::Fail,
            Self::SourceUnavailable
            | Self::EngineCrashed
            | Self::EngineHung
            | Self::GuardFailed
            | Self::SandboxUnavailable
            | Self::EncoderUnavailable
            | Self::OutputFailed => Disposition::Retry,
            Self::Cancelled => Disposition::Interrupted,
        }
    }

    /// Whether trying the same job again may help, for a person who can change what was wrong. Not where the bytes of the
    /// source are the cause, or that there are others now: a job keeps to those that it was planned with.
    #[must_use]
    pub fn is_retryable(self) -> bool {
        !matches!(
            self,
            Self::EmptyFile
                | Self::NotMedia
                | Self::IncompleteFile
                | Self::NoVideo
                | Self::StillPicture
                | Self::Encrypted
                | Self::UnsupportedFormat
                | Self::Undecodable
                | Self::LimitExceeded
                | Self::SourceChanged
        )
    }

    /// Exit code of the command line: 2 bad input, 3 try again, 4 defect or failed checks, 130 cancelled.
    #[must_use]
    pub fn exit_code(self) -> u8 {
        match (self, self.disposition()) {
            (
                Self::Internal
                | Self::ConformanceFailed
                | Self::EngineProtocol
                | Self::EngineViolation
                | Self::CopyImpossible,
                _,
            ) => 4,
            (_, Disposition::Fail) => 2,
            (_, Disposition::Retry) => 3,
            (_, Disposition::Interrupted) => 130,
        }
    }
}

impl std::fmt::Display for FailureCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_serialises_as_its_stable_string_and_has_both_sentences() {
        for code in FailureCode::ALL {
            assert_eq!(serde_json::to_string(&code).unwrap(), format!("\"{}\"", code.as_str()));
            assert!(code.for_coach().ends_with('.'), "{code}");
            assert!(!code.for_ops().is_empty(), "{code}");
        }
    }

    #[test]
    fn what_no_other_try_mends_is_never_tried_again_by_itself() {
        for code in FailureCode::ALL.into_iter().filter(|code| !code.is_retryable()) {
            assert_eq!(code.disposition(), Disposition::Fail, "{code}");
        }
    }

    #[test]
    fn codes_are_unique() {
        let mut seen: Vec<&str> = FailureCode::ALL.iter().map(|c| c.as_str()).collect();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), FailureCode::ALL.len());
    }
}
