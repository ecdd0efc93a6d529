//! A bucket tells of a new object, and a job is made of it.

use std::time::{Duration, Instant};

use aws_sdk_s3::types::{Event, NotificationConfiguration, QueueConfiguration};
use aws_sdk_sqs::types::QueueAttributeName;
use fleet::config::InboxConfig;
use serde_json::json;
use stories::aws;
use stories::services::LocalStack;

use super::Served;

const REGION: &str = "eu-central-1";

#[tokio::test(flavor = "multi_thread")]
async fn an_object_in_a_bucket_becomes_one_job_however_often_it_is_told_of() {
    let endpoint = LocalStack::shared().endpoint();
    let sqs = aws_sdk_sqs::Client::from_conf(aws::sqs_config(&endpoint, REGION));
    let s3 = aws_sdk_s3::Client::from_conf(aws::s3_config(&endpoint, REGION).build());
    let (queue, bucket) = (aws::unique("inbox"), aws::unique("drop"));
    let url = sqs.create_queue().queue_name(&queue).send().await.unwrap().queue_url().unwrap().to_owned();
    let attributes = sqs.get_queue_attributes().queue_url(&url).attribute_names(QueueAttributeName::QueueArn);
    let attributes = attributes.send().await.unwrap();
    let arn = attributes.attributes().unwrap()[&QueueAttributeName::QueueArn].clone();
    aws::bucket(&endpoint, REGION, &bucket).await;
    let told = QueueConfiguration::builder().queue_arn(arn).events(Event::S3ObjectCreated).build().unwrap();
    let told = NotificationConfiguration::builder().queue_configurations(told).build();
    s3.put_bucket_notification_configuration().bucket(&bucket).notification_configuration(told).send().await.unwrap();

    let served = Served::in_cloud(vec![InboxConfig {
        queue: queue.clone(),
        region: Some(REGION.to_owned()),
        organisation: "FC Home".to_owned(),
        ladder: Some("quick".to_owned()),
        prefix: "matches/".to_owned(),
        suffixes: vec![".mp4".to_owned()],
    }])
    .await;
    let put = async |key: &str, bytes: &'static [u8]| {
        s3.put_object().bucket(&bucket).key(key).body(bytes.to_vec().into()).send().await.unwrap();
    };
    put("matches/notes.txt", b"not a match").await;
    put("matches/folder.mp4", b"").await;
    put("other/final.mp4", b"elsewhere").await;
    put("matches/Spiel Größe+1 & 100%.MP4", b"a match").await;

    let until = Instant::now() + Duration::from_secs(90);
    let jobs = loop {
        let (_, page) = served.client.get("/jobs").await;
        let jobs = page["items"].as_array().unwrap().clone();
        if !jobs.is_empty() {
            break jobs;
        }
        assert!(Instant::now() < until, "{}", served.process.log());
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    assert_eq!(jobs.len(), 1, "{jobs:#?}");
    assert_eq!(jobs[0]["title"], "Spiel Größe+1 & 100%.MP4");
    assert_eq!(jobs[0]["source"], json!(format!("s3://{bucket}/matches/Spiel Größe+1 & 100%.MP4")));
    assert_eq!(jobs[0]["ladder"], "quick");

    // Told again of the same write, and of another write of the same key.
    let notice = |sequencer: &str| {
        json!({ "Records": [{ "eventName": "ObjectCreated:Put", "s3": {
            "bucket": { "name": bucket },
            "object": { "key": "matches/again.mp4", "size": 7, "eTag": "e", "sequencer": sequencer } } }] })
        .to_string()
    };
    for sequencer in ["01", "01", "02", "01"] {
        sqs.send_message().queue_url(&url).message_body(notice(sequencer)).send().await.unwrap();
    }
    let left = async || {
        let names = [
            QueueAttributeName::ApproximateNumberOfMessages,
            QueueAttributeName::ApproximateNumberOfMessagesNotVisible,
        ];
        let got = sqs.get_queue_attributes().queue_url(&url).set_attribute_names(Some(names.to_vec()));
        let got = got.send().await.unwrap();
        let number = |name| got.attributes().and_then(|a| a.get(name)?.parse::<u32>().ok()).unwrap_or(0);
        number(&names[0]) + number(&names[1])
    };
    while left().await > 0 {
        assert!(Instant::now() < until, "{}", served.process.log());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert_eq!(served.count("select count(*) from touchline.jobs").await, 3);
}
