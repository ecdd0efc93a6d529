//! Uploads in progress as work that will be there soon, so that machines boot while the last parts arrive.

use std::time::Duration;

use async_trait::async_trait;
use capacity::estimate;
use capacity::moment::Moment;
use capacity::pools::RegionName;
use capacity::view::ComingWork;
use fleet::config::Config;
use fleet::store::uploads::UploadUnderWay;
use fleet::store::{Store, StoreError};
use time::OffsetDateTime;

use super::Coming;

/// An upload that has not moved for this long is no reason to start a machine.
const ALIVE: Duration = Duration::from_secs(120);

/// Uploads whose completion starts a job.
#[derive(Clone, Debug)]
pub struct ComingUploads {
    store: Store,
    config: Config,
}

impl ComingUploads {
    /// The uploads of a fleet.
    #[must_use]
    pub fn new(store: Store, config: Config) -> Self {
        Self { store, config }
    }
}

/// Seconds from now until an upload is complete, at the rate it had so far; `None` before there is a rate.
fn remaining_s(upload: &UploadUnderWay) -> Option<f64> {
    #[expect(clippy::cast_precision_loss, reason = "bytes")]
    let (size, received) = (upload.size_bytes as f64, upload.received_bytes as f64);
    if received <= 0.0 || upload.took_s <= 0.0 {
        return None;
    }
    Some(((size - received) * upload.took_s / received - upload.since_s).max(0.0))
}

#[async_trait]
impl Coming for ComingUploads {
    async fn coming(&self) -> Result<Vec<ComingWork>, StoreError> {
        let now = Moment::from(OffsetDateTime::now_utc());
        let uploads = self.store.uploads_under_way(ALIVE).await?;
        Ok(uploads
            .iter()
            .filter_map(|upload| {
                Some(ComingWork {
                    region: RegionName::from(self.config.home_region(&upload.source)),
                    encode_s: estimate::before_plan(None, u64::try_from(upload.size_bytes).ok()),
                    expected: now.plus_s(remaining_s(upload)?),
                    ready_by: None,
                })
            })
            .collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rest_arrives_at_the_rate_so_far() {
        let upload = |received_bytes, took_s, since_s| UploadUnderWay {
            source: "s3://uploads/a".to_owned(),
            size_bytes: 1000,
            received_bytes,
            took_s,
            since_s,
        };
        assert_eq!(remaining_s(&upload(250, 10.0, 0.0)), Some(30.0));
        assert_eq!(remaining_s(&upload(250, 10.0, 4.0)), Some(26.0));
        assert_eq!(remaining_s(&upload(1000, 10.0, 4.0)), Some(0.0));
        assert_eq!(remaining_s(&upload(0, 10.0, 4.0)), None);
    }
}
