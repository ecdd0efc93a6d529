//! Recorded availability, in the format of the traces of "Can't Be Late" (github.com/skypilot-org/spot-traces):
//! `{"metadata": {"gap_seconds": 600}, "data": [0, 1, …]}`, the number of instances that could be had at each tick.
//!
//! Beware of the authors' own simulator, whose files say the opposite: there, 1 is a preemption.

use std::path::{Path, PathBuf};

use serde::Deserialize;

/// A recorded market.
#[derive(Clone, Debug, PartialEq)]
pub struct Trace {
    /// Seconds between two values.
    pub gap_s: f64,
    /// Instances that could be had.
    pub levels: Vec<u32>,
    /// The most that was asked for; this many means as many as one likes.
    most: u32,
}

/// Why a trace cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// The file system.
    #[error("{path} cannot be read")]
    Read {
        /// File or folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Not the format.
    #[error("{path} is not a trace: {reason}")]
    Format {
        /// File.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A folder without traces.
    #[error("{0} has no trace (*.json) in it")]
    Empty(PathBuf),
}

#[derive(Deserialize)]
struct File {
    metadata: Metadata,
    data: Vec<u32>,
}

#[derive(Deserialize)]
struct Metadata {
    gap_seconds: f64,
}

impl Trace {
    /// A trace; `None` when it has no value, or its gap is not a positive number of seconds.
    #[must_use]
    pub fn new(gap_s: f64, levels: Vec<u32>) -> Option<Self> {
        let most = levels.iter().copied().max()?;
        (gap_s.is_finite() && gap_s >= 1.0).then_some(Self { gap_s, levels, most })
    }

    /// Instances that could be had at a tick: all one likes where the probe got all it asked for.
    pub(super) fn level(&self, tick: usize) -> u32 {
        match self.levels[tick] {
            0 => 0,
            level if level >= self.most => u32::MAX,
            level => level,
        }
    }

    /// Share of the ticks at which an instance could be had.
    #[must_use]
    pub fn availability(&self) -> f64 {
        self.levels.iter().filter(|l| **l > 0).count() as f64 / self.levels.len() as f64
    }

    /// Reads one file.
    ///
    /// # Errors
    /// [`TraceError`].
    pub fn read(path: &Path) -> Result<Self, TraceError> {
        let text =
            std::fs::read_to_string(path).map_err(|source| TraceError::Read { path: path.to_owned(), source })?;
        let format = |reason: String| TraceError::Format { path: path.to_owned(), reason };
        let file: File = serde_json::from_str(&text).map_err(|e| format(e.to_string()))?;
        Self::new(file.metadata.gap_seconds, file.data)
            .ok_or_else(|| format("it needs values and a gap of at least a second".to_owned()))
    }
}

/// One file, or all `*.json` below a folder, in the order of their paths.
pub(super) fn read_all(path: &Path) -> Result<Vec<Trace>, TraceError> {
    if path.is_file() {
        return Ok(vec![Trace::read(path)?]);
    }
    let mut files = Vec::new();
    let mut folders = vec![path.to_owned()];
    while let Some(folder) = folders.pop() {
        let failed = |source| TraceError::Read { path: folder.clone(), source };
        for entry in std::fs::read_dir(&folder).map_err(failed)? {
            let entry = entry.map_err(failed)?.path();
            if entry.is_dir() {
                folders.push(entry);
            } else if entry.extension().is_some_and(|e| e == "json") {
                files.push(entry);
            }
        }
    }
    files.sort();
    if files.is_empty() {
        return Err(TraceError::Empty(path.to_owned()));
    }
    files.iter().map(|f| Trace::read(f)).collect()
}
