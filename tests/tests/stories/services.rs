//! Every queue and every object store keeps the same promises.

use fleet::objects::FolderStore;
use fleet::queue::PostgresQueue;
use fleet::store::{Store, StoreOptions};
use stories::aws;
use stories::services::{LocalStack, Postgres};

#[tokio::test]
async fn a_queue_in_postgres_keeps_what_every_queue_promises() {
    let store = Store::open(&StoreOptions::new(Postgres::shared().create_database(), "story")).unwrap();
    store.migrate().await.unwrap();
    fleet::queue::conformance(&PostgresQueue::new(store, "story")).await;
}

#[tokio::test]
async fn sqs_keeps_what_every_queue_promises() {
    let endpoint = LocalStack::shared().endpoint();
    let urls = aws::queue(&endpoint, "eu-central-1", &aws::unique("story")).await;
    fleet::queue::conformance(&aws::open_queue(&endpoint, "eu-central-1", &urls)).await;
}

#[tokio::test]
async fn s3_keeps_what_every_store_promises() {
    let endpoint = LocalStack::shared().endpoint();
    let bucket = aws::unique("story");
    aws::bucket(&endpoint, "eu-central-1", &bucket).await;
    fleet::objects::conformance(&aws::store(&endpoint, "eu-central-1", &bucket, "deep/prefix é")).await;
}

#[tokio::test]
async fn a_folder_on_another_file_system_keeps_what_every_store_promises() {
    let dir = tempfile::Builder::new().tempdir_in("/dev/shm").unwrap();
    fleet::objects::conformance(&FolderStore::open(dir.path()).unwrap()).await;
}
