use std::time::Duration;

use aws_sdk_s3::config::Credentials;

use super::*;
use crate::source::SourceOptions;
use crate::source::test_server::{TestServer, answer};

const BUCKET: &str = "clips";
const KEY: &str = "2026/Kö ln?.mp4";
const PATH: &str = "/clips/2026/K%C3%B6%20ln%3F.mp4";

fn content() -> Vec<u8> {
    (0..=255).collect()
}

async fn start() -> TestServer {
    let server = TestServer::start(content()).await;
    server.set(|behaviour| behaviour.path = PATH);
    server
}

fn config(server: &TestServer) -> aws_sdk_s3::config::Builder {
    Config::builder()
        .behavior_version(aws_config::BehaviorVersion::v2026_01_12())
        .region(Region::from_static("us-east-1"))
        .credentials_provider(Credentials::new("key-id", "secret", None, None, "test"))
        .endpoint_url(server.url(""))
        .force_path_style(true)
}

async fn open(config: aws_sdk_s3::config::Builder) -> Result<S3Object, SourceError> {
    let mut network = SourceOptions::default().network;
    network.first_delay = Duration::from_millis(1);
    network.idle_timeout = Duration::from_millis(300);
    S3Object::open_with(config.build(), "s3://clips/k".to_owned(), BUCKET, KEY, network).await
}

#[tokio::test]
async fn an_object_is_read_by_ranges_of_the_version_that_was_opened() {
    let server = start().await;
    let object = open(config(&server)).await.unwrap();
    assert_eq!(object.len(), 256);
    assert_eq!(object.identity(), "s3:256:\"v1\":");
    assert_eq!(object.get(100, 50).await.unwrap(), content()[100..150]);
    let requests = server.requests();
    assert_eq!(requests.iter().map(|request| request.method.as_str()).collect::<Vec<_>>(), ["HEAD", "GET"]);
    assert_eq!(requests[1].headers["range"], "bytes=100-149");
    assert_eq!(requests[1].headers["if-match"], "\"v1\"");
    assert!(requests[1].headers["authorization"].contains("/us-east-1/s3/"));

    server.set(|behaviour| behaviour.etag = Some("\"v2\""));
    assert!(matches!(object.get(0, 1).await, Err(SourceError::Changed { .. })));
    server.set(|behaviour| behaviour.preconditions = false);
    assert!(matches!(object.get(0, 1).await, Err(SourceError::Changed { .. })));
}

#[tokio::test]
async fn what_may_pass_is_tried_again() {
    let server = start().await;
    server.set(|behaviour| behaviour.answers.extend([answer(503, ""), answer(500, "")]));
    let object = open(config(&server)).await.unwrap();
    assert_eq!(server.requests().len(), 3);

    let body = "<Error><Code>RequestTimeout</Code><Message>m</Message></Error>";
    let timed_out = format!("HTTP/1.1 400 Bad Request\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    server.set(|behaviour| {
        behaviour.answers.push_back(timed_out);
        behaviour.cut = 1;
        behaviour.hang = 1;
    });
    assert_eq!(object.get(8, 16).await.unwrap(), content()[8..24]);
    assert_eq!(server.requests().len(), 3 + 4);
}

#[tokio::test]
async fn what_will_not_pass_is_asked_once() {
    let server = start().await;
    for (status, expected) in [(403, "access denied"), (404, "not found"), (400, "unusable answer")] {
        let before = server.requests().len();
        server.set(|behaviour| behaviour.answers.push_back(answer(status, "")));
        let Err(error) = open(config(&server)).await else {
            panic!("{status} opened an object");
        };
        assert!(error.to_string().contains(expected), "{status}: {error}");
        assert!(!error.retryable());
        assert_eq!(server.requests().len() - before, 1, "{status}");
    }
    let object = open(config(&server)).await.unwrap();
    server.set(|behaviour| behaviour.ranges = false);
    assert!(matches!(object.get(0, 16).await, Err(SourceError::RangesUnsupported { .. })));
    assert_eq!(object.get(0, 256).await.unwrap(), content());
}

#[tokio::test]
async fn a_bucket_elsewhere_is_asked_in_its_own_region() {
    let server = start().await;
    let redirect = answer(301, "x-amz-bucket-region: eu-central-1\r\n");
    server.set(|behaviour| behaviour.answers.push_back(redirect.clone()));
    let object = open(config(&server)).await.unwrap();
    assert_eq!(object.get(0, 1).await.unwrap().len(), 1);
    let requests = server.requests();
    assert!(requests[1..].iter().all(|request| request.headers["authorization"].contains("/eu-central-1/s3/")));

    server.set(|behaviour| behaviour.answers.extend([redirect.clone(), redirect]));
    assert!(matches!(open(config(&server)).await, Err(SourceError::InvalidResponse { .. })));
}

#[tokio::test]
async fn missing_credentials_are_a_matter_of_setup() {
    let server = start().await;
    let missing =
        aws_config::profile::ProfileFileCredentialsProvider::builder().profile_name("no profile has this name").build();
    let config = Config::builder()
        .behavior_version(aws_config::BehaviorVersion::v2026_01_12())
        .region(Region::from_static("us-east-1"))
        .credentials_provider(missing)
        .endpoint_url(server.url(""));
    let Err(error) = open(config).await else {
        panic!("opened without credentials");
    };
    assert!(matches!(error, SourceError::Setup { .. }), "{error:?}");
    assert!(server.requests().is_empty());
}
