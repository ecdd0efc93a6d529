//! Queues and buckets in `LocalStack`, under names of their own.

use std::sync::atomic::{AtomicU32, Ordering};

use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region};
use fleet::objects::{S3Options, S3Store};
use fleet::queue::{SqsQueue, ensure_queue};

/// Key and secret that `LocalStack` takes.
pub const KEY: &str = "test";

/// A name that nobody else has; `LocalStack` keeps what earlier runs put into buckets.
#[must_use]
pub fn unique(base: &str) -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let suffix = uuid::Uuid::now_v7().simple().to_string();
    format!("{base}-{}-{}", &suffix[8..], NUMBER.fetch_add(1, Ordering::Relaxed))
}

/// Settings of a client of SQS.
#[must_use]
pub fn sqs_config(endpoint: &str, region: &str) -> aws_sdk_sqs::Config {
    aws_sdk_sqs::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(region.to_owned()))
        .endpoint_url(endpoint)
        .credentials_provider(Credentials::new(KEY, KEY, None, None, "story"))
        .build()
}

/// Settings of a client of S3.
#[must_use]
pub fn s3_config(endpoint: &str, region: &str) -> aws_sdk_s3::config::Builder {
    aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(region.to_owned()))
        .endpoint_url(endpoint)
        .force_path_style(true)
        .credentials_provider(Credentials::new(KEY, KEY, None, None, "story"))
}

/// A new queue with dead letters: both URLs.
///
/// # Panics
/// The service refuses.
pub async fn queue(endpoint: &str, region: &str, name: &str) -> (String, String) {
    let client = aws_sdk_sqs::Client::from_conf(sqs_config(endpoint, region));
    ensure_queue(&client, name).await.expect("the queue can be made")
}

/// The queue of two URLs, for a story's own use.
#[must_use]
pub fn open_queue(endpoint: &str, region: &str, urls: &(String, String)) -> SqsQueue {
    SqsQueue::with_config(&sqs_config(endpoint, region), &urls.0, Some(&urls.1))
}

/// A new bucket.
///
/// # Panics
/// The service refuses.
pub async fn bucket(endpoint: &str, region: &str, name: &str) {
    let client = aws_sdk_s3::Client::from_conf(s3_config(endpoint, region).build());
    let mut request = client.create_bucket().bucket(name);
    if region != "us-east-1" {
        let place = aws_sdk_s3::types::CreateBucketConfiguration::builder();
        let place = place.location_constraint(aws_sdk_s3::types::BucketLocationConstraint::from(region));
        request = request.create_bucket_configuration(place.build());
    }
    request.send().await.expect("the bucket can be made");
}

/// A store in a bucket.
#[must_use]
pub fn store(endpoint: &str, region: &str, bucket: &str, prefix: &str) -> S3Store {
    S3Store::new(s3_config(endpoint, region), bucket, prefix, S3Options::default())
}
