//! Quotes as people and programs read them: what a match will cost and when it can be watched.

use capacity::estimate;
use capacity::money::MicroDollars;
use capacity::pools::{Fleet, RegionName};
use capacity::quote::{self, Work};
use fleet::ladder::Ladder;
use fleet::store::{Store, StoreError};
use serde::Serialize;
use utoipa::ToSchema;

use crate::scaling::observe::UNPLANNED_S;
use crate::scaling::rates::measured;

/// Segments that every rendition needs before something can be watched.
const FIRST_SEGMENTS: f64 = 2.0;
/// Height and frame rate of a source of which nothing is known.
const USUAL: (u32, f64) = (1080, 30.0);

/// What is to be quoted.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Region of the source.
    pub region: String,
    /// What is to be made.
    pub ladder: Ladder,
    /// Length of the video, seconds.
    pub seconds: Option<f64>,
    /// Size of the file, which tells the length roughly.
    pub bytes: Option<u64>,
    /// Lines of its shorter side.
    pub height: Option<u32>,
    /// Frames a second.
    pub frame_rate: Option<f64>,
}

/// What a match will cost and when it can be watched.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Quote {
    /// Region.
    pub region: String,
    /// Ladder.
    pub ladder: String,
    /// Length that was reckoned with, seconds.
    pub video_s: f64,
    /// Work, in encode-seconds: seconds of 1080p30 video through 1080, 720, 480 and 360 lines.
    pub work_s: f64,
    /// Null where the fleet does not know what its machines cost.
    #[schema(required)]
    pub price: Option<Price>,
    /// Until something can be watched; null where the fleet does not know how fast its machines are.
    #[schema(required)]
    pub playable: Option<Span>,
    /// Until all of it can be watched, on one machine.
    #[schema(required)]
    pub done: Option<Span>,
    /// Pools that would be used, the cheapest work first.
    pub pools: Vec<QuotedPool>,
    /// What it rests on, in sentences.
    pub assumptions: Vec<String>,
}

/// A range of prices, in millionths of a US dollar.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Price {
    /// A machine of the cheapest pool is warm.
    pub low_micros: i64,
    /// A machine of the cheapest pool is started for it alone.
    pub likely_micros: i64,
    /// An on-demand machine of the dearest pool is started for it alone, some of the work is done twice, and the source is
    /// read in another region.
    pub high_micros: i64,
    /// What reading the source in another region costs, a part of `high_micros`; 0 where work stays in its region.
    pub transfer_micros: i64,
    /// `likely_micros` in US dollars.
    #[schema(example = "0.112940")]
    pub likely_usd: String,
    /// `high_micros` in US dollars.
    #[schema(example = "0.290772")]
    pub high_usd: String,
}

/// A range of time after the hand-in, seconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, ToSchema)]
pub struct Span {
    /// A machine is warm.
    pub soon_s: f64,
    /// One is started first, and is slow to come.
    pub late_s: f64,
}

/// A pool that a quote rests on.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct QuotedPool {
    /// Name.
    pub pool: String,
    /// Price of a machine, in millionths of a US dollar an hour.
    pub price_per_hour_micros: i64,
    /// Encode-seconds that a machine does in a second.
    pub encode_rate: f64,
    /// Of how many chunks that rate is the median; null when it is the one that the fleet's file promises.
    #[schema(required)]
    pub measured_chunks: Option<u32>,
    /// The work alone on it, in millionths of a US dollar.
    pub work_micros: i64,
}

/// Quotes a match.
///
/// # Errors
/// The store does not answer.
pub async fn quote(store: &Store, fleet: Option<&Fleet>, asked: &Asked) -> Result<Quote, StoreError> {
    let known = asked.seconds.is_some() || asked.bytes.is_some();
    let seconds = if known { estimate::before_plan(asked.seconds, asked.bytes) } else { UNPLANNED_S };
    let (height, frame_rate) = (asked.height.unwrap_or(USUAL.0), asked.frame_rate.unwrap_or(USUAL.1));
    let work_of = |seconds| estimate::of_ladder(&asked.ladder, seconds, height, frame_rate);
    let segment_s = asked.ladder.gop_seconds * f64::from(asked.ladder.segment_gops);
    let work = Work {
        total_s: work_of(seconds),
        first_s: work_of(seconds.min(FIRST_SEGMENTS * segment_s)),
        gigabytes: asked.bytes.map_or_else(|| estimate::gigabytes(seconds), |bytes| bytes as f64 / 1e9),
    };
    let mut assumptions = about_source(asked, seconds, height, frame_rate);
    let mut answer = Quote {
        region: asked.region.clone(),
        ladder: asked.ladder.name.clone(),
        video_s: seconds,
        work_s: work.total_s,
        price: None,
        playable: None,
        done: None,
        pools: Vec::new(),
        assumptions: Vec::new(),
    };
    let Some(fleet) = fleet else {
        assumptions.push("machines come and go by other hands here, so price and time are not known".to_owned());
        return Ok(Quote { assumptions, ..answer });
    };
    let rates = measured(store, fleet).await?;
    match quote::quote(fleet, &RegionName::from(asked.region.as_str()), work, &rates) {
        Err(problem) => assumptions.push(format!("price and time are not known: {problem}")),
        Ok(quoted) => {
            answer.price = Some(Price::of(&quoted));
            let is_known = |pool: &quote::QuotedPool| {
                pool.measured_chunks.is_some() || fleet.pool(&pool.pool).is_some_and(|p| p.promises_rate())
            };
            if quoted.pools.iter().all(is_known) {
                answer.playable = Some(quoted.playable.into());
                answer.done = Some(quoted.done.into());
                assumptions.extend(quoted.assumptions);
            } else {
                assumptions.push("how fast this machine is shows with the first chunks that it encodes".to_owned());
            }
            answer.pools = quoted
                .pools
                .into_iter()
                .map(|pool| QuotedPool {
                    pool: pool.pool.to_string(),
                    price_per_hour_micros: pool.price_per_hour.0,
                    encode_rate: pool.encode_rate,
                    measured_chunks: pool.measured_chunks,
                    work_micros: pool.work.0,
                })
                .collect();
            if answer.pools.iter().all(|pool| pool.price_per_hour_micros == 0) {
                assumptions
                    .push("the machines belong to whoever runs the fleet: their time has no price here".to_owned());
            }
        }
    }
    Ok(Quote { assumptions, ..answer })
}

fn about_source(asked: &Asked, seconds: f64, height: u32, frame_rate: f64) -> Vec<String> {
    let mut said = Vec::new();
    match (asked.seconds, asked.bytes) {
        (Some(_), _) => {}
        (None, Some(_)) => {
            said.push(format!("the file's size suggests {:.0} min of video at 12 Mbit/s", seconds / 60.0))
        }
        (None, None) => said.push(format!("nothing is known of the source; {:.0} min of video", seconds / 60.0)),
    }
    if asked.height.is_none() || asked.frame_rate.is_none() {
        said.push(format!("the source has {height} lines and {frame_rate:.0} frames a second"));
    }
    said
}

impl Price {
    fn of(quoted: &quote::Quote) -> Self {
        let exact = |amount: MicroDollars| amount.exact();
        Self {
            low_micros: quoted.low.0,
            likely_micros: quoted.likely.0,
            high_micros: quoted.high.0,
            transfer_micros: quoted.transfer.0,
            likely_usd: exact(quoted.likely),
            high_usd: exact(quoted.high),
        }
    }
}

impl From<quote::Span> for Span {
    fn from(span: quote::Span) -> Self {
        Self { soon_s: span.soon_s, late_s: span.late_s }
    }
}
