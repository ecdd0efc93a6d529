//! What a running job tells: one line of JSON each, or a progress bar.

use std::path::PathBuf;
use std::sync::mpsc;

use fleet::conformance;
use fleet::failure::FailureCode;
use fleet::presentation::PublishedRendition;
use serde::Serialize;

use crate::facts::SourceFacts;
use crate::failure::JobError;
use crate::plan::RenditionPlan;
use crate::protocol::StageSeconds;

/// One thing that happened.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Update {
    /// The source was looked at.
    Probed {
        /// What was found.
        facts: SourceFacts,
    },
    /// What will be made is decided.
    Planned(Planned),
    /// A segment is committed.
    Segment {
        /// Rendition.
        rendition: String,
        /// Number.
        index: u64,
        /// Frames (video) or samples (audio).
        count: u64,
        /// Size.
        bytes: u64,
    },
    /// How far the job is.
    Progress(Progress),
    /// Something a person should know.
    Warning {
        /// One sentence.
        text: String,
    },
}

/// The decided plan in short.
#[derive(Clone, Debug, Serialize)]
pub struct Planned {
    /// Frames per second.
    pub rate: String,
    /// Expected frames.
    pub frames: Option<u64>,
    /// Expected segments.
    pub segments: u64,
    /// Video renditions.
    pub renditions: Vec<PlannedRendition>,
    /// Names of the sound tracks.
    pub audio: Vec<String>,
    /// `x264` or `nvenc`.
    pub encoder: String,
    /// Engines at work.
    pub slots: u32,
    /// Decisions that a person may ask about.
    pub notes: Vec<String>,
    /// Whether an earlier run's segments are kept.
    pub resumed: bool,
}

/// A planned video rendition.
#[derive(Clone, Debug, Serialize)]
pub struct PlannedRendition {
    /// Folder and name.
    pub name: String,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// FFmpeg's name of the encoder, or `copy`.
    pub encoder: String,
}

impl From<&RenditionPlan> for PlannedRendition {
    fn from(plan: &RenditionPlan) -> Self {
        Self {
            name: plan.name.clone(),
            width: plan.width,
            height: plan.height,
            encoder: plan.encode.as_ref().map_or_else(|| "copy".to_owned(), |e| e.encoder.clone()),
        }
    }
}

/// How far a job is.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Progress {
    /// Output frames done, with those of earlier runs.
    pub frames: u64,
    /// Output frames expected.
    pub expected: Option<u64>,
    /// Seconds from the start that can be watched in every rendition.
    pub watchable_s: f64,
    /// Speed of this run as a multiple of real time.
    pub rate_x: f64,
    /// Seconds left.
    pub eta_s: Option<f64>,
}

/// A finished job.
#[derive(Debug, Serialize)]
pub struct Summary {
    /// The output folder.
    pub out: PathBuf,
    /// The playlist to play.
    pub playlist: PathBuf,
    /// Output frames.
    pub frames: u64,
    /// Seconds of output.
    pub duration_s: f64,
    /// Seconds this run took.
    pub wall_s: f64,
    /// Speed of this run as a multiple of real time.
    pub rate_x: f64,
    /// `x264` or `nvenc`.
    pub encoder: String,
    /// What was made, measured.
    pub renditions: Vec<PublishedRendition>,
    /// What a person should know.
    pub warnings: Vec<String>,
    /// CPU seconds by stage.
    pub cpu_s: StageSeconds,
    /// Counts of the conformance report; the rules are in `report.json`.
    pub report: conformance::Summary,
}

/// The last line of a failed job.
#[derive(Debug, Serialize)]
pub struct Failed {
    /// Always `failed`.
    pub event: &'static str,
    /// Stable code.
    pub code: FailureCode,
    /// For the log.
    pub message: String,
    /// For a coach.
    pub coach: &'static str,
    /// For ops.
    pub ops: &'static str,
}

impl From<&JobError> for Failed {
    fn from(error: &JobError) -> Self {
        Self {
            event: "failed",
            code: error.code,
            message: error.message.clone(),
            coach: error.code.for_coach(),
            ops: error.code.for_ops(),
        }
    }
}

/// Where updates go. A reader that has gone away does not stop the job.
#[derive(Clone, Debug)]
pub struct Sink(Option<mpsc::Sender<Update>>);

impl Sink {
    /// Into a channel.
    #[must_use]
    pub fn new(sender: mpsc::Sender<Update>) -> Self {
        Self(Some(sender))
    }

    /// Nowhere.
    #[must_use]
    pub fn none() -> Self {
        Self(None)
    }

    pub(crate) fn send(&self, update: Update) {
        if let Some(sender) = &self.0
            && sender.send(update).is_err()
        {
            tracing::trace!("nobody listens to updates");
        }
    }
}
