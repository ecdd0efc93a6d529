//! Spot notices of EC2: two minutes before a machine is taken away, its metadata service says so.
//!
//! <https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-instance-termination-notices.html>. ECS with
//! `ECS_ENABLE_SPOT_INSTANCE_DRAINING` also stops the task with SIGTERM, which drains in the same way.

use std::sync::Arc;
use std::time::Duration;

use super::Service;

/// Between two looks; AWS recommends 5 s.
const EVERY: Duration = Duration::from_secs(5);
/// Variable of the AWS SDKs for the address of the metadata service.
const ENDPOINT: &str = "AWS_EC2_METADATA_SERVICE_ENDPOINT";

/// Watches for a notice and drains the worker when it comes.
pub(super) async fn watch(service: Arc<Service>) {
    let endpoint = std::env::var(ENDPOINT).ok().filter(|e| !e.is_empty());
    let endpoint = endpoint.unwrap_or_else(|| "http://169.254.169.254".to_owned());
    let client = match reqwest::Client::builder().timeout(Duration::from_secs(2)).no_proxy().build() {
        Ok(client) => client,
        Err(error) => {
            tracing::error!(%error, "spot notices cannot be watched for");
            return;
        }
    };
    let mut token: Option<String> = None;
    loop {
        match look(&client, endpoint.trim_end_matches('/'), &mut token).await {
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

async fn look(
    client: &reqwest::Client,
    endpoint: &str,
    token: &mut Option<String>,
) -> Result<Option<String>, reqwest::Error> {
    let current = match token {
        Some(token) => token.clone(),
        None => {
            let request = client.put(format!("{endpoint}/latest/api/token"));
            let answer = request.header("X-aws-ec2-metadata-token-ttl-seconds", "21600").send().await?;
            token.insert(answer.error_for_status()?.text().await?).clone()
        }
    };
    let request = client.get(format!("{endpoint}/latest/meta-data/spot/instance-action"));
    let answer = request.header("X-aws-ec2-metadata-token", current).send().await?;
    match answer.status().as_u16() {
        // No notice.
        404 => Ok(None),
        401 => {
            *token = None;
            Ok(None)
        }
        _ => Ok(Some(answer.error_for_status()?.text().await?.chars().take(200).collect())),
    }
}
