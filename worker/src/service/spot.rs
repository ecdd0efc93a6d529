//! Spot notices of EC2: two minutes before a machine is taken away, its metadata service says so.
//!
//! <https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-instance-termination-notices.html>. ECS with
//! `ECS_ENABLE_SPOT_INSTANCE_DRAINING` also stops the task with SIGTERM, which drains in the same way.

use std::sync::Arc;
use std::time::Duration;

use super::Service;
use super::metadata::Metadata;

/// Between two looks; AWS recommends 5 s.
const EVERY: Duration = Duration::from_secs(5);
/// Tries to learn which machine this is: the service is there before any container is.
const TRIES: u32 = 3;

/// Watches for a notice and drains the worker when it comes.
pub(super) async fn watch(service: Arc<Service>) {
    let mut metadata = match Metadata::open() {
        Ok(metadata) => metadata,
        Err(error) => {
            tracing::error!(%error, "spot notices cannot be watched for");
            return;
        }
    };
    loop {
        match metadata.spot_notice().await {
            Ok(Some(notice)) => {
                tracing::warn!(notice, "the machine is about to be taken away; handing back what is not finished");
                service.draining.send_replace(true);
                return;
            }
            Ok(None) => {}
            Err(error) => tracing::debug!(%error, "the metadata service does not answer"),
        }
        tokio::time::sleep(EVERY).await;
    }
}

/// The provider's name of this machine, and its pool; empty where nobody says. Without them the dispatcher takes the
/// machine for one that does not boot.
pub(super) async fn place() -> (String, String) {
    for _ in 0..TRIES {
        let answer = match Metadata::open() {
            Ok(mut metadata) => metadata.place().await,
            Err(error) => Err(std::io::Error::other(error)),
        };
        match answer {
            Ok(place) => return place,
            Err(error) => tracing::warn!(%error, "the metadata service does not say which machine this is"),
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    (String::new(), String::new())
}
