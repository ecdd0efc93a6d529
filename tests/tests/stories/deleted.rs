//! Deleting a match: nobody finds it any more, nothing of it is left, and nothing else is touched.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use dispatcher::sweep::{Retention, sweep_once};
use fleet::keys;
use fleet::objects::{FolderStore, ObjectStore, PutCondition, meta_for};
use fleet::queue::Message;
use fleet::store::jobs::NewJob;
use fleet::store::ledger::AttemptUse;
use fleet::store::tenant::AuditEntry;
use fleet::store::work::{AttemptId, Claimed, Ending};
use fleet::store::{Store, StoreError, StoreOptions};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use stories::client::Client;
use stories::fleet_processes::new_job;
use stories::local_fleet::{Local, log_of, run};
use stories::made_clip;
use stories::services::Postgres;
use tempfile::tempdir;
use uuid::Uuid;

/// Asks until the answer is as it should be.
async fn until(client: &Client, dir: &Path, path: &str, is_it: impl Fn(&Value) -> bool) -> Value {
    let end = Instant::now() + Duration::from_secs(180);
    loop {
        let (status, answer) = client.get(path).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        if is_it(&answer) {
            return answer;
        }
        assert!(Instant::now() < end, "{answer}\n{}", log_of(dir));
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn delete(client: &Client, path: &str) -> StatusCode {
    client.send(Method::DELETE, path, None, &[]).await.status()
}

/// Files of the fleet whose path names this id.
fn files_of(dir: &Path, id: &str) -> Vec<String> {
    let found =
        Command::new("find").arg(dir.join("fleet")).args(["-type", "f", "-path", &format!("*{id}*")]).output().unwrap();
    String::from_utf8(found.stdout).unwrap().lines().map(str::to_owned).collect()
}

/// Uploads a file, and waits until its match and a clip's file are made: ids of upload, match and clip.
async fn match_with_clip(client: &Client, dir: &Path) -> (String, String, String) {
    let file = made_clip(dir, 6);
    let (is_done, text) = run(dir, &["upload", "--json", "--ladder", "quick", file.to_str().unwrap()]);
    assert!(is_done, "{text}\n{}", log_of(dir));
    let done: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    let [upload, job] = ["id", "job_id"].map(|field| done["upload"][field].as_str().unwrap().to_owned());
    until(client, dir, &format!("/jobs/{job}"), |job| job["state"] == "succeeded").await;
    let (status, clip) = client.post(&format!("/jobs/{job}/clips"), json!({ "start_s": 1, "end_s": 3 })).await;
    assert_eq!(status, StatusCode::CREATED, "{clip}");
    let clip = clip["id"].as_str().unwrap().to_owned();
    client.post(&format!("/clips/{clip}/download"), json!({})).await;
    until(client, dir, &format!("/clips/{clip}"), |clip| clip["download"]["state"] == "ready").await;
    (upload, job, clip)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_match_that_is_deleted_is_gone_with_all_that_hangs_from_it() {
    let dir = tempdir().unwrap();
    let local = Local::start(dir.path(), &["--slots", "1"]);
    let client = local.owner(dir.path());
    let (upload, job, clip) = match_with_clip(&client, dir.path()).await;
    let (_, playback) = client.get(&format!("/jobs/{job}/playback")).await;
    let (_, share) = client.post(&format!("/jobs/{job}/share"), json!({})).await;
    let (_, made) = client.get(&format!("/clips/{clip}")).await;
    let token = share["url"].as_str().unwrap().split_once('#').unwrap().1.to_owned();
    let links = [&playback["url"], &made["url"], &made["download"]["url"]].map(|url| url.as_str().unwrap().to_owned());
    for link in &links {
        assert_eq!(client.fetch(link).await.0, StatusCode::OK, "{link}");
    }
    assert!(!files_of(dir.path(), &job).is_empty() && !files_of(dir.path(), &upload).is_empty());
    let (_, before) = client.get("/usage").await;
    assert!(before["storage_bytes"].as_i64().unwrap() > 0, "{before}");

    // The file is the match's as long as there is the match; it goes first.
    let answer = client.send(Method::DELETE, &format!("/uploads/{upload}"), None, &[]).await;
    assert_eq!(answer.status(), StatusCode::CONFLICT);
    assert_eq!(delete(&client, &format!("/jobs/{job}")).await, StatusCode::NO_CONTENT);
    for path in ["", "/playback", "/clips", "/renditions", "/receipt", "/why"] {
        let (status, answer) = client.get(&format!("/jobs/{job}{path}")).await;
        assert_eq!(status, StatusCode::NOT_FOUND, "{path}: {answer}");
    }
    for path in [format!("/clips/{clip}"), format!("/shared/{token}")] {
        assert_eq!(client.get(&path).await.0, StatusCode::NOT_FOUND, "{path}");
    }
    for link in &links {
        assert_eq!(client.fetch(link).await.0, StatusCode::NOT_FOUND, "{link}");
    }
    for verb in ["cancel", "retry"] {
        assert_eq!(client.post(&format!("/jobs/{job}/{verb}"), json!({})).await.0, StatusCode::NOT_FOUND);
    }
    assert_eq!(delete(&client, &format!("/jobs/{job}")).await, StatusCode::NOT_FOUND);
    let (_, jobs) = client.get("/jobs").await;
    assert_eq!(jobs["items"], json!([]));
    assert_eq!(files_of(dir.path(), &job), [""; 0], "{}", log_of(dir.path()));
    assert_eq!(files_of(dir.path(), &upload), [""; 0], "{}", log_of(dir.path()));

    // Storage is free again; what was made this month was made.
    let (_, after) = client.get("/usage").await;
    assert_eq!((&after["storage_bytes"], &after["minutes"]), (&json!(0), &before["minutes"]));
    let (_, audit) = client.get("/audit").await;
    assert_eq!(audit["items"][0]["action"], "job.deleted", "{audit}");
    assert_eq!(audit["items"][0]["object"].as_str(), Some(job.as_str()));

    // A file of which no match was made is its owner's to delete.
    let (is_done, text) =
        run(dir.path(), &["upload", "--no-job", dir.path().join("made clip é.mp4").to_str().unwrap()]);
    assert!(is_done, "{text}");
    let upload = text.trim();
    assert!(!files_of(dir.path(), upload).is_empty(), "{text}");
    for _ in 0..2 {
        assert_eq!(delete(&client, &format!("/uploads/{upload}")).await, StatusCode::NO_CONTENT);
        assert_eq!(files_of(dir.path(), upload), [""; 0]);
    }
    let (status, problem) = client.post("/jobs", json!({ "source": upload })).await;
    assert_eq!((status, &problem["code"]), (StatusCode::CONFLICT, &json!("upload_not_complete")), "{problem}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_deletes_only_what_is_meant() {
    let dir = tempdir().unwrap();
    let local = Local::start(dir.path(), &["--slots", "1"]);
    let source = dir.path().join("no video.mp4");
    std::fs::write(&source, "no video at all").unwrap();
    let (is_done, _) = run(dir.path(), &["submit", "--follow", source.to_str().unwrap()]);
    assert!(!is_done, "it fails");
    let (_, jobs) = run(dir.path(), &["jobs", "--json"]);
    let jobs: Value = serde_json::from_str(&jobs).unwrap();
    let id = jobs[0]["id"].as_str().unwrap();
    let (_, job) = local.owner(dir.path()).get(&format!("/jobs/{id}")).await;
    assert_eq!((&job["failure"]["code"], &job["failure"]["retryable"]), (&json!("not_media"), &json!(false)));
    let (is_done, said) = run(dir.path(), &["rename", id, "Cup final"]);
    assert!(is_done && run(dir.path(), &["jobs"]).1.contains("Cup final"), "{said}");
    let (is_done, _) = run(dir.path(), &["delete", id]);
    assert!(!is_done, "not without --yes");
    assert!(run(dir.path(), &["show", id]).0);
    let (is_done, said) = run(dir.path(), &["delete", id, "--yes"]);
    assert!(is_done && said.contains(id), "{said}");
    assert_eq!(run(dir.path(), &["jobs", "--json"]).1.trim(), "[]");
    assert!(!run(dir.path(), &["delete", id, "--yes"]).0, "once");
    for verb in ["show", "why", "retry", "receipt", "play"] {
        assert!(!run(dir.path(), &[verb, id]).0, "nobody finds it");
    }
    assert!(source.exists(), "what was handed in by its path is its owner's");
}

fn entry(job: Uuid) -> AuditEntry<'static> {
    AuditEntry { actor: "story", action: "job.deleted", object: job.to_string(), detail: json!({}), request: "" }
}

async fn new_store() -> (Store, Uuid) {
    let store = Store::open(&StoreOptions::new(Postgres::shared().create_database(), "story")).unwrap();
    store.migrate().await.unwrap();
    let organisation = store.ensure_organisation("a", 1).await.unwrap();
    (store, organisation)
}

async fn sql(store: &Store, id: Uuid, text: &'static str) {
    sqlx::query(text).bind(id).execute(store.pool()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn only_its_owner_deletes_a_match_and_only_when_it_has_ended() {
    let (store, organisation) = new_store().await;
    let other = store.ensure_organisation("b", 1).await.unwrap();
    let job = store.submit(&new_job(organisation)).await.unwrap();
    let (own, theirs) = (store.tenant(organisation), store.tenant(other));
    let early = store.remove_job(&own, job, &entry(job)).await;
    assert!(matches!(early, Err(StoreError::Conflict { .. })), "{early:?}");
    assert!(store.cancel(job).await.unwrap());
    let foreign = store.remove_job(&theirs, job, &entry(job)).await;
    assert!(matches!(foreign, Err(StoreError::NoJob(_))), "{foreign:?}");
    assert!(own.job(job).await.is_ok());

    assert_eq!(store.remove_job(&own, job, &entry(job)).await.unwrap(), None);
    assert!(matches!(own.job(job).await, Err(StoreError::NoJob(_))));
    assert!(matches!(store.retry(job).await, Err(StoreError::NoJob(_))), "nor is it tried again with all that failed");
    assert!(store.jobs(None, 10).await.unwrap().is_empty());
    let events: Vec<String> = store.events(job).await.unwrap().into_iter().map(|(kind, ..)| kind).collect();
    assert_eq!(events, ["job.created", "job.cancelled", "job.deleted"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_late_is_swept_and_rows_go_after_thirty_days() {
    let (store, organisation) = new_store().await;
    let dir = tempdir().unwrap();
    let objects: Arc<dyn ObjectStore> = Arc::new(FolderStore::open(dir.path()).unwrap());
    let put = async |name: &str, job: Uuid| {
        let key = format!("{}{name}", keys::job_prefix(organisation, job, 1));
        objects.put(&key, Bytes::from_static(b"x"), meta_for(&key), PutCondition::Always).await.unwrap();
    };
    let sweep = async || sweep_once(&store, &objects, &Retention::default()).await.unwrap();
    let (job, kept) =
        (store.submit(&new_job(organisation)).await.unwrap(), store.submit(&new_job(organisation)).await.unwrap());
    for id in [job, kept] {
        store.cancel(id).await.unwrap();
        put("v180/seg_00000_a1.m4s", id).await;
        put("watch.m3u8", id).await;
    }
    // Whoever asked died before he deleted an object.
    store.remove_job(&store.tenant(organisation), job, &entry(job)).await.unwrap();
    assert_eq!(sweep().await.objects, 2);
    put("v180/seg_00001_a1.m4s", job).await;
    assert_eq!(sweep().await.objects, 1, "a worker had not heard of it");
    sql(&store, job, "update touchline.removed_jobs set removed_at = now() - interval '61 minutes' where id = $1")
        .await;
    sweep().await;
    assert!(store.removed_jobs(Duration::ZERO, 10).await.unwrap().is_empty(), "nothing can come any more");
    let left = objects.list(&keys::job_prefix(organisation, kept, 1), None).await.unwrap();
    assert_eq!(left.len(), 2, "those of the other match");

    // A success is kept for ever, unless it was deleted.
    let succeeded =
        "update touchline.jobs set state = 'succeeded', finished_at = now() - interval '99 days' where id = $1";
    for id in [job, kept] {
        sql(&store, id, succeeded).await;
    }
    assert_eq!(sweep().await.jobs, 0, "bills are split by its rows");
    sql(&store, job, "update touchline.jobs set removed_at = now() - interval '31 days' where id = $1").await;
    assert_eq!(sweep().await.jobs, 1);
    assert!(store.job(job).await.is_err() && store.job(kept).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_uploaded_file_stays_as_long_as_a_match_was_made_of_it() {
    let (store, organisation) = new_store().await;
    let tenant = store.tenant(organisation);
    let upload = Uuid::now_v7();
    sql(
        &store,
        upload,
        "insert into touchline.uploads (id, organisation_id, state, filename, size_bytes, part_size_bytes, source, object_key,
            multipart_id, expires_at)
         select $1, id, 'completed', 'a.mp4', 10, 10, 's3://b/a.mp4', 'a.mp4', 'm', now() from touchline.organisations",
    )
    .await;
    let of_upload = NewJob { upload: Some(upload), ..new_job(organisation) };
    let (first, second) = (store.submit(&of_upload).await.unwrap(), store.submit(&of_upload).await.unwrap());
    for job in [first, second] {
        store.cancel(job).await.unwrap();
    }
    assert_eq!(store.remove_job(&tenant, first, &entry(first)).await.unwrap(), None);
    assert!(store.unswept_uploads(10).await.unwrap().is_empty());
    // Whoever makes a third match of it holds it: he comes first, or finds it given up.
    let mut tx = tenant.begin().await.unwrap();
    assert_eq!(tenant.upload_source(&mut tx, upload).await.unwrap().unwrap().2, "completed");
    let (again, with) = (store.clone(), tenant.clone());
    let deleting = tokio::spawn(async move { again.remove_job(&with, second, &entry(second)).await.unwrap() });
    let waits = "select exists (select from pg_locks l join pg_stat_activity a using (pid)
        where not l.granted and a.datname = current_database())";
    while !sqlx::query_scalar::<_, bool>(waits).fetch_one(store.pool()).await.unwrap() {
        assert!(!deleting.is_finished(), "it waits for who makes a match of the file");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let third = store.submit_in(&mut tx, &of_upload).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(deleting.await.unwrap(), None, "the third needs it");
    store.cancel(third).await.unwrap();
    assert_eq!(store.remove_job(&tenant, third, &entry(third)).await.unwrap(), Some(upload));
    let left = store.unswept_uploads(10).await.unwrap();
    assert_eq!(left.iter().map(|row| row.id).collect::<Vec<_>>(), [upload], "its file is to be deleted");
    let mut tx = tenant.begin().await.unwrap();
    assert_eq!(tenant.upload_source(&mut tx, upload).await.unwrap().unwrap().2, "aborted");
    drop(tx);

    // Nobody deleted the match, and its rows are kept no longer.
    sql(&store, upload, "update touchline.uploads set state = 'completed', swept = true where id = $1").await;
    let last = store.submit(&of_upload).await.unwrap();
    store.cancel(last).await.unwrap();
    assert_eq!(store.delete_old_jobs(Duration::ZERO, 10).await.unwrap(), 4);
    assert_eq!(store.unswept_uploads(10).await.unwrap().len(), 1, "nobody can make anything of the file");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_made_a_file_of_a_clip_that_is_deleted_is_paid_all_the_same() {
    let (store, organisation) = new_store().await;
    let tenant = store.tenant(organisation);
    let job = store.submit(&new_job(organisation)).await.unwrap();
    store.cancel(job).await.unwrap();
    let clips = [Uuid::now_v7(), Uuid::now_v7()];
    let mut claimed = Vec::new();
    for clip in clips {
        let mut tx = tenant.begin().await.unwrap();
        tenant.create_clip(&mut tx, clip, job, "goal", (0, 2000)).await.unwrap();
        tx.commit().await.unwrap();
        store.ask_download(&tenant, clip, 2.0, None, &entry(clip)).await.unwrap();
        claimed.push(claimed_download(&store, clip).await);
    }
    // In another height: the first file's job ends. Then one clip is deleted, then the match.
    store.ask_download(&tenant, clips[0], 2.0, Some(90), &entry(clips[0])).await.unwrap();
    claimed.push(claimed_download(&store, clips[0]).await);
    let other = store.ensure_organisation("b", 1).await.unwrap();
    assert!(!store.delete_clip(&store.tenant(other), clips[0], &entry(clips[0])).await.unwrap(), "not by others");
    assert_eq!(at_work(&store).await, 2);
    assert!(store.delete_clip(&tenant, clips[0], &entry(clips[0])).await.unwrap());
    assert!(!store.delete_clip(&tenant, clips[0], &entry(clips[0])).await.unwrap(), "once");
    assert_eq!(at_work(&store).await, 1);
    store.remove_job(&tenant, job, &entry(job)).await.unwrap();
    assert_eq!(at_work(&store).await, 0);
    let kept: (i64, i64) = sqlx::query_as(
        "select count(*), count(*) filter (where c.state = 'cancelled' and c.attempt = 2)
         from touchline.jobs j join touchline.chunks c on c.job_id = j.id
         where j.removed_at is not null and j.state = 'cancelled' and c.kind = 'clip'",
    )
    .fetch_one(store.pool())
    .await
    .unwrap();
    assert_eq!(kept, (3, 3), "bills are split by them");
    assert!(store.jobs(None, 10).await.unwrap().is_empty(), "nobody sees them");
    let told = |uses: &[AttemptUse]| {
        let mut jobs: Vec<Uuid> = uses.iter().filter(|a| a.ended_at.is_some()).map(|a| a.job_id).collect();
        jobs.sort();
        jobs
    };
    let mut wanted: Vec<Uuid> = claimed.iter().map(|id| id.job).collect();
    wanted.sort();
    assert_eq!(told(&store.attempts_on(&[""]).await.unwrap()), wanted, "and all have ended");
    for id in claimed {
        assert!(!store.end_attempt(id, 0, &Ending::HandedBack).await.unwrap(), "who comes late changes nothing");
    }
    assert_eq!(store.delete_old_jobs(Duration::ZERO, 10).await.unwrap(), 4);

    // Rows of a match that is kept no longer, when somebody asked for a file of its clip a moment ago.
    let old = store.submit(&new_job(organisation)).await.unwrap();
    store.cancel(old).await.unwrap();
    let mut tx = tenant.begin().await.unwrap();
    tenant.create_clip(&mut tx, clips[0], old, "goal", (0, 2000)).await.unwrap();
    tx.commit().await.unwrap();
    store.ask_download(&tenant, clips[0], 2.0, None, &entry(clips[0])).await.unwrap();
    let late = claimed_download(&store, clips[0]).await;
    assert_eq!(store.delete_old_jobs(Duration::ZERO, 10).await.unwrap(), 1);
    assert_eq!((at_work(&store).await, told(&store.attempts_on(&[""]).await.unwrap())), (0, vec![late.job]));
}

/// A worker takes the job that makes the file of a clip.
async fn claimed_download(store: &Store, clip: Uuid) -> AttemptId {
    let job: Uuid = sqlx::query_scalar(
        "update touchline.chunks set state = 'queued', queued_at = now()
         where job_id = (select id from touchline.jobs where clip_id = $1) returning job_id",
    )
    .bind(clip)
    .fetch_one(store.pool())
    .await
    .unwrap();
    let (message, lease) = (Message::new(job, 1, 1), Duration::from_secs(60));
    match store.claim(&message, Uuid::now_v7(), "local", &["x264".to_owned()], lease).await.unwrap() {
        Claimed::Ours(claim) => claim.id,
        other => panic!("{other:?}"),
    }
}

/// How many jobs have not ended.
async fn at_work(store: &Store) -> i64 {
    sqlx::query_scalar("select count(*) from touchline.jobs where finished_at is null")
        .fetch_one(store.pool())
        .await
        .unwrap()
}
