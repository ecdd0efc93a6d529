//! Events of AWS: a spot instance is about to be taken back, or a launch failed. Events wake and hint; what they say is
//! looked up before anything follows from it, and one that is lost costs seconds (workers see their own notices).

use fleet::queue::{EventQueue, MAX_NOTICE};
use fleet::store::StoreError;
use fleet::store::capacity::DrainReason;
use serde::Deserialize;

use super::Scaler;
use crate::dispatch::DispatchError;

/// An event, as far as it matters here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The instance is taken back within two minutes.
    Interruption(String),
    /// The instance is more likely than others to be taken back.
    Rebalance(String),
    /// A group could not launch an instance.
    LaunchFailed(String),
}

#[derive(Deserialize)]
struct Envelope {
    #[serde(rename = "detail-type")]
    kind: String,
    #[serde(default)]
    detail: Detail,
}

#[derive(Default, Deserialize)]
struct Detail {
    #[serde(rename = "instance-id")]
    instance: Option<String>,
    #[serde(rename = "AutoScalingGroupName")]
    group: Option<String>,
}

/// Reads an event; `None` for those that are of no interest, or no events.
#[must_use]
pub fn parse(body: &str) -> Option<Event> {
    let body = Some(body).filter(|body| body.len() <= MAX_NOTICE)?;
    let envelope: Envelope = serde_json::from_str(body).ok()?;
    match envelope.kind.as_str() {
        "EC2 Spot Instance Interruption Warning" => envelope.detail.instance.map(Event::Interruption),
        "EC2 Instance Rebalance Recommendation" => envelope.detail.instance.map(Event::Rebalance),
        "EC2 Instance Launch Unsuccessful" => envelope.detail.group.map(Event::LaunchFailed),
        _ => None,
    }
}

impl Scaler {
    /// Waits for events of a region and acts on them. Any number of dispatchers may read one queue. Gives how many came.
    ///
    /// # Errors
    /// Queue or store do not answer.
    pub async fn take_events_once(&self, queue: &EventQueue) -> Result<usize, DispatchError> {
        let received = queue.receive().await?;
        let mut done = Vec::with_capacity(received.len());
        for (body, receipt) in received {
            match parse(&body) {
                Some(event) => self.heed(&event).await?,
                None => tracing::debug!(queue = queue.name(), "an event of no interest"),
            }
            done.push(receipt);
        }
        queue.delete(&done).await?;
        Ok(done.len())
    }

    /// Acts on an event. One about a machine that is not ours changes nothing.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn heed(&self, event: &Event) -> Result<(), StoreError> {
        let (instance, reason) = match event {
            Event::Interruption(instance) => (instance, DrainReason::Interruption),
            Event::Rebalance(instance) => (instance, DrainReason::Rebalance),
            Event::LaunchFailed(group) => {
                tracing::info!(group, "a launch failed");
                self.wake();
                return Ok(());
            }
        };
        if self.store.drain_instance(instance, reason, false).await? {
            tracing::warn!(instance, reason = reason.as_str(), "the instance drains before it is taken back");
            self.wake();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_told_apart_and_nonsense_is_none() {
        let spot = |kind: &str| {
            format!(
                r#"{{"version":"0","detail-type":"{kind}","source":"aws.ec2","region":"eu-west-1",
                "detail":{{"instance-id":"i-1234567890abcdef0","instance-action":"terminate"}}}}"#
            )
        };
        let id = "i-1234567890abcdef0".to_owned();
        assert_eq!(parse(&spot("EC2 Spot Instance Interruption Warning")), Some(Event::Interruption(id.clone())));
        assert_eq!(parse(&spot("EC2 Instance Rebalance Recommendation")), Some(Event::Rebalance(id)));
        assert_eq!(parse(&spot("EC2 Instance State-change Notification")), None);
        let failed = r#"{"detail-type":"EC2 Instance Launch Unsuccessful","source":"aws.autoscaling","detail":
            {"StatusCode":"Failed","AutoScalingGroupName":"touchline-g6.xlarge-spot","StatusMessage":"…"}}"#;
        assert_eq!(parse(failed), Some(Event::LaunchFailed("touchline-g6.xlarge-spot".to_owned())));
        let large = format!("{}{}", spot("EC2 Spot Instance Interruption Warning"), " ".repeat(MAX_NOTICE));
        assert_eq!(parse(&large), None, "larger than any event");
        for nonsense in ["", "[]", "{}", r#"{"detail-type":"EC2 Spot Instance Interruption Warning"}"#] {
            assert_eq!(parse(nonsense), None, "{nonsense}");
        }
    }
}
