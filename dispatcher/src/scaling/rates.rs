//! How fast machines were lately, from the chunks that they finished.

use std::time::Duration;

use capacity::estimate;
use capacity::moment::Moment;
use capacity::pools::Fleet;
use capacity::rates::{EncodedChunk, Rates};
use fleet::store::{Store, StoreError};

/// What is older says little of drivers, images and ladders of today.
const WITHIN: Duration = Duration::from_secs(14 * 24 * 3600);
/// Chunks of each pool that are looked at.
const CHUNKS: u32 = 200;

/// The rates that were measured of a fleet's pools.
///
/// # Errors
/// The store does not answer.
pub async fn measured(store: &Store, fleet: &Fleet) -> Result<Rates, StoreError> {
    let rows = store.encoded_chunks(WITHIN, CHUNKS).await?;
    let chunks: Vec<EncodedChunk> = rows
        .into_iter()
        .map(|row| {
            let rate = row.encoded.rate.as_f64();
            #[expect(clippy::cast_precision_loss, reason = "frames of a chunk")]
            let seconds = row.frames as f64 / rate;
            EncodedChunk {
                encode_s: estimate::encode_seconds(seconds, rate, row.encoded.sizes),
                pool: row.pool,
                worker: row.worker,
                began: Moment::from(row.claimed_at),
                ended: Moment::from(row.ended_at),
            }
        })
        .collect();
    Ok(Rates::of(fleet, &chunks))
}
