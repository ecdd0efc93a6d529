//! When spot instances can be had, and when they are taken back: recorded traces, or a process with heavy tails whose
//! outages are shared by the pools of a region.
//!
//! Prices are constant: they move by a few percent a week, availability between everything and nothing within hours.

mod process;
mod trace;

use std::path::PathBuf;
use std::sync::Arc;

pub use process::Process;
pub use trace::{Trace, TraceError};

use super::random::Stream;
use crate::moment::{Moment, millis};

/// The spot market of all pools.
#[derive(Clone, Debug, PartialEq)]
pub enum Spot {
    /// Always there, never taken back.
    Always,
    /// Recorded traces; each pool gets one, and starts at a place in it that the seed chooses.
    Traces(Vec<Arc<Trace>>),
    /// One trace for all pools, from its beginning.
    Replay(Arc<Trace>),
    /// Up and down times with heavy tails.
    Process(Process),
}

/// Why a market cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum SpotError {
    /// A trace.
    #[error(transparent)]
    Trace(#[from] TraceError),
    /// Not a market.
    #[error(
        "no spot market {0:?}; give always, calm, rough, process:up_h=…,down_h=…,shared=…,hazard=…, or a trace file or folder"
    )]
    Unknown(String),
}

/// The market of one pool: steps of how many instances can be had.
#[derive(Clone, Debug)]
pub(crate) struct Market {
    source: Source,
    level: u32,
    until: Moment,
}

#[derive(Clone, Debug)]
enum Source {
    Constant,
    Trace { trace: Arc<Trace>, tick: usize },
    Process { own: process::Alternator, shared: process::Alternator },
}

impl Spot {
    /// Reads `always`, `calm`, `rough`, `process:…`, or the path of a trace or of a folder with traces.
    ///
    /// # Errors
    /// [`SpotError`].
    pub fn parse(text: &str) -> Result<Self, SpotError> {
        let (name, parameters) = text.split_once(':').unwrap_or((text, ""));
        let unknown = || SpotError::Unknown(text.to_owned());
        match name {
            "always" => return Ok(Self::Always),
            "calm" => return Ok(Self::Process(Process::CALM)),
            "rough" => return Ok(Self::Process(Process::ROUGH)),
            "process" => return Process::ROUGH.parsed(parameters).map(Self::Process).ok_or_else(unknown),
            _ => {}
        }
        let path = PathBuf::from(text);
        if !path.exists() {
            return Err(unknown());
        }
        Ok(Self::Traces(trace::read_all(&path)?.into_iter().map(Arc::new).collect()))
    }

    /// Mean time until one instance is taken back while the market is up, hours; `None` when that does not happen.
    pub(crate) fn hazard_per_hour(&self) -> f64 {
        match self {
            Self::Always | Self::Traces(_) | Self::Replay(_) => 0.0,
            Self::Process(process) => process.hazard,
        }
    }

    /// The market of pool number `pool` in region number `region`, from `start` on.
    pub(crate) fn market(&self, seed: u64, pool: usize, region: usize, start: Moment) -> Market {
        let constant = Market { source: Source::Constant, level: u32::MAX, until: Moment::NEVER };
        match self {
            Self::Always => constant,
            Self::Traces(traces) if traces.is_empty() => constant,
            Self::Replay(trace) => Market::of_trace(trace.clone(), 0, start),
            Self::Traces(traces) => {
                let mut stream = Stream::new(seed, "trace", pool as u64);
                let trace = traces[(stream.below(traces.len()) + pool) % traces.len()].clone();
                let tick = stream.below(trace.levels.len());
                Market::of_trace(trace, tick, start)
            }
            Self::Process(process) => {
                let own =
                    process.alternator(1.0 - process.shared, Stream::new(seed, "pool market", pool as u64), start);
                let shared =
                    process.alternator(process.shared, Stream::new(seed, "region market", region as u64), start);
                let mut market = Market { source: Source::Process { own, shared }, level: 0, until: start };
                market.settle();
                market
            }
        }
    }
}

impl Market {
    /// A market that follows a trace from `tick` on.
    pub(crate) fn of_trace(trace: Arc<Trace>, tick: usize, start: Moment) -> Self {
        let mut market = Self { source: Source::Trace { trace, tick }, level: 0, until: start };
        market.settle();
        market
    }

    /// Instances that can be had until [`Market::until`].
    pub(crate) fn level(&self) -> u32 {
        self.level
    }

    /// When that changes.
    pub(crate) fn until(&self) -> Moment {
        self.until
    }

    /// Goes on to the next level.
    pub(crate) fn step(&mut self) {
        match &mut self.source {
            Source::Constant => {}
            Source::Trace { trace, tick } => *tick = (*tick + 1) % trace.levels.len(),
            Source::Process { own, shared } => {
                let at = self.until;
                for alternator in [own, shared] {
                    if alternator.until <= at {
                        alternator.step();
                    }
                }
            }
        }
        self.settle();
    }

    /// Sets level and its end, joining equal ticks of a trace.
    fn settle(&mut self) {
        match &mut self.source {
            Source::Constant => {}
            Source::Trace { trace, tick } => {
                self.level = trace.level(*tick);
                let mut ticks = 1_i64;
                // A trace that never changes is looked at again after one round.
                while (ticks as usize) < trace.levels.len()
                    && trace.level((*tick + 1) % trace.levels.len()) == self.level
                {
                    *tick = (*tick + 1) % trace.levels.len();
                    ticks += 1;
                }
                self.until = Moment(self.until.0.saturating_add(millis(trace.gap_s).saturating_mul(ticks)));
            }
            Source::Process { own, shared } => {
                self.level = if own.up && shared.up { u32::MAX } else { 0 };
                self.until = own.until.min(shared.until);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_is_followed_in_its_steps_and_starts_again_at_its_end() {
        let trace = Arc::new(Trace::new(60.0, vec![1, 1, 0, 1]).unwrap());
        let mut market = Market::of_trace(trace, 0, Moment(0));
        let mut seen = Vec::new();
        for _ in 0..5 {
            seen.push((market.level() > 0, market.until().0 / 60_000));
            market.step();
        }
        assert_eq!(seen, [(true, 2), (false, 3), (true, 6), (false, 7), (true, 10)]);
    }

    #[test]
    fn pools_of_a_region_share_outages() {
        let spot = Spot::Process(Process { shared: 0.8, hazard: 0.0, ..Process::ROUGH });
        let ups = |pool, region| -> Vec<bool> {
            let mut market = spot.market(3, pool, region, Moment(0));
            (0..5_000_i64)
                .map(|i| {
                    let at = Moment(i * 600_000);
                    while market.until() <= at {
                        market.step();
                    }
                    market.level() > 0
                })
                .collect()
        };
        let same = |a: &[bool], b: &[bool]| a.iter().zip(b).filter(|(x, y)| x == y).count();
        let (one, sibling, stranger) = (ups(0, 0), ups(1, 0), ups(2, 1));
        assert!(same(&one, &sibling) > same(&one, &stranger) + 500);
    }

    #[test]
    fn a_market_is_named_or_is_a_path_that_exists() {
        assert_eq!(Spot::parse("always").unwrap(), Spot::Always);
        assert!(matches!(Spot::parse("process:up_h=2,hazard=0.1").unwrap(), Spot::Process(p) if p.up_h == 2.0));
        assert!(Spot::parse("process:up=2").is_err());
        assert!(Spot::parse("/no/such/file").unwrap_err().to_string().contains("no spot market"));
    }
}
