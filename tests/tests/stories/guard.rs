//! A device that proves faulty is quarantined, and what it made since it last worked is made again.

use std::time::{Duration, Instant};

use fleet::store::{Store, StoreOptions};
use sqlx::{AssertSqlSafe, Row};
use stories::services::Postgres;
use uuid::Uuid;

/// A running job of three chunks with two segments each: one made by a sound device, one by the faulty one before it was
/// last seen to work, one by it since. The growing playlist lists the first `listed` segments.
async fn half_made_job(store: &Store, listed: i64) -> (Uuid, Uuid) {
    let organisation = store.ensure_organisation("a", 1).await.unwrap();
    let (job, [sound, faulty]) = (Uuid::now_v7(), [Uuid::now_v7(), Uuid::now_v7()]);
    let mut sql = format!(
        "insert into touchline.jobs (id, organisation_id, state, source, ladder, home_region)
            values ('{job}', '{organisation}', 'running', '/none', '{{}}', 'local');
         insert into touchline.publications (job_id, listed) values ('{job}', {listed});
         insert into touchline.renditions (job_id, name, kind) values ('{job}', 'v360', 'video');"
    );
    for (worker, device) in [(sound, "GPU-sound"), (faulty, "GPU-faulty")] {
        sql += &format!(
            "insert into touchline.workers (id, region, host, version, backends, slots, device)
                values ('{worker}', 'local', 'h', '1', '{{nvenc}}', 1, '{device}');"
        );
    }
    for (chunk, worker, ago) in [(1, sound, 1), (2, faulty, 60), (3, faulty, 1)] {
        let first = (chunk - 1) * 2;
        sql += &format!(
            "insert into touchline.chunks (job_id, chunk, kind, state, position, first_segment, end_segment, finished_at)
                values ('{job}', {chunk}, 'video', 'done', {first}, {first}, {first} + 2, now());
             insert into touchline.attempts (job_id, chunk, attempt, worker_id, region, ended_at, outcome)
                values ('{job}', {chunk}, 1, '{worker}', 'local', now() - make_interval(mins => {ago}), 'done');
             insert into touchline.segments (job_id, rendition, index, chunk, attempt, uri, bytes, first, count, seconds, facts)
                select '{job}', 'v360', i, {chunk}, 1, 'seg', 1, 0, 1, 6, '{{}}' from generate_series({first}, {first} + 1) i;"
        );
    }
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(store.pool()).await.unwrap();
    (job, faulty)
}

async fn numbers(store: &Store, sql: &'static str, job: Uuid) -> Vec<i64> {
    let rows = sqlx::query(sql).bind(job).fetch_all(store.pool()).await.unwrap();
    rows.iter().map(|r| r.get(0)).collect()
}

async fn store() -> Store {
    let store = Store::open(&StoreOptions::new(Postgres::shared().create_database(), "story")).unwrap();
    store.migrate().await.unwrap();
    store
}

/// Waits until another connection to the database of this store waits for a lock.
async fn somebody_waits(store: &Store) {
    let until = Instant::now() + Duration::from_secs(60);
    let waits =
        "select exists (select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock')";
    while !sqlx::query_scalar::<_, bool>(waits).fetch_one(store.pool()).await.unwrap() {
        assert!(Instant::now() < until, "nobody waits");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

const SEGMENTS: &str = "select index from touchline.segments where job_id = $1 order by index";
const WAITING: &str =
    "select chunk::bigint from touchline.chunks where job_id = $1 and state = 'waiting' and attempt = 2 order by chunk";

#[tokio::test]
async fn what_a_faulty_device_made_since_it_last_worked_is_made_again_and_nothing_else() {
    let store = store().await;
    let (job, _) = half_made_job(&store, 0).await;
    assert!(store.device_checked("GPU-faulty").await.unwrap());
    sqlx::query("update touchline.devices set checked_at = now() - interval '30 min'")
        .execute(store.pool())
        .await
        .unwrap();
    assert_eq!(store.withdraw_suspect().await.unwrap(), None, "nothing is in quarantine");

    store.quarantine("GPU-faulty", "black pictures").await.unwrap();
    let withdrawn = store.withdraw_suspect().await.unwrap().unwrap();
    assert_eq!((withdrawn.device.as_str(), withdrawn.reason.as_str()), ("GPU-faulty", "black pictures"));
    assert_eq!((withdrawn.jobs, withdrawn.segments), (vec![job], 2));
    assert_eq!(numbers(&store, SEGMENTS, job).await, [0, 1, 2, 3]);
    assert_eq!(numbers(&store, WAITING, job).await, [3]);
    assert_eq!(store.events(job).await.unwrap().last().unwrap().0, "job.remade");
    assert_eq!(store.withdraw_suspect().await.unwrap(), None, "once is enough");

    // It stays out until somebody saw to it, however often it claims to work.
    assert!(!store.device_checked("GPU-faulty").await.unwrap());
    assert!(store.trust_device("GPU-faulty").await.unwrap());
    assert!(store.device_checked("GPU-faulty").await.unwrap());
    assert!(!store.trust_device("GPU-faulty").await.unwrap());
}

#[tokio::test]
async fn a_device_never_seen_to_work_loses_all_it_made_but_what_viewers_see_already() {
    let store = store().await;
    let (job, _) = half_made_job(&store, 3).await;
    store.quarantine("GPU-faulty", "torn pictures").await.unwrap();
    let withdrawn = store.withdraw_suspect().await.unwrap().unwrap();
    // Segment 2 is listed: playlists only grow.
    assert_eq!(withdrawn.segments, 3);
    assert_eq!(numbers(&store, SEGMENTS, job).await, [0, 1, 2]);
    assert_eq!(numbers(&store, WAITING, job).await, [2, 3]);
}

#[tokio::test]
async fn what_a_later_part_lists_is_not_withdrawn_even_when_both_happen_at_once() {
    let store = store().await;
    let (job, _) = half_made_job(&store, 0).await;
    let generation = store.job(job).await.unwrap().generation;
    assert!(store.lock_part(job, generation + 1, 4).await.unwrap().is_none(), "another plan");
    store.quarantine("GPU-faulty", "torn pictures").await.unwrap();

    let lock = store.lock_part(job, generation, 4).await.unwrap().unwrap();
    assert_eq!((lock.listed, lock.appended_s, lock.tracks[0].contiguous), (4, None, 6));
    let withdrawing = tokio::spawn({
        let store = store.clone();
        async move { store.withdraw_suspect().await }
    });
    somebody_waits(&store).await;
    lock.list(5).await.unwrap();
    assert_eq!(withdrawing.await.unwrap().unwrap().unwrap().segments, 3);
    assert_eq!(numbers(&store, SEGMENTS, job).await, [0, 1, 4]);
    assert_eq!(numbers(&store, WAITING, job).await, [2, 3]);
    let lock = store.lock_part(job, generation, 4).await.unwrap().unwrap();
    assert_eq!((lock.listed, lock.tracks[0].contiguous, lock.is_whole), (5, 5, false));
    assert!(lock.appended_s.is_some());
}

#[tokio::test]
async fn a_worker_s_login_may_condemn_its_device_and_not_pardon_the_withdrawal() {
    let url = Postgres::shared().create_database();
    let admin = Store::open(&StoreOptions::new(url.clone(), "story")).unwrap();
    admin.migrate().await.unwrap();
    admin.ensure_worker_login("story_guard", "secret").await.unwrap();
    let worker = Store::open(&StoreOptions::new(url.replace("postgres@", "story_guard:secret@"), "story")).unwrap();
    assert!(worker.device_checked("cpu:h").await.unwrap());
    worker.quarantine("cpu:h", "wrong").await.unwrap();
    assert!(!worker.device_checked("cpu:h").await.unwrap());
    assert!(worker.trust_device("cpu:h").await.is_err());
    assert!(worker.withdraw_suspect().await.is_err());
    assert_eq!(admin.devices().await.unwrap().len(), 1);
}
