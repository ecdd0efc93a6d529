//! What is handed in, and when: from a file (CSV or JSON, also what `dispatcher jobs --json` prints), or from a generator.

mod file;
mod generator;

use std::path::{Path, PathBuf};

pub use generator::Generator;

use crate::estimate;
use crate::moment::Moment;
use crate::pools::{Fleet, RegionName};

/// A job that is handed in.
#[derive(Clone, Debug, PartialEq)]
pub struct Arrival {
    /// When it was handed in: its upload is complete.
    pub at: Moment,
    /// When its upload began, if that is known: from then on it is coming work.
    pub upload_began: Option<Moment>,
    /// Region of its source.
    pub region: RegionName,
    /// Owner.
    pub organisation: String,
    /// Share of the owner.
    pub weight: u32,
    /// Length of the video, seconds.
    pub seconds: f64,
    /// Work, encode-seconds.
    pub encode_s: f64,
    /// Size of the source, gigabytes, for transfer between regions.
    pub gigabytes: f64,
    /// When it must be ready.
    pub ready_by: Option<Moment>,
}

/// Why arrivals cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ArrivalError {
    /// The file system.
    #[error("{path} cannot be read")]
    Read {
        /// File.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A row of a file.
    #[error("{path}, row {row}: {reason}")]
    Row {
        /// File.
        path: PathBuf,
        /// Row, from 1, without the heading.
        row: usize,
        /// Why.
        reason: String,
    },
    /// Neither a generator nor a file.
    #[error(
        "no arrivals {0:?}: give a file, or weekend:matches=…, saturday:matches=…, steady:per_hour=… \
         (parameters: months, minutes, share60, clubs, ready_h, upload_min, region)"
    )]
    Unknown(String),
    /// Nothing arrives.
    #[error("{0:?} has no arrivals")]
    Empty(String),
}

impl Arrival {
    /// A video of this length that is handed in at `at`: 1080p30, 12 Mbit/s, nobody waits for it.
    #[must_use]
    pub fn of_length(at: Moment, region: RegionName, seconds: f64) -> Self {
        Self {
            at,
            upload_began: None,
            region,
            organisation: "default".to_owned(),
            weight: 1,
            seconds,
            encode_s: estimate::before_plan(Some(seconds), None),
            gigabytes: estimate::gigabytes(seconds),
            ready_by: None,
        }
    }
}

/// What is handed in over some time.
#[derive(Clone, Debug, PartialEq)]
pub struct Arrivals {
    /// In order of time; not empty.
    pub jobs: Vec<Arrival>,
    /// Months of thirty days that they stand for.
    pub months: f64,
}

/// Reads a generator's text or a file.
///
/// # Errors
/// [`ArrivalError`].
pub fn parse(text: &str, fleet: &Fleet, seed: u64) -> Result<Arrivals, ArrivalError> {
    let unknown = || ArrivalError::Unknown(text.to_owned());
    let (jobs, months) = match Generator::parse(text) {
        Some(generator) => {
            let generator = generator.map_err(|()| unknown())?;
            if let Some(region) = &generator.region
                && fleet.region(&RegionName::from(region.as_str())).is_none()
            {
                return Err(unknown());
            }
            (generator.generate(fleet, seed), Some(generator.months))
        }
        None if Path::new(text).is_file() => (file::read(Path::new(text), fleet)?, None),
        None => return Err(unknown()),
    };
    Arrivals::new(jobs, months).ok_or_else(|| ArrivalError::Empty(text.to_owned()))
}

impl Arrivals {
    /// Arrivals of so many months, or of the days from the first to the last of them; `None` without any.
    #[must_use]
    pub fn new(mut jobs: Vec<Arrival>, months: Option<f64>) -> Option<Self> {
        jobs.sort_by_key(|a| a.at);
        let (first, last) = (jobs.first()?.at, jobs.last()?.at);
        let days = (last.since_s(first) / 86_400.0).ceil().max(1.0);
        Some(Self { jobs, months: months.unwrap_or(days / 30.0) })
    }
}
