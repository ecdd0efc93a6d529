//! Notices of S3 in a queue of SQS: which objects were written to a bucket (Amazon S3 User Guide, "Event message
//! structure").

use std::time::Duration;

use aws_config::{BehaviorVersion, Region};
use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::{DeleteMessageBatchRequestEntry, MessageSystemAttributeName};
use serde::Deserialize;

use super::{MAX_VISIBILITY, MAX_WAIT, client, from_sdk, timeouts, whole_seconds};
use crate::fault::call;
use crate::queue::{MAX_BATCH, MAX_NOTICE, QueueError, Receipt};

/// A queue that buckets send their notices to.
#[derive(Debug)]
pub struct Notices {
    client: Client,
    url: String,
    name: String,
}

/// A message.
#[derive(Debug)]
pub struct Notice {
    /// What was written; nothing when it tells of something else. `None` when it is no notice of S3 at all.
    pub written: Option<Vec<WrittenObject>>,
    /// Proof of delivery.
    pub receipt: Receipt,
    /// How often it was received.
    pub receive_count: u32,
}

/// An object that was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrittenObject {
    /// Bucket.
    pub bucket: String,
    /// Key, decoded.
    pub key: String,
    /// Size in bytes.
    pub size: u64,
    /// The same in every notice of one write of the key, and another in those of the next.
    pub version: String,
}

impl Notices {
    /// The queue of this URL, or of this name in a region, with the credentials of the AWS default chain.
    ///
    /// # Errors
    /// There is no queue of this name, or the service does not answer.
    pub async fn open(queue: &str, region: Option<&str>) -> Result<Self, QueueError> {
        let mut shared = aws_config::defaults(BehaviorVersion::v2026_01_12());
        if let Some(region) = region {
            shared = shared.region(Region::new(region.to_owned()));
        }
        Self::with_config(&aws_sdk_sqs::Config::from(&shared.load().await), queue).await
    }

    /// As [`open`](Self::open), with credentials of the caller's.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub async fn with_config(config: &aws_sdk_sqs::Config, queue: &str) -> Result<Self, QueueError> {
        let name = queue.rsplit('/').next().unwrap_or(queue).to_owned();
        let url = if queue.contains("://") {
            queue.to_owned()
        } else {
            let found = client(config, "").get_queue_url().queue_name(queue).send().await;
            let found = found.map_err(|e| from_sdk(&name, &e))?;
            let missing = || QueueError::Unavailable { queue: name.clone(), reason: "no URL in the answer".to_owned() };
            found.queue_url().ok_or_else(missing)?.to_owned()
        };
        Ok(Self { client: client(config, &url), url, name })
    }

    /// Waits up to `wait` for notices, which nobody else sees for `visibility`.
    ///
    /// # Errors
    /// [`QueueError`].
    pub async fn receive(&self, wait: Duration, visibility: Duration) -> Result<Vec<Notice>, QueueError> {
        let wait = whole_seconds(wait, MAX_WAIT);
        let limits = timeouts(Duration::from_secs(u64::from(wait.unsigned_abs())));
        let request = self
            .client
            .receive_message()
            .queue_url(&self.url)
            .max_number_of_messages(i32::try_from(MAX_BATCH).unwrap_or(10))
            .wait_time_seconds(wait)
            .visibility_timeout(whole_seconds(visibility, MAX_VISIBILITY))
            .message_system_attribute_names(MessageSystemAttributeName::ApproximateReceiveCount);
        let request = request.customize().config_override(aws_sdk_sqs::Config::builder().timeout_config(limits));
        let sent = async { request.send().await.map_err(|e| from_sdk(&self.name, &e)) };
        let got = call("notices.receive", sent).await?;
        let read = |m: &aws_sdk_sqs::types::Message| {
            let count = m.attributes().and_then(|a| a.get(&MessageSystemAttributeName::ApproximateReceiveCount));
            Some(Notice {
                written: m.body().and_then(written_objects),
                receipt: Receipt(m.receipt_handle()?.to_owned()),
                receive_count: count.and_then(|c| c.parse().ok()).unwrap_or(1),
            })
        };
        Ok(got.messages().iter().filter_map(read).collect())
    }

    /// Deletes notices that were dealt with. One whose time is over comes again.
    ///
    /// # Errors
    /// [`QueueError`].
    pub async fn delete(&self, receipts: &[Receipt]) -> Result<(), QueueError> {
        for batch in receipts.chunks(MAX_BATCH) {
            let entries = batch.iter().enumerate().filter_map(|(i, r)| {
                DeleteMessageBatchRequestEntry::builder().id(i.to_string()).receipt_handle(&r.0).build().ok()
            });
            let request = self.client.delete_message_batch().queue_url(&self.url);
            let request = request.set_entries(Some(entries.collect()));
            let sent = async { request.send().await.map_err(|e| from_sdk(&self.name, &e)) };
            call("notices.delete", sent).await?;
        }
        Ok(())
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Body {
    Records {
        #[serde(rename = "Records")]
        records: Vec<Record>,
    },
    Test {
        #[serde(rename = "Event")]
        event: String,
    },
}

#[derive(Deserialize)]
struct Record {
    #[serde(rename = "eventName")]
    name: String,
    s3: Entity,
}

#[derive(Deserialize)]
struct Entity {
    bucket: Bucket,
    object: Object,
}

#[derive(Deserialize)]
struct Bucket {
    name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Object {
    key: String,
    #[serde(default)]
    size: u64,
    sequencer: Option<String>,
    version_id: Option<String>,
    e_tag: Option<String>,
}

/// What a message says was written; `None` when it is no notice of S3.
#[must_use]
pub fn written_objects(body: &str) -> Option<Vec<WrittenObject>> {
    let body = Some(body).filter(|body| body.len() <= MAX_NOTICE)?;
    let records = match serde_json::from_str(body).ok()? {
        Body::Records { records } => records,
        // The first message of every queue.
        Body::Test { event } => return (event == "s3:TestEvent").then(Vec::new),
    };
    let of = |record: Record| {
        let Entity { bucket, object } = record.s3;
        let version = object.sequencer.or(object.version_id).or(object.e_tag)?;
        // As in a form: `+` stands for a space.
        let encoded = format!("key={}", object.key);
        let (_, key) = url::form_urlencoded::parse(encoded.as_bytes()).next()?;
        Some(WrittenObject { bucket: bucket.name, key: key.into_owned(), size: object.size, version })
    };
    let is_written = |record: &Record| record.name.trim_start_matches("s3:").starts_with("ObjectCreated:");
    Some(records.into_iter().filter(is_written).filter_map(of).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the user guide, with fields that do not matter here left out.
    fn notice(name: &str, key: &str, more: &str) -> String {
        format!(
            r#"{{"Records":[{{"eventVersion":"2.1","eventSource":"aws:s3","eventName":"{name}","s3":{{
                "bucket":{{"name":"matches","arn":"arn:aws:s3:::matches"}},
                "object":{{"key":"{key}","size":1024,"eTag":"d41d"{more}}}}}}}]}}"#
        )
    }

    #[test]
    fn keys_are_decoded_as_forms_are() {
        let body = notice("ObjectCreated:CompleteMultipartUpload", "U19/Spiel+Gr%C3%B6%C3%9Fe%2B1%26x=%25.mp4", "");
        let found = written_objects(&body).unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].bucket.as_str(), found[0].key.as_str()), ("matches", "U19/Spiel Größe+1&x=%.mp4"));
        assert_eq!((found[0].size, found[0].version.as_str()), (1024, "d41d"));
    }

    #[test]
    fn the_sequencer_tells_writes_of_a_key_apart() {
        let body = notice("ObjectCreated:Put", "a.mp4", r#","sequencer":"0055AED6DCD90281E5""#);
        assert_eq!(written_objects(&body).unwrap()[0].version, "0055AED6DCD90281E5");
    }

    #[test]
    fn what_is_no_new_object_says_nothing_and_what_is_no_notice_is_told_apart() {
        assert_eq!(written_objects(&notice("ObjectRemoved:Delete", "a.mp4", "")), Some(vec![]));
        let test = r#"{"Service":"Amazon S3","Event":"s3:TestEvent","Time":"2014-10-13T15:57:02.089Z","Bucket":"b"}"#;
        assert_eq!(written_objects(test), Some(vec![]));
        let large =
            format!("{}{}", notice("ObjectCreated:Put", "a.mp4", r#","sequencer":"1""#), " ".repeat(MAX_NOTICE));
        assert_eq!(written_objects(&large), None, "larger than any notice");
        for body in ["", "{}", "not JSON", r#"{"Event":"other"}"#, r#"{"v":1,"job":"x","chunk":0,"attempt":1}"#] {
            assert_eq!(written_objects(body), None, "{body}");
        }
    }
}
