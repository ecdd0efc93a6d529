//! Uploads over the HTTP interface: cut off, repeated, out of time, at once, into a folder and into S3.

#[path = "uploads/inbox.rs"]
mod inbox;
#[path = "uploads/local.rs"]
mod local;
#[path = "uploads/sender.rs"]
mod sender;

use std::time::Duration;

use fleet::config::InboxConfig;
use fleet::objects::{ObjectError, ObjectStore, S3Store, Uploads};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use stories::aws;
use stories::client::Client;
use stories::fleet_processes::{Fleet, Process};
use stories::interface::Interface;
use stories::services::LocalStack;

use self::sender::Sender;
use super::fleet_stories::cloud;

/// Smallest part of an upload.
const PART: u64 = 8 << 20;

/// A dispatcher with its HTTP interface, and a client of FC Home.
struct Served {
    fleet: Fleet,
    interface: Interface,
    process: Process,
    client: Client,
}

impl Served {
    /// A fleet in the cloud whose uploads go to a bucket of their own.
    async fn in_cloud(inbox: Vec<InboxConfig>) -> Self {
        let (mut fleet, bucket) = cloud(&["eu-central-1"]).await;
        let interface = Interface::of(&mut fleet, 1000);
        fleet.config.api.uploads = Some(format!("s3://{}/uploads", bucket.name));
        fleet.config.api.inbox = inbox;
        fleet.write_config("fleet.toml", &fleet.config);
        fleet.environment.push(("AWS_ENDPOINT_URL_SQS".to_owned(), LocalStack::shared().endpoint()));
        fleet.environment.push(("AWS_REGION".to_owned(), "eu-central-1".to_owned()));
        fleet.command(&["organisation", "create", "FC Home"]);
        let client = interface.client(&fleet.command(&["key", "create", "--organisation", "FC Home"]));
        let process = fleet.dispatcher();
        interface.ready(&fleet).await;
        Self { fleet, interface, process, client }
    }

    /// The store of uploads, as the dispatcher sees it.
    fn uploads(&self) -> S3Store {
        let place = self.fleet.config.api.uploads.as_ref().unwrap().strip_prefix("s3://").unwrap();
        let (bucket, prefix) = place.split_once('/').unwrap();
        aws::store(&LocalStack::shared().endpoint(), "eu-central-1", bucket, prefix)
    }

    async fn count(&self, sql: &'static str) -> i64 {
        sqlx::query_scalar(sql).fetch_one(self.fleet.store.pool()).await.unwrap()
    }

    async fn execute(&self, sql: &'static str) {
        sqlx::query(sql).execute(self.fleet.store.pool()).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_repeated_or_dies_there_is_one_upload_and_one_job() {
    let mut served = Served::in_cloud(Vec::new()).await;
    let client = served.client.clone();
    let sender = Sender::new(&client, PART + 5000);
    let job = json!({ "job": { "title": "Final", "ladder": "quick" } });
    let (status, upload) = sender.begin(job.clone()).await;
    assert_eq!(status, StatusCode::CREATED, "{upload}\n{}", served.process.log());
    assert_eq!((&upload["state"], &upload["parts_total"]), (&json!("open"), &json!(2)));
    let (status, same) = sender.begin(job.clone()).await;
    assert_eq!((status, &same["id"]), (StatusCode::OK, &upload["id"]), "the same file is the same upload");
    sender.send(&upload, 2).await;

    // The dispatcher is killed, and the upload goes on with the next one.
    served.process.kill();
    served.process = served.fleet.dispatcher();
    served.interface.ready(&served.fleet).await;
    let (_, again) = sender.begin(job).await;
    assert_eq!((&again["id"], &again["received_bytes"]), (&upload["id"], &json!(5000)));
    let (status, problem) = sender.complete(&upload).await;
    assert_eq!((status, &problem["code"]), (StatusCode::CONFLICT, &json!("upload_incomplete")), "{problem}");
    assert_eq!(sender.received(&upload).await, [2], "still open");
    sender.send(&upload, 1).await;

    let outcomes = futures_util::future::join_all((0..6).map(|_| sender.complete(&upload))).await;
    let jobs: Vec<&Value> = outcomes.iter().map(|(_, upload)| &upload["job_id"]).collect();
    assert!(outcomes.iter().all(|(status, _)| *status == StatusCode::OK), "{outcomes:#?}\n{}", served.process.log());
    assert!(jobs[0].is_string() && jobs.iter().all(|job| *job == jobs[0]), "{jobs:?}");
    assert_eq!(served.count("select count(*) from touchline.jobs").await, 1);
    assert_eq!(served.count("select count(*) from touchline.events where type = 'upload.completed'").await, 1);
    assert_eq!(served.count("select count(*) from touchline.audit where action = 'upload.completed'").await, 1);
    let (_, job) = client.get(&format!("/jobs/{}", jobs[0].as_str().unwrap())).await;
    assert_eq!((&job["title"], &job["upload_id"]), (&json!("Final"), &upload["id"]));
    let key: String = sqlx::query_scalar("select object_key from touchline.uploads")
        .fetch_one(served.fleet.store.pool())
        .await
        .unwrap();
    assert_eq!(served.uploads().get(&key, 1 << 30).await.unwrap().0, sender.bytes);

    // A job may be made of it later, by its id.
    let (status, second) = client.post("/jobs", json!({ "source": upload["id"] })).await;
    assert_eq!((status, &second["title"]), (StatusCode::CREATED, &json!("Cup final.mp4")), "{second}");
    assert_eq!(sender.abort(&upload).await, StatusCode::CONFLICT, "what is complete stays");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_cut_off_is_repaired_and_what_nobody_finishes_expires() {
    let mut served = Served::in_cloud(Vec::new()).await;
    let (client, store) = (served.client.clone(), served.uploads());
    let sender = Sender::new(&client, 1000);
    let begin = async |name: &str| sender.begin(json!({ "fingerprint": name, "job": { "ladder": "quick" } })).await.1;
    let (cut, left, lost) = (begin("cut").await, begin("left").await, begin("lost").await);
    for upload in [&cut, &left] {
        sender.send_all(upload).await;
    }
    let row = async |upload: &Value| {
        served.fleet.store.any_upload(sender::id(upload).parse().unwrap()).await.unwrap().unwrap()
    };
    let (cut_row, left_row, lost_row) = (row(&cut).await, row(&left).await, row(&lost).await);

    // A dispatcher died after the store had completed one; the store lost another; the third was left alone.
    store.complete(&cut_row.multipart).await.unwrap();
    assert!(store.abort(&lost_row.multipart).await.unwrap());
    served.process.kill();
    served
        .execute(
            "update touchline.uploads set state = 'completing', progressed_at = now() - interval '1 hour'
             where fingerprint = 'cut'",
        )
        .await;
    served.execute("update touchline.uploads set expires_at = now() where fingerprint = 'left'").await;
    served.process = served.fleet.dispatcher();
    served.interface.ready(&served.fleet).await;
    let until = std::time::Instant::now() + Duration::from_secs(60);
    loop {
        let (_, done) = client.get("/uploads?state=completed").await;
        let swept = served.count("select count(*) from touchline.uploads where state = 'expired' and swept").await;
        if done["items"].as_array().unwrap().len() == 1 && swept == 1 {
            assert_eq!(done["items"][0]["id"], cut["id"]);
            assert!(done["items"][0]["job_id"].is_string(), "{done}");
            break;
        }
        assert!(std::time::Instant::now() < until, "{}", served.process.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(sender.get(&left).await["state"], "expired");
    let gone = store.received(&left_row.multipart).await;
    assert!(matches!(gone, Err(ObjectError::NotFound { .. })), "{gone:?}");
    let (status, problem) = sender.address(&left, 1, None).await;
    assert_eq!((status, &problem["code"]), (StatusCode::CONFLICT, &json!("upload_expired")));

    // The next look finds that the store does not have it; the file is begun anew.
    let anew = begin("lost").await;
    assert_ne!(anew["id"], lost["id"]);
    assert_eq!(sender.get(&lost).await["state"], "expired");
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_checksums_and_borders_hold() {
    let served = Served::in_cloud(Vec::new()).await;
    let sender = Sender::new(&served.client, 1000);
    served.fleet.command(&["organisation", "create", "FC Away"]);
    let away = served.fleet.command(&["key", "create", "--organisation", "FC Away"]);
    let away = Client::new(&served.client.server, &away);

    // Checksums: the right bytes alone are taken, by the store itself.
    let (status, upload) = sender.begin(json!({ "checksum": "sha256" })).await;
    assert_eq!((status, &upload["checksum"]), (StatusCode::CREATED, &json!("sha256")));
    assert_eq!(sender.address(&upload, 1, None).await.0, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(sender.address(&upload, 2, None).await.0, StatusCode::UNPROCESSABLE_ENTITY, "there is no part 2");
    // Of 1,000 zeros.
    let zeros = "VBs+naoJsgv4X6Jz5cvT6AGFqk7CmOdl24d0K3ATilM=";
    let (status, address) = sender.address(&upload, 1, Some(zeros)).await;
    assert_eq!(status, StatusCode::OK, "{address}");
    assert!(sender.put(&address, sender.bytes.clone()).await.is_client_error());
    assert!(sender.received(&upload).await.is_empty());

    // Another organisation sees nothing of it.
    let foreign = Sender::new(&away, 1000);
    let path = format!("/uploads/{}", sender::id(&upload));
    assert_eq!(away.get(&path).await.0, StatusCode::NOT_FOUND);
    assert_eq!(foreign.address(&upload, 1, Some(zeros)).await.0, StatusCode::NOT_FOUND);
    assert_eq!(foreign.complete(&upload).await.0, StatusCode::NOT_FOUND);
    assert_eq!(foreign.abort(&upload).await, StatusCode::NOT_FOUND);
    assert_eq!(away.get("/uploads").await.1["items"], json!([]));
    let (status, own) = foreign.begin(json!({})).await;
    assert!(status == StatusCode::CREATED && own["id"] != upload["id"], "the same fingerprint is another's upload");
    let reading = served.fleet.command(&["key", "create", "--organisation", "FC Home", "--scope", "jobs:read"]);
    let reading = Client::new(&served.client.server, &reading);
    assert_eq!(reading.send(Method::GET, "/uploads", None, &[]).await.status(), StatusCode::FORBIDDEN);

    // Mistakes are told before a byte is sent.
    for (wrong, code) in [
        (json!({ "size_bytes": 0 }), 422),
        (json!({ "filename": "" }), 422),
        (json!({ "job": { "ladder": "none" } }), 422),
        (json!({ "size_bytes": 6_000_000_000_000_u64 }), 413),
    ] {
        let (status, problem) = sender.begin(wrong.clone()).await;
        assert_eq!(status.as_u16(), code, "{wrong}: {problem}");
    }

    // A tier's limits.
    served
        .execute("insert into touchline.tiers (name, largest_file_bytes, storage_bytes) values ('story', 5000, 6500)")
        .await;
    served.execute("update touchline.organisations set tier = 'story' where name = 'FC Home'").await;
    let sized = async |size: u64| sender.begin(json!({ "size_bytes": size, "fingerprint": format!("s{size}") })).await;
    let (status, problem) = sized(5001).await;
    assert_eq!((status, &problem["code"]), (StatusCode::PAYLOAD_TOO_LARGE, &json!("too_large")));
    // Of 5,500 bytes that are left, two of 3,000 asked for at once: one fits.
    let (one, other) = tokio::join!(sized(3000), sized(3001));
    let statuses = [one.0, other.0];
    assert!(statuses.contains(&StatusCode::CREATED) && statuses.contains(&StatusCode::FORBIDDEN), "{one:?} {other:?}");
    assert_eq!(sender.abort(&upload).await, StatusCode::NO_CONTENT);
}
