//! Webhooks: real dispatchers, a real receiver, signatures verified as the documentation shows.

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use fleet::config::WebhooksConfig;
use fleet::store::tenant::AuditEntry;
use fleet::store::webhooks::{DeliveryRow, NewWebhook, WebhookChange, WebhookRow};
use serde_json::Value;
use stories::fleet_processes::{Fleet, small_ladder};
use stories::made_clip;
use stories::receiver::{Answer, Received, Receiver};
use stories::services::{Postgres, free_port};
use uuid::Uuid;

const LIMIT: Duration = Duration::from_secs(60);
/// Base64 of 32 bytes.
const SECRET: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const OTHER_SECRET: &str = "HwAeAR0CHAMbBBoFGQYYBxcIFgkVChQLEwwSDREOEA8=";

/// A fleet whose webhooks may be received on this machine.
async fn local_fleet() -> Fleet {
    fleet_with(WebhooksConfig::local()).await
}

async fn fleet_with(webhooks: WebhooksConfig) -> Fleet {
    let mut fleet = Fleet::local(&Postgres::shared().create_database()).await;
    fleet.config.webhooks = webhooks;
    fleet.write_config("fleet.toml", &fleet.config);
    fleet
}

pub(crate) async fn webhook(fleet: &Fleet, organisation: Uuid, url: &str, events: &[&str]) -> WebhookRow {
    let tenant = fleet.store.tenant(organisation);
    let mut tx = tenant.begin().await.unwrap();
    let events = events.iter().map(|e| (*e).to_owned()).collect();
    let new = NewWebhook { url: url.to_owned(), description: String::new(), events, secret: SECRET.to_owned() };
    let row = tenant.create_webhook(&mut tx, &new, 50).await.unwrap().unwrap();
    tx.commit().await.unwrap();
    row
}

/// A job that is cancelled at once: an event at little cost.
async fn cancelled_job(fleet: &Fleet, organisation: Uuid) -> Uuid {
    let job = fleet.submit_for(organisation, "/none", &small_ladder()).await;
    fleet.store.cancel(job).await.unwrap();
    job
}

async fn deliveries(fleet: &Fleet, organisation: Uuid, webhook: Uuid) -> Vec<DeliveryRow> {
    let tenant = fleet.store.tenant(organisation);
    let mut tx = tenant.begin().await.unwrap();
    tenant.deliveries_in(&mut tx, webhook, None, 1000).await.unwrap()
}

/// Waits until a webhook's log is as wanted.
async fn log(
    fleet: &Fleet,
    hook: (Uuid, Uuid),
    what: &str,
    wanted: impl Fn(&[DeliveryRow]) -> bool,
) -> Vec<DeliveryRow> {
    let until = Instant::now() + LIMIT;
    loop {
        let rows = deliveries(fleet, hook.0, hook.1).await;
        if wanted(&rows) {
            return rows;
        }
        assert!(Instant::now() < until, "waiting for {what}: {rows:#?}\n{}", fleet.logs());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn all_are(state: &'static str, number: usize) -> impl Fn(&[DeliveryRow]) -> bool {
    move |rows| rows.len() == number && rows.iter().all(|r| r.state == state)
}

async fn row(fleet: &Fleet, organisation: Uuid, id: Uuid) -> WebhookRow {
    let tenant = fleet.store.tenant(organisation);
    let mut tx = tenant.begin().await.unwrap();
    tenant.webhook_in(&mut tx, id).await.unwrap().unwrap()
}

/// The code for a language in the documentation.
fn documented(language: &str) -> &'static str {
    let text = include_str!("../../../docs/WEBHOOKS.md");
    let (_, rest) = text.split_once(&format!("```{language}\n")).unwrap();
    rest.split_once("```").unwrap().0
}

/// Verifies a message with the documentation's Python, which shares no code with the dispatcher. Gives what it read.
fn verified(secret: &str, received: &Received) -> Result<Value, String> {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("sample.py"), documented("python")).unwrap();
    std::fs::write(dir.path().join("body"), &received.body).unwrap();
    let program = "import json, sys; from sample import verify; given = json.load(sys.stdin)\n\
        print(json.dumps(verify(given['secret'], given['headers'], open('body', 'rb').read())))";
    let mut python = Command::new("python3")
        .args(["-c", program])
        .current_dir(dir.path())
        .env("PYTHONPATH", dir.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("python3: `./run test` installs it");
    let given = serde_json::json!({ "secret": format!("whsec_{secret}"), "headers": received.headers });
    python.stdin.take().unwrap().write_all(given.to_string().as_bytes()).unwrap();
    let output = python.wait_with_output().unwrap();
    if output.status.success() {
        Ok(serde_json::from_slice(&output.stdout).unwrap())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_match_is_told_of_once_with_signatures_that_others_verify() {
    let fleet = local_fleet().await;
    let (receiver, stranger) = (Receiver::start().await, Receiver::start().await);
    let ours = fleet.store.ensure_organisation("ours", 1).await.unwrap();
    let theirs = fleet.store.ensure_organisation("theirs", 1).await.unwrap();
    let events = ["job.playable", "job.progress", "job.succeeded", "job.failed", "job.deleted", "clip.ready"];
    let hook = webhook(&fleet, ours, &receiver.url(), &events).await;
    webhook(&fleet, theirs, &stranger.url(), &events).await;
    let _dispatchers = [fleet.dispatcher(), fleet.dispatcher()];
    let _worker = fleet.worker("local", &["--slots", "2"]);
    let clip = made_clip(fleet.dir.path(), 60);
    let job = fleet.submit_for(ours, &clip.display().to_string(), &small_ladder()).await;
    let text = fleet.dir.path().join("notes.mp4");
    std::fs::write(&text, "these are no pictures ".repeat(1000)).unwrap();
    let bad = fleet.submit_for(ours, &text.display().to_string(), &small_ladder()).await;
    fleet.succeeded(job, Duration::from_secs(180)).await;

    let told = |rows: &[DeliveryRow], kind: &str| rows.iter().filter(|r| r.kind == kind).count();
    let (goal, tenant) = (Uuid::now_v7(), fleet.store.tenant(ours));
    let entry = |action: &'static str| AuditEntry {
        actor: "story",
        action,
        object: goal.to_string(),
        detail: Value::Null,
        request: "",
    };
    let mut tx = tenant.begin().await.unwrap();
    tenant.create_clip(&mut tx, goal, job, "goal", (1000, 3000)).await.unwrap();
    tx.commit().await.unwrap();
    fleet.store.ask_download(&tenant, goal, 2.0, None, &entry("clip.download_asked")).await.unwrap();
    log(&fleet, (ours, hook.id), "the clip's file", |rows| told(rows, "clip.ready") == 1).await;
    fleet.store.remove_job(&tenant, job, &entry("job.deleted")).await.unwrap();
    let ended = |rows: &[DeliveryRow]| {
        ["job.succeeded", "job.failed", "clip.ready", "job.deleted"].iter().all(|kind| told(rows, kind) == 1)
            && rows.iter().all(|r| r.state == "delivered")
    };
    let rows = log(&fleet, (ours, hook.id), "all to be delivered", ended).await;
    assert_eq!(told(&rows, "job.playable"), 1);
    assert!(told(&rows, "job.progress") <= 9, "{rows:#?}");
    assert!(rows.iter().all(|r| r.tries == 1 && r.last_status == Some(204) && r.last_ms.is_some()), "{rows:#?}");
    let came = receiver.came();
    assert_eq!(came.len(), rows.len(), "each was sent once");
    for received in &came {
        assert_eq!(received.headers["content-type"], "application/json");
        assert_eq!(verified(SECRET, received).unwrap(), received.message());
        assert!(verified(OTHER_SECRET, received).unwrap_err().contains("no signature is right"));
        let mut forged = received.clone();
        forged.body.push(b' ');
        assert!(verified(SECRET, &forged).unwrap_err().contains("no signature is right"));
    }
    let message = |kind: &str| {
        let found = came.iter().map(Received::message).find(|m| m["type"] == kind);
        found.unwrap_or_else(|| panic!("{kind} did not come"))
    };
    let succeeded = &message("job.succeeded")["data"]["job"];
    assert_eq!((succeeded["id"].as_str(), succeeded["state"].as_str()), (Some(&*job.to_string()), Some("succeeded")));
    assert_eq!(succeeded["duration_ms"], 60_000);
    let clip = message("clip.ready");
    assert_eq!(clip["data"]["clip"], serde_json::json!({ "id": goal, "error": null }));
    let deleted = message("job.deleted");
    for of_the_match in [&clip, &deleted] {
        assert_eq!(of_the_match["data"]["job"]["id"].as_str(), Some(&*job.to_string()));
    }
    let failed = &message("job.failed")["data"]["job"];
    assert_eq!(
        (failed["id"].as_str(), failed["failure"]["code"].as_str()),
        (Some(&*bad.to_string()), Some("not_media"))
    );
    assert!(failed["failure"]["message"].as_str().unwrap().contains("not a video"));
    assert_eq!(failed["failure"]["retryable"], false);
    assert!(stranger.came().is_empty(), "nobody is told of another organisation's jobs");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_dispatchers_deliver_every_event_once_to_each_webhook() {
    const JOBS: usize = 150;
    let fleet = local_fleet().await;
    let ours = fleet.store.ensure_organisation("ours", 1).await.unwrap();
    let receivers = [Receiver::start().await, Receiver::start().await];
    let mut hooks = Vec::new();
    for receiver in &receivers {
        hooks.push(webhook(&fleet, ours, &receiver.url(), &["job.cancelled"]).await.id);
    }
    let _dispatchers = [fleet.dispatcher(), fleet.dispatcher()];
    let mut jobs = Vec::new();
    for _ in 0..JOBS {
        jobs.push(cancelled_job(&fleet, ours).await.to_string());
    }
    for (hook, receiver) in hooks.into_iter().zip(&receivers) {
        let rows = log(&fleet, (ours, hook), "all to be delivered", all_are("delivered", JOBS)).await;
        assert!(rows.iter().all(|r| r.tries == 1));
        let came = receiver.came();
        let mut told: Vec<String> =
            came.iter().map(|r| r.message()["data"]["job"]["id"].as_str().unwrap().to_owned()).collect();
        told.sort();
        assert_eq!(told, jobs, "each job once");
        let ids: std::collections::HashSet<&str> = came.iter().map(Received::id).collect();
        assert_eq!(ids.len(), JOBS, "each message has an id of its own");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_commits_late_is_neither_skipped_nor_told_twice() {
    let fleet = local_fleet().await;
    let ours = fleet.store.ensure_organisation("ours", 1).await.unwrap();
    let receiver = Receiver::start().await;
    let hook = webhook(&fleet, ours, &receiver.url(), &["job.cancelled", "upload.completed"]).await;
    // This transaction and its event are the oldest, and commit last.
    let mut late = fleet.store.pool().begin().await.unwrap();
    sqlx::query(
        "insert into touchline.events (organisation_id, type, data) values ($1, 'upload.completed', '{\"upload_id\": \"u1\"}')",
    )
    .bind(ours)
    .execute(&mut *late)
    .await
    .unwrap();
    let _dispatchers = [fleet.dispatcher(), fleet.dispatcher()];
    cancelled_job(&fleet, ours).await;
    let reads = async || -> (i64, bool) {
        sqlx::query_as(
            "select (select count(*) from touchline.webhook_deliveries),
                exists (select from pg_stat_activity where application_name = 'touchline-dispatcher')",
        )
        .fetch_one(fleet.store.pool())
        .await
        .unwrap()
    };
    let until = Instant::now() + LIMIT;
    while !reads().await.1 {
        assert!(Instant::now() < until, "dispatchers run\n{}", fleet.logs());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // Longer than several turns of the fan-out.
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(reads().await.0, 0, "nothing is read past a transaction that still runs");
    late.commit().await.unwrap();
    log(&fleet, (ours, hook.id), "both to be delivered", all_are("delivered", 2)).await;
    let kinds: Vec<Value> = receiver.came().iter().map(|r| r.message()["type"].clone()).collect();
    assert_eq!(kinds.len(), 2);
    assert!(kinds.contains(&"job.cancelled".into()) && kinds.contains(&"upload.completed".into()), "{kinds:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_was_down_gets_the_message_under_the_same_id_once_it_is_up() {
    let fleet = local_fleet().await;
    let ours = fleet.store.ensure_organisation("ours", 1).await.unwrap();
    let port = free_port();
    let hook = webhook(&fleet, ours, &format!("http://127.0.0.1:{port}/"), &["job.cancelled"]).await;
    let _dispatcher = fleet.dispatcher();
    cancelled_job(&fleet, ours).await;
    let tried = |rows: &[DeliveryRow]| rows.iter().any(|r| r.tries == 1 && r.last_error.is_some());
    let rows = log(&fleet, (ours, hook.id), "a failed try", tried).await;
    assert_eq!((rows[0].state.as_str(), rows[0].last_status), ("pending", None));
    assert!(rows[0].last_error.as_ref().unwrap().contains("no connection"), "{rows:#?}");
    assert!(row(&fleet, ours, hook.id).await.failing_since.is_some());

    let receiver = Receiver::start_at(port).await;
    receiver.answers(Answer::Status(StatusCode::SERVICE_UNAVAILABLE));
    // The schedule's next pauses are 5 s and a minute; the second is cut short.
    receiver.wait_for(1).await;
    let tried = |rows: &[DeliveryRow]| rows[0].tries == 2 && rows[0].last_status == Some(503);
    let rows = log(&fleet, (ours, hook.id), "a second failed try", tried).await;
    let pause = (rows[0].next_at - time::OffsetDateTime::now_utc()).as_seconds_f64();
    assert!((40.0..=66.0).contains(&pause), "the pause grows: {pause} s");
    receiver.answers(Answer::Status(StatusCode::OK));
    sqlx::query("update touchline.webhook_deliveries set next_at = now()").execute(fleet.store.pool()).await.unwrap();
    let rows = log(&fleet, (ours, hook.id), "delivery", all_are("delivered", 1)).await;
    assert_eq!((rows[0].tries, rows[0].last_status, &rows[0].last_error), (3, Some(200), &None));
    let came = receiver.came();
    assert_eq!(came.len(), 2);
    assert_eq!(came[0].id(), came[1].id());
    assert!(came.iter().all(|r| verified(SECRET, r).is_ok()), "each try is signed with its own time");
    assert_eq!(row(&fleet, ours, hook.id).await.failing_since, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_hangs_holds_up_nobody_else() {
    let fleet = local_fleet().await;
    let ours = fleet.store.ensure_organisation("ours", 1).await.unwrap();
    let (hangs, quick) = (Receiver::start().await, Receiver::start().await);
    hangs.answers(Answer::Never);
    let slow = webhook(&fleet, ours, &hangs.url(), &["job.cancelled"]).await;
    for _ in 0..100 {
        cancelled_job(&fleet, ours).await;
    }
    let _dispatcher = fleet.dispatcher();
    hangs.wait_for(1).await;
    let hook = webhook(&fleet, ours, &quick.url(), &["job.cancelled"]).await;
    cancelled_job(&fleet, ours).await;
    let started = Instant::now();
    log(&fleet, (ours, hook.id), "delivery", all_are("delivered", 1)).await;
    assert!(started.elapsed() < Duration::from_secs(10), "it waited for the other one's time limit");
    assert!(hangs.came().len() <= 4, "one webhook has few deliveries under way");
    let given_up = |rows: &[DeliveryRow]| rows.iter().any(|r| r.last_error.is_some());
    let rows = log(&fleet, (ours, slow.id), "a time limit", given_up).await;
    let tried = rows.iter().find(|r| r.last_error.is_some()).unwrap();
    assert_eq!(tried.last_error.as_deref(), Some("no answer within 15 s"));
    assert!((14_000..25_000).contains(&tried.last_ms.unwrap()), "{tried:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_without_end_is_not_read_to_its_end() {
    let fleet = local_fleet().await;
    let ours = fleet.store.ensure_organisation("ours", 1).await.unwrap();
    let receiver = Receiver::start().await;
    receiver.answers(Answer::WithoutEnd);
    let hook = webhook(&fleet, ours, &receiver.url(), &["job.cancelled"]).await;
    let _dispatcher = fleet.dispatcher();
    cancelled_job(&fleet, ours).await;
    let rows = log(&fleet, (ours, hook.id), "a delivery", |rows| rows.iter().any(|r| r.state == "delivered")).await;
    assert_eq!((rows.len(), rows[0].tries, rows[0].last_status), (1, 1, Some(200)));
}

#[tokio::test(flavor = "multi_thread")]
async fn redirects_are_not_followed() {
    let fleet = local_fleet().await;
    let ours = fleet.store.ensure_organisation("ours", 1).await.unwrap();
    let (receiver, elsewhere) = (Receiver::start().await, Receiver::start().await);
    receiver.answers(Answer::Redirect(elsewhere.url()));
    let hook = webhook(&fleet, ours, &receiver.url(), &["job.cancelled"]).await;
    let _dispatcher = fleet.dispatcher();
    cancelled_job(&fleet, ours).await;
    let rows = log(&fleet, (ours, hook.id), "a try", |rows| rows.iter().any(|r| r.last_status.is_some())).await;
    assert_eq!((rows[0].state.as_str(), rows[0].last_status), ("pending", Some(302)));
    assert!(rows[0].last_error.as_ref().unwrap().contains("redirects are not followed"));
    assert!(elsewhere.came().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_being_told_so_deliveries_reach_nothing_private() {
    // As strict as usual, but for scheme and port, so that a receiver would be reached if the address were not looked at.
    let strict = WebhooksConfig { http: true, ports: Vec::new(), ..WebhooksConfig::default() };
    let fleet = fleet_with(strict).await;
    let ours = fleet.store.ensure_organisation("ours", 1).await.unwrap();
    let receiver = Receiver::start().await;
    let by_name = receiver.url().replace("127.0.0.1", "localhost");
    let mut hooks = Vec::new();
    for url in [&receiver.url(), &by_name, "http://169.254.169.254/latest/meta-data/", "http://[::ffff:127.0.0.1]/"] {
        hooks.push(webhook(&fleet, ours, url, &["job.cancelled"]).await.id);
    }
    let _dispatcher = fleet.dispatcher();
    cancelled_job(&fleet, ours).await;
    for hook in hooks {
        let rows = log(&fleet, (ours, hook), "a try", |rows| rows.iter().any(|r| r.last_error.is_some())).await;
        assert_eq!(rows[0].last_error.as_deref(), Some("the address is not on the public Internet"));
        assert!(rows[0].last_ms.unwrap() < 5000, "nothing was waited for: {rows:#?}");
    }
    assert!(receiver.came().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn while_a_secret_is_replaced_both_verify_and_then_only_the_new_one() {
    let fleet = local_fleet().await;
    let ours = fleet.store.ensure_organisation("ours", 1).await.unwrap();
    let receiver = Receiver::start().await;
    let hook = webhook(&fleet, ours, &receiver.url(), &["job.cancelled"]).await;
    let _dispatcher = fleet.dispatcher();
    let rotate = async |secret: &str, grace_s: f64| {
        let tenant = fleet.store.tenant(ours);
        let mut tx = tenant.begin().await.unwrap();
        tenant.rotate_webhook(&mut tx, hook.id, secret, grace_s).await.unwrap().unwrap();
        tx.commit().await.unwrap();
    };
    rotate(OTHER_SECRET, 3600.0).await;
    cancelled_job(&fleet, ours).await;
    let both = receiver.wait_for(1).await.remove(0);
    assert!(verified(SECRET, &both).is_ok() && verified(OTHER_SECRET, &both).is_ok());
    // The overlap is over.
    sqlx::query("update touchline.webhooks set old_until = now()").execute(fleet.store.pool()).await.unwrap();
    cancelled_job(&fleet, ours).await;
    let one = receiver.wait_for(2).await.remove(1);
    assert!(verified(SECRET, &one).is_err() && verified(OTHER_SECRET, &one).is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_is_gone_or_fails_for_days_is_told_no_more_until_its_owner_says_so() {
    let fleet = local_fleet().await;
    let ours = fleet.store.ensure_organisation("ours", 1).await.unwrap();
    let (gone, failing) = (Receiver::start().await, Receiver::start().await);
    gone.answers(Answer::Status(StatusCode::GONE));
    failing.answers(Answer::Status(StatusCode::INTERNAL_SERVER_ERROR));
    let hooks = [
        webhook(&fleet, ours, &gone.url(), &["job.cancelled"]).await.id,
        webhook(&fleet, ours, &failing.url(), &["job.cancelled"]).await.id,
    ];
    sqlx::query("update touchline.webhooks set failing_since = now() - interval '3 days' where id = $1")
        .bind(hooks[1])
        .execute(fleet.store.pool())
        .await
        .unwrap();
    let _dispatcher = fleet.dispatcher();
    cancelled_job(&fleet, ours).await;
    for (hook, reason) in hooks.iter().zip(["gone", "failing"]) {
        log(&fleet, (ours, *hook), "an end", all_are("failed", 1)).await;
        let disabled = row(&fleet, ours, *hook).await;
        assert!(!disabled.enabled && disabled.disabled_at.is_some());
        assert_eq!(disabled.disabled_reason.as_deref(), Some(reason));
        let told: i64 = sqlx::query_scalar(
            "select count(*) from touchline.events where organisation_id = $1 and type = 'webhook.disabled'
                and data = jsonb_build_object('webhook_id', $2, 'reason', $3::text)",
        )
        .bind(ours)
        .bind(hook)
        .bind(reason)
        .fetch_one(fleet.store.pool())
        .await
        .unwrap();
        assert_eq!(told, 1);
    }
    let before = (gone.came().len(), failing.came().len());
    cancelled_job(&fleet, ours).await;

    // On again: what happened while it was off is not told, what failed can be replayed.
    gone.answers(Answer::Status(StatusCode::OK));
    let settled: i64 =
        sqlx::query_scalar("select max(id) from touchline.events").fetch_one(fleet.store.pool()).await.unwrap();
    let until = Instant::now() + LIMIT;
    loop {
        let read: i64 = sqlx::query_scalar("select id from touchline.event_readers where name = 'webhooks'")
            .fetch_one(fleet.store.pool())
            .await
            .unwrap();
        if read >= settled {
            break;
        }
        assert!(Instant::now() < until, "the fan-out goes on\n{}", fleet.logs());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let tenant = fleet.store.tenant(ours);
    let mut tx = tenant.begin().await.unwrap();
    let change = WebhookChange { enabled: Some(true), ..WebhookChange::default() };
    let on = tenant.change_webhook(&mut tx, hooks[0], &change).await.unwrap().unwrap();
    assert!(on.enabled && on.failing_since.is_none() && on.disabled_reason.is_none());
    let delivery = tenant.deliveries_in(&mut tx, hooks[0], None, 10).await.unwrap().remove(0);
    tenant.replay_delivery(&mut tx, hooks[0], delivery.id).await.unwrap().unwrap();
    let test = serde_json::json!({ "type": "webhook.test" });
    tenant.test_webhook(&mut tx, hooks[0], &test).await.unwrap();
    tx.commit().await.unwrap();
    log(&fleet, (ours, hooks[0]), "replay and test", all_are("delivered", 2)).await;
    let came = gone.wait_for(before.0 + 2).await;
    assert!(came[before.0..].iter().any(|r| r.id() == came[0].id()), "a replay has the id of the first try");
    assert!(came[before.0..].iter().any(|r| r.message()["type"] == "webhook.test"));
    assert_eq!(failing.came().len(), before.1, "who is off is told nothing");
}
