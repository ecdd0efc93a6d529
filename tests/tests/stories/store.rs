//! The store: fencing, fairness, and what a worker's login may do.

use std::time::Duration;

use fleet::config::Timing;
use fleet::queue::Message;
use fleet::state::JobState;
use fleet::store::rescue::Patience;
use fleet::store::work::{AttemptId, Beat, Claimed, Ending, Kept};
use fleet::store::{Store, StoreOptions};
use sqlx::Row;
use stories::fleet_processes::new_job;
use stories::services::Postgres;
use uuid::Uuid;

const LEASE: Duration = Duration::from_secs(30);

async fn store() -> Store {
    let store = Store::open(&StoreOptions::new(Postgres::shared().create_database(), "story")).unwrap();
    store.migrate().await.unwrap();
    store
}

async fn job(store: &Store, organisation: Uuid) -> Uuid {
    let job = new_job(organisation);
    store.submit(&job).await.unwrap()
}

async fn release_all(store: &Store) -> u64 {
    let candidates = store.candidates(100, Patience::default()).await.unwrap();
    let chosen: Vec<_> = candidates.into_iter().map(|c| (c, "local".to_owned())).collect();
    store.release(&chosen).await.unwrap()
}

async fn claim(store: &Store, job: Uuid, attempt: i32) -> Option<AttemptId> {
    let message = Message::new(job, 0, attempt);
    match store.claim(&message, Uuid::now_v7(), "local", &["x264".to_owned()], LEASE).await.unwrap() {
        Claimed::Ours(claim) => Some(claim.id),
        _ => None,
    }
}

#[tokio::test]
async fn a_job_has_made_nothing_before_its_pictures_are_planned() {
    let store = store().await;
    let organisation = store.ensure_organisation("a", 1).await.unwrap();
    let id = job(&store, organisation).await;
    assert_eq!(store.job(id).await.unwrap().progress, 0.0);
    release_all(&store).await;
    assert!(claim(&store, id, 1).await.is_some());
    let row = store.job(id).await.unwrap();
    assert_eq!((row.job_state(), row.progress), (JobState::Planning, 0.0));
    let told: Vec<f64> = store.job_progress(10).await.unwrap().into_iter().map(|job| job.progress).collect();
    assert_eq!(told, [0.0]);
}

#[tokio::test]
async fn migrations_may_run_twice_and_through_a_pooler_s_eyes() {
    let url = Postgres::shared().create_database();
    let mut options = StoreOptions::new(url, "story");
    for _ in 0..2 {
        Store::open(&options).unwrap().migrate().await.unwrap();
    }
    options.pooler = true;
    let store = Store::open(&options).unwrap();
    let organisation = store.ensure_organisation("a", 1).await.unwrap();
    assert_eq!(organisation, store.ensure_organisation("a", 1).await.unwrap());
    let id = job(&store, organisation).await;
    release_all(&store).await;
    assert!(claim(&store, id, 1).await.is_some());
    // No statement was left behind in the session, as a pooler would hand the session to somebody else.
    let row = sqlx::query("select count(*) as n from pg_prepared_statements where name <> ''")
        .persistent(false)
        .fetch_one(store.pool())
        .await
        .unwrap();
    assert_eq!(row.get::<i64, _>("n"), 0);
    let outside = sqlx::query(
        "select count(*) as n from pg_tables where schemaname not in ('touchline', 'pg_catalog', 'information_schema')",
    )
    .fetch_one(store.pool())
    .await
    .unwrap();
    assert_eq!(outside.get::<i64, _>("n"), 0, "everything lies in the schema touchline");
}

#[tokio::test]
async fn of_two_workers_with_the_same_message_one_gets_the_chunk() {
    let store = store().await;
    let organisation = store.ensure_organisation("a", 1).await.unwrap();
    for _ in 0..20 {
        let id = job(&store, organisation).await;
        assert!(claim(&store, id, 1).await.is_none(), "what is not released is not claimed");
        release_all(&store).await;
        let claims = (0..6).map(|_| claim(&store, id, 1));
        let won = futures_util::future::join_all(claims).await;
        assert_eq!(won.iter().flatten().count(), 1);
        assert!(claim(&store, id, 2).await.is_none(), "an attempt that does not exist yet is not claimed");
    }
}

#[tokio::test]
async fn a_worker_whose_lease_ran_out_changes_nothing_any_more() {
    let store = store().await;
    let organisation = store.ensure_organisation("a", 1).await.unwrap();
    let id = job(&store, organisation).await;
    release_all(&store).await;
    let old = claim(&store, id, 1).await.unwrap();
    sqlx::query("update touchline.chunks set lease_until = now() - interval '1 second'")
        .execute(store.pool())
        .await
        .unwrap();
    let lost = store.take_back_lost(10).await.unwrap();
    assert_eq!((lost.len(), lost[0].attempt, lost[0].deaths), (1, 1, 1));
    let beat = Beat { id: old, progress: 0 };
    assert!(store.heartbeat(old.worker, &[beat], LEASE).await.unwrap().is_empty());
    assert!(!store.end_attempt(old, 0, &Ending::HandedBack).await.unwrap());
    release_all(&store).await;
    assert!(claim(&store, id, 1).await.is_none(), "the old message is stale");
    let new = claim(&store, id, 2).await.unwrap();
    assert!(!store.end_attempt(old, 0, &Ending::HandedBack).await.unwrap());
    let kept = store.heartbeat(new.worker, &[Beat { id: new, progress: 0 }], LEASE).await.unwrap();
    assert_eq!(kept, [Kept { id: new, end: None }]);
}

#[tokio::test]
async fn an_orderly_hand_back_costs_no_try_and_silence_in_a_row_ends_the_job_with_a_code() {
    let store = store().await;
    let organisation = store.ensure_organisation("a", 1).await.unwrap();
    let id = job(&store, organisation).await;
    let patience = Patience { deaths: 3, ..Patience::default() };
    for attempt in 1..=10 {
        release_all(&store).await;
        let held = claim(&store, id, attempt).await.unwrap();
        assert!(store.end_attempt(held, 0, &Ending::HandedBack).await.unwrap());
        assert!(store.given_up(patience).await.unwrap().is_empty());
    }
    assert_eq!(store.job(id).await.unwrap().state, "queued");
    for attempt in 11..=13 {
        release_all(&store).await;
        claim(&store, id, attempt).await.unwrap();
        assert!(store.given_up(patience).await.unwrap().is_empty());
        sqlx::query("update touchline.chunks set lease_until = now() - interval '1 second' where state = 'running'")
            .execute(store.pool())
            .await
            .unwrap();
        assert_eq!(store.take_back_lost(10).await.unwrap().len(), 1);
    }
    let given_up = store.given_up(patience).await.unwrap();
    assert_eq!(given_up[0].code, fleet::failure::FailureCode::WorkersLost);
    assert!(store.fail_given_up(&given_up[0]).await.unwrap());
    let row = store.job(id).await.unwrap();
    assert_eq!((row.state.as_str(), row.failure_code.as_deref()), ("failed", Some("workers_lost")));
    // Tried again by hand, it starts under a number that nobody has.
    store.retry(id).await.unwrap();
    release_all(&store).await;
    assert!(claim(&store, id, 16).await.is_some());
}

#[tokio::test]
async fn fifty_jobs_of_one_club_do_not_delay_the_one_of_another() {
    let store = store().await;
    let busy = store.ensure_organisation("busy", 1).await.unwrap();
    let small = store.ensure_organisation("small", 1).await.unwrap();
    let paying = store.ensure_organisation("paying", 3).await.unwrap();
    for _ in 0..50 {
        job(&store, busy).await;
    }
    let one = job(&store, small).await;
    let candidates = store.candidates(10, Patience::default()).await.unwrap();
    assert!(candidates[..2].iter().any(|c| c.job == one), "{candidates:?}");
    let mut paid = Vec::new();
    for _ in 0..30 {
        paid.push(job(&store, paying).await);
    }
    let first: Vec<_> = store.candidates(40, Patience::default()).await.unwrap();
    let share = first.iter().filter(|c| paid.contains(&c.job)).count();
    assert!((27..=30).contains(&share), "three of four chunks go to the one with weight 3, not {share} of 40");
}

#[tokio::test]
async fn a_message_that_was_lost_is_sent_again_with_the_same_attempt() {
    let store = store().await;
    let organisation = store.ensure_organisation("a", 1).await.unwrap();
    let id = job(&store, organisation).await;
    release_all(&store).await;
    let take = async |accepted: Vec<usize>| {
        let mut seen = Vec::new();
        store
            .relay("local", 10, async |messages: &[Message]| {
                seen.extend_from_slice(messages);
                Ok::<_, fleet::store::StoreError>(accepted.clone())
            })
            .await
            .unwrap();
        seen
    };
    assert_eq!(take(vec![0]).await, [Message::new(id, 0, 1)]);
    let patience = Patience { resend_after: Duration::from_millis(300), ..Patience::default() };
    assert_eq!(store.resend(patience).await.unwrap(), 0);
    tokio::time::sleep(Duration::from_millis(400)).await;
    assert_eq!(store.resend(patience).await.unwrap(), 1);
    assert_eq!(take(vec![0]).await, [Message::new(id, 0, 1)]);
    assert!(take(vec![0]).await.is_empty());
}

#[tokio::test]
async fn cancel_wins_over_work_and_success_wins_over_cancel() {
    let store = store().await;
    let organisation = store.ensure_organisation("a", 1).await.unwrap();
    let id = job(&store, organisation).await;
    release_all(&store).await;
    let held = claim(&store, id, 1).await.unwrap();
    assert!(store.cancel(id).await.unwrap());
    assert!(!store.cancel(id).await.unwrap(), "once is enough");
    assert!(store.heartbeat(held.worker, &[Beat { id: held, progress: 0 }], LEASE).await.unwrap().is_empty());
    assert_eq!(store.events(id).await.unwrap().last().unwrap().0, "job.cancelled");
    sqlx::query("update touchline.jobs set state = 'succeeded' where id = $1")
        .bind(id)
        .execute(store.pool())
        .await
        .unwrap();
    assert!(store.cancel(id).await.is_err());
}

#[tokio::test]
async fn the_worker_s_login_can_work_and_do_nothing_else() {
    let url = Postgres::shared().create_database();
    let admin = Store::open(&StoreOptions::new(url.clone(), "story")).unwrap();
    admin.migrate().await.unwrap();
    admin.ensure_worker_login("story_worker", "secret").await.unwrap();
    let organisation = admin.ensure_organisation("a", 1).await.unwrap();
    let id = job(&admin, organisation).await;
    release_all(&admin).await;
    let worker = url.replace("postgres@", "story_worker:secret@");
    let worker = Store::open(&StoreOptions::new(worker, "story")).unwrap();
    let held = claim(&worker, id, 1).await.unwrap();
    assert!(worker.end_attempt(held, 0, &Ending::HandedBack).await.unwrap());
    // What the making of a clip's file reads.
    assert!(worker.download_order(id).await.unwrap().is_none());
    assert!(worker.tracks_of_clip(id, 0, 1).await.unwrap().is_empty());
    for forbidden in [
        "delete from touchline.jobs",
        "update touchline.jobs set organisation_id = gen_random_uuid()",
        "update touchline.jobs set finished_at = now()",
        "select title from touchline.jobs",
        "insert into touchline.jobs (id, organisation_id, source, ladder, home_region) select gen_random_uuid(), \
         gen_random_uuid(), '', '{}', ''",
        "select * from touchline.organisations",
        "insert into touchline.events (organisation_id, job_id, type) select gen_random_uuid(), gen_random_uuid(), 'x'",
        "delete from touchline.segments",
        "update touchline.segments set bytes = 0",
        "select * from touchline.usage",
        "select title from touchline.clips",
        "update touchline.clips set download = 'ready'",
        "insert into touchline.outbox (region, job_id, chunk, attempt) select '', gen_random_uuid(), 0, 0",
        "drop table touchline.jobs",
        "select * from touchline.removed_jobs",
        "create table touchline.mine (n int)",
    ] {
        let outcome = sqlx::query(sqlx::AssertSqlSafe(forbidden)).execute(worker.pool()).await;
        let code = outcome.err().and_then(|e| e.as_database_error().and_then(|d| d.code().map(|c| c.into_owned())));
        assert_eq!(code.as_deref(), Some("42501"), "{forbidden}");
    }
    assert!(Timing::default().lease > 2.0 * Timing::default().heartbeat);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_of_no_job_is_swept_when_it_is_old_and_no_other_is() {
    let store = store().await;
    let organisation = store.ensure_organisation("a", 1).await.unwrap();
    let id = job(&store, organisation).await;
    for (job, age) in [(None, "31 days"), (None, "29 days"), (Some(id), "31 days")] {
        sqlx::query(
            "insert into touchline.events (organisation_id, job_id, type, at) values ($1, $2, 'x', now() - $3::text::interval)",
        )
        .bind(organisation)
        .bind(job)
        .bind(age)
        .execute(store.pool())
        .await
        .unwrap();
    }
    let month = Duration::from_secs(30 * 24 * 3600);
    assert_eq!(store.delete_old_events(month, 10).await.unwrap(), 1);
    assert_eq!(store.delete_old_events(month, 10).await.unwrap(), 0);
    let left: i64 = sqlx::query_scalar("select count(*) from touchline.events where type = 'x'")
        .fetch_one(store.pool())
        .await
        .unwrap();
    assert_eq!(left, 2);
}
