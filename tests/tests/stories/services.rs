//! Every queue and every object store keeps the same promises.

use std::time::Duration;

use bytes::Bytes;
use fleet::objects::{FolderStore, ObjectStore, Part, PartTarget, PutCondition, Uploads, meta_for};
use fleet::queue::{Message, PostgresQueue, Queue, QueueError};
use fleet::store::{Store, StoreOptions};
use serde_json::Value;
use stories::aws;
use stories::services::{LocalStack, Postgres, free_port};
use uuid::Uuid;

async fn store() -> Store {
    let store = Store::open(&StoreOptions::new(Postgres::shared().create_database(), "story")).unwrap();
    store.migrate().await.unwrap();
    store
}

#[tokio::test]
async fn a_queue_in_postgres_keeps_what_every_queue_promises() {
    let store = store().await;
    let pool = store.pool().clone();
    let send_raw = async |body: &str| {
        let body = serde_json::from_str(body).unwrap_or_else(|_| Value::from(body));
        let insert = sqlx::query("insert into touchline.queue_messages (queue, body) values ('story', $1)");
        insert.bind(body).execute(&pool).await.unwrap();
    };
    fleet::queue::conformance(&PostgresQueue::new(store, "story"), send_raw).await;
}

#[tokio::test]
async fn a_queue_in_postgres_gives_no_more_than_asked_for_whatever_the_plan() {
    let store = store().await;
    let queue = PostgresQueue::new(store.clone(), "story");
    let messages: Vec<Message> = (0..10).map(|chunk| Message::new(Uuid::from_u128(7), chunk, 1)).collect();
    queue.send(&messages[..1]).await.unwrap();
    // With one row in the table, Postgres plans to look for the messages once for every row.
    sqlx::query("vacuum analyze touchline.queue_messages").execute(store.pool()).await.unwrap();
    queue.send(&messages).await.unwrap();
    for _ in 0..3 {
        assert_eq!(queue.receive(3, Duration::ZERO, Duration::from_secs(60)).await.unwrap().len(), 3);
    }
}

#[tokio::test]
async fn sqs_keeps_what_every_queue_promises() {
    let endpoint = LocalStack::shared().endpoint();
    let urls = aws::queue(&endpoint, "eu-central-1", &aws::unique("story")).await;
    let client = aws_sdk_sqs::Client::from_conf(aws::sqs_config(&endpoint, "eu-central-1"));
    let send_raw = async |body: &str| {
        client.send_message().queue_url(&urls.0).message_body(body).send().await.unwrap();
    };
    fleet::queue::conformance(&aws::open_queue(&endpoint, "eu-central-1", &urls), send_raw).await;
}

#[tokio::test]
async fn a_queue_that_is_not_there_is_told_from_a_service_that_is_not() {
    let endpoint = LocalStack::shared().endpoint();
    let (region, wait) = ("eu-central-1", Duration::ZERO);
    let missing = format!("{endpoint}/queue/{region}/000000000000/{}", aws::unique("missing"));
    let missing = aws::open_queue(&endpoint, region, &(missing.clone(), missing));
    assert!(matches!(missing.depth().await, Err(QueueError::Misconfigured { .. })));
    assert!(matches!(missing.receive(1, wait, wait).await, Err(QueueError::Misconfigured { .. })));
    let message = Message::new(Uuid::from_u128(7), 1, 1);
    assert!(matches!(missing.send(&[message]).await, Err(QueueError::Misconfigured { .. })));

    let nobody = format!("http://127.0.0.1:{}", free_port());
    let silent = format!("{nobody}/queue/{region}/000000000000/q");
    let silent = aws::open_queue(&nobody, region, &(silent.clone(), silent));
    assert!(matches!(silent.depth().await, Err(QueueError::Unavailable { .. })));
    let bare = Store::open(&StoreOptions::new(Postgres::shared().create_database(), "story")).unwrap();
    assert!(matches!(PostgresQueue::new(bare, "story").depth().await, Err(QueueError::Misconfigured { .. })));
}

#[tokio::test]
async fn s3_keeps_what_every_store_promises() {
    let endpoint = LocalStack::shared().endpoint();
    let bucket = aws::unique("story");
    aws::bucket(&endpoint, "eu-central-1", &bucket).await;
    fleet::objects::conformance(&aws::store(&endpoint, "eu-central-1", &bucket, "deep/prefix é")).await;
}

/// Sends bytes to an address as a client of the API does; the status of the answer.
async fn put(client: &reqwest::Client, url: &str, headers: &[(String, String)], bytes: Bytes) -> u16 {
    let request = headers.iter().fold(client.put(url), |request, (name, value)| request.header(name, value));
    request.body(bytes).send().await.map_or(0, |answer| answer.status().as_u16())
}

#[tokio::test]
async fn s3_takes_uploads_as_every_store() {
    let endpoint = LocalStack::shared().endpoint();
    let bucket = aws::unique("story");
    aws::bucket(&endpoint, "eu-central-1", &bucket).await;
    let store = aws::store(&endpoint, "eu-central-1", &bucket, "deep/prefix é");
    let client = reqwest::Client::new();
    let put = async |url: &str, headers: &[(String, String)], bytes| put(&client, url, headers, bytes).await;
    fleet::objects::uploads_conformance(&store, put).await;
}

#[tokio::test]
async fn an_address_is_good_for_one_part_and_for_a_time() {
    let endpoint = LocalStack::shared().endpoint();
    let bucket = aws::unique("story");
    aws::bucket(&endpoint, "eu-central-1", &bucket).await;
    let store = aws::store(&endpoint, "eu-central-1", &bucket, "");
    let client = reqwest::Client::new();
    let upload = store.begin("match.mp4", 9 << 20, "video/mp4", false).await.unwrap();
    let part = Part { number: 2, sha256: None };
    let address = async |valid| match store.target(&upload, &part, valid).await.unwrap() {
        PartTarget::Address { url, headers } => (url, headers),
        PartTarget::Receiver => panic!("a bucket has addresses"),
    };
    let bytes = Bytes::from(vec![7; 1 << 20]);
    let (url, headers) = address(Duration::from_secs(3600)).await;
    for foreign in [url.replace("partNumber=2", "partNumber=1"), url.replace("match.mp4", "other.mp4")] {
        assert_ne!(foreign, url);
        assert_eq!(put(&client, &foreign, &headers, bytes.clone()).await, 403);
    }
    assert_eq!(put(&client, &url, &headers, bytes.clone()).await, 200);

    let (url, headers) = address(Duration::from_secs(1)).await;
    let until = std::time::Instant::now() + Duration::from_secs(60);
    while put(&client, &url, &headers, bytes.clone()).await != 403 {
        assert!(std::time::Instant::now() < until, "the address does not expire");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert!(store.abort(&upload).await.unwrap());
}

#[tokio::test]
async fn a_link_to_a_file_is_good_for_a_time() {
    let endpoint = LocalStack::shared().endpoint();
    let bucket = aws::unique("story");
    aws::bucket(&endpoint, "eu-central-1", &bucket).await;
    let store = aws::store(&endpoint, "eu-central-1", &bucket, "");
    store.put("clip.mp4", Bytes::from_static(b"a film"), meta_for("clip.mp4"), PutCondition::Always).await.unwrap();
    let name = "attachment; filename*=UTF-8''%C5%81%20%22.mp4";
    let link = async |valid| store.download_link("clip.mp4", name, Duration::from_secs(valid)).await.unwrap().unwrap();
    let answer = reqwest::get(link(3600).await).await.unwrap();
    assert_eq!((answer.status().as_u16(), answer.headers()["content-disposition"].to_str().unwrap()), (200, name));
    assert_eq!(answer.bytes().await.unwrap(), "a film");
    let short = link(1).await;
    let until = std::time::Instant::now() + Duration::from_secs(60);
    while reqwest::get(&short).await.unwrap().status() != 403 {
        assert!(std::time::Instant::now() < until, "the link does not end");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

#[tokio::test]
async fn a_folder_on_another_file_system_keeps_what_every_store_promises() {
    let dir = tempfile::Builder::new().tempdir_in("/dev/shm").unwrap();
    let store = FolderStore::open(dir.path()).unwrap();
    fleet::objects::conformance(&store).await;
    let uploads = FolderStore::open(dir.path().join("uploads")).unwrap();
    let no_address = async |_: &str, _: &[(String, String)], _| panic!("a folder has no addresses");
    fleet::objects::uploads_conformance(&uploads, no_address).await;
}
