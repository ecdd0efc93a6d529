//! Two transactions at once, on real Postgres: what the simulation cannot see, as each of its statements is one step.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use dispatcher::publisher::Publisher;
use fleet::failure::FailureCode;
use fleet::objects::{ETag, ObjectError, ObjectFacts, ObjectMeta, ObjectStore, PutCondition};
use fleet::queue::Message;
use fleet::store::rescue::Patience;
use fleet::store::work::{AttemptId, Claimed, Commit, Completed, Completion, Ending, NewFile};
use fleet::store::workers::NewWorker;
use fleet::store::{Store, StoreOptions};
use sqlx::{Connection, PgConnection};
use stories::fleet_processes::small_ladder;
use stories::services::Postgres;
use stories::simulation::plan_of;
use tokio::sync::Notify;
use uuid::Uuid;

const LEASE: Duration = Duration::from_secs(60);
const DEVICE: &str = "gpu-1";
/// Whoever deletes a segment waits for this lock, which a test holds.
const GATE: i64 = 7;

/// A job with one chunk of one segment, which a worker on [`DEVICE`] has committed.
struct World {
    store: Store,
    url: String,
    job: Uuid,
    id: AttemptId,
}

async fn world() -> World {
    let url = Postgres::shared().create_database();
    let store = Store::open(&StoreOptions::new(&url, "story")).unwrap();
    store.migrate().await.unwrap();
    let organisation = store.ensure_organisation("a", 1).await.unwrap();
    let worker = NewWorker {
        id: Uuid::now_v7(),
        region: "local".to_owned(),
        pool: String::new(),
        instance: String::new(),
        host: String::new(),
        device: DEVICE.to_owned(),
        version: String::new(),
        backends: vec!["x264".to_owned()],
        slots: 1,
    };
    store.register_worker(&worker).await.unwrap();
    let job = Uuid::now_v7();
    let ladder = serde_json::to_value(small_ladder()).unwrap();
    sqlx::query(
        "insert into touchline.jobs (id, organisation_id, state, source, ladder, home_region)
         values ($1, $2, 'running', '/none', $3, 'local')",
    )
    .bind(job)
    .bind(organisation)
    .bind(ladder)
    .execute(store.pool())
    .await
    .unwrap();
    for sql in [
        "insert into touchline.renditions (job_id, name, kind) values ($1, 'v180', 'video')",
        "insert into touchline.chunks (job_id, chunk, kind, state, position, end_segment)
         values ($1, 1, 'video', 'queued', 0, 1)",
    ] {
        sqlx::query(sql).bind(job).execute(store.pool()).await.unwrap();
    }
    let message = Message::new(job, 1, 1);
    let claim = match store.claim(&message, worker.id, "local", &worker.backends, LEASE).await.unwrap() {
        Claimed::Ours(claim) => claim,
        other => panic!("{other:?}"),
    };
    let file = NewFile {
        rendition: "v180",
        index: 0,
        uri: "seg_00000_a1.m4s",
        bytes: 9,
        first: 0,
        count: 150,
        seconds: 6.0,
        facts: serde_json::json!({}),
    };
    assert_eq!(store.commit_file(claim.id, &file).await.unwrap(), Commit::New);
    World { store, url, job, id: claim.id }
}

impl World {
    async fn complete(&self) -> Completed {
        let segments = Some((vec!["v180".to_owned()], 0, 1));
        self.store.complete(self.id, &Completion { segments, ..Completion::default() }).await.unwrap()
    }

    /// Holds up whoever deletes a segment, until the connection is dropped.
    async fn hold_up_deletes(&self) -> PgConnection {
        for sql in [
            "create function hold_up() returns trigger language plpgsql as
             'begin perform pg_advisory_xact_lock(7); return old; end'",
            "create trigger hold_up before delete on touchline.segments for each row execute function hold_up()",
        ] {
            sqlx::query(sql).execute(self.store.pool()).await.unwrap();
        }
        let mut gate = PgConnection::connect(&self.url).await.unwrap();
        sqlx::query("select pg_advisory_lock($1)").bind(GATE).execute(&mut gate).await.unwrap();
        gate
    }

    /// Waits until so many connections wait for locks.
    async fn waiting(&self, wanted: i64) {
        let until = Instant::now() + Duration::from_secs(30);
        loop {
            let count: i64 = sqlx::query_scalar(
                "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'",
            )
            .fetch_one(self.store.pool())
            .await
            .unwrap();
            if count == wanted {
                return;
            }
            assert!(Instant::now() < until, "{count} wait, not {wanted}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn chunk(&self) -> (String, i32) {
        let chunks = self.store.chunks(self.job).await.unwrap();
        (chunks[0].state.clone(), chunks[0].attempt)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chunk_is_not_completed_on_segments_that_a_quarantine_is_withdrawing() {
    let world = world().await;
    let gate = world.hold_up_deletes().await;
    world.store.quarantine(DEVICE, "wrong").await.unwrap();
    let (withdrawn, completed, ()) = tokio::join!(
        async { world.store.withdraw_suspect().await.unwrap().unwrap() },
        async {
            world.waiting(1).await;
            world.complete().await
        },
        async {
            world.waiting(2).await;
            gate.close().await.unwrap();
        }
    );
    assert_eq!((withdrawn.segments, completed), (1, Completed::SegmentsMissing));
    assert_eq!(world.chunk().await, ("running".to_owned(), 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_does_not_begin_to_be_published_on_segments_that_a_quarantine_is_withdrawing() {
    let world = world().await;
    assert_eq!(world.complete().await, Completed::Done);
    let gate = world.hold_up_deletes().await;
    world.store.quarantine(DEVICE, "wrong").await.unwrap();
    let (withdrawn, begun, ()) = tokio::join!(
        async { world.store.withdraw_suspect().await.unwrap().unwrap() },
        async {
            world.waiting(1).await;
            world.store.begin_publishing().await.unwrap()
        },
        async {
            world.waiting(2).await;
            gate.close().await.unwrap();
        }
    );
    assert_eq!((withdrawn.segments, begun), (1, 0));
    assert_eq!(world.chunk().await, ("waiting".to_owned(), 2));
    assert_eq!(world.store.job(world.job).await.unwrap().state, "running");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_plan_waits_for_the_publisher_of_the_first_who_then_finds_nothing() {
    let world = world().await;
    let ending = Ending::GaveUp { code: FailureCode::CopyImpossible, message: String::new() };
    assert!(world.store.end_attempt(world.id, 0, &ending).await.unwrap());
    let given_up = world.store.given_up(Patience::default()).await.unwrap().remove(0);
    let mut lock = world.store.lock_publication(world.job, 1).await.unwrap().unwrap();
    assert_eq!(lock.listed_segments("v180", 9).await.unwrap().len(), 1);
    let (replanned, ()) = tokio::join!(async { world.store.replan_without_copy(&given_up).await.unwrap() }, async {
        world.waiting(1).await;
        assert_eq!(lock.listed_segments("v180", 9).await.unwrap().len(), 1, "the plan is still its own");
        drop(lock);
    });
    assert!(replanned);
    assert!(world.store.lock_publication(world.job, 1).await.unwrap().is_none(), "that plan is no more");
    assert_eq!(world.store.job(world.job).await.unwrap().generation, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publisher_whose_connection_was_ended_reads_nothing_and_withdraws_no_promise() {
    let world = world().await;
    let lock = world.store.lock_publication(world.job, 1).await.unwrap().unwrap();
    let mut lock = lock.promise(1).await.unwrap().unwrap();
    assert_eq!((lock.listed, lock.promised), (0, 1));
    world.end_transactions().await;
    let error = lock.listed_segments("v180", 9).await.unwrap_err();
    assert!(error.is_transient(), "{error:?}");
    drop(lock);
    // What it may have listed stays, whatever proves faulty, and whoever comes next knows of it.
    assert_eq!(world.store.lock_publication(world.job, 1).await.unwrap().unwrap().promised, 1);
    world.store.quarantine(DEVICE, "wrong").await.unwrap();
    assert_eq!(world.store.withdraw_suspect().await.unwrap().unwrap().segments, 0);
    assert_eq!(world.complete().await, Completed::Done);
}

impl World {
    /// Gives the job a plan, which asks for more than its rows have: no init segment is recorded.
    async fn planned(&self) {
        sqlx::query("update touchline.jobs set plan = $2, end_frames = 150 where id = $1")
            .bind(self.job)
            .bind(serde_json::to_value(plan_of(150, &[180])).unwrap())
            .execute(self.store.pool())
            .await
            .unwrap();
    }

    /// Completes the chunk and has the job be published.
    async fn publishing(&self) {
        self.planned().await;
        assert_eq!(self.complete().await, Completed::Done);
        assert_eq!(self.store.begin_publishing().await.unwrap(), 1);
    }

    /// Ends whatever holds locks, as a restart of the server does.
    async fn end_transactions(&self) {
        sqlx::query(
            "select pg_terminate_backend(pid) from pg_stat_activity
             where datname = current_database() and state = 'idle in transaction'",
        )
        .execute(self.store.pool())
        .await
        .unwrap();
    }

    async fn state(&self) -> String {
        self.store.job(self.job).await.unwrap().state
    }
}

/// An empty store whose lists wait until they are let go.
#[derive(Debug, Default)]
struct HeldLists {
    asked: Notify,
    go: Notify,
}

#[async_trait]
impl ObjectStore for HeldLists {
    async fn put(&self, key: &str, _: Bytes, _: ObjectMeta, _: PutCondition) -> Result<ETag, ObjectError> {
        Err(ObjectError::Forbidden { key: key.to_owned() })
    }

    async fn put_file(&self, key: &str, _: &Path, _: ObjectMeta) -> Result<ETag, ObjectError> {
        Err(ObjectError::Forbidden { key: key.to_owned() })
    }

    async fn get(&self, key: &str, _: u64) -> Result<(Bytes, ETag), ObjectError> {
        Err(ObjectError::NotFound { key: key.to_owned() })
    }

    async fn get_range(&self, key: &str, _: u64, _: u64) -> Result<Bytes, ObjectError> {
        Err(ObjectError::NotFound { key: key.to_owned() })
    }

    async fn head(&self, _: &str) -> Result<Option<ObjectFacts>, ObjectError> {
        Ok(None)
    }

    async fn list(&self, _: &str, _: Option<&str>) -> Result<Vec<ObjectFacts>, ObjectError> {
        self.asked.notify_one();
        self.go.notified().await;
        Ok(Vec::new())
    }

    async fn delete(&self, _: &[String]) -> Result<(), ObjectError> {
        Ok(())
    }

    async fn abort_stale_uploads(&self, _: Duration) -> Result<u64, ObjectError> {
        Ok(0)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publisher_that_lost_its_lock_does_not_fail_the_next_try_of_its_job() {
    let world = world().await;
    world.publishing().await;
    let objects = Arc::new(HeldLists::default());
    let publisher = Publisher::new(world.store.clone(), objects.clone());
    let (changed, ()) = tokio::join!(async { publisher.turn().await.unwrap() }, async {
        objects.asked.notified().await;
        world.end_transactions().await;
        assert!(world.store.cancel(world.job).await.unwrap());
        world.store.retry(world.job).await.unwrap();
        assert_eq!(world.store.begin_publishing().await.unwrap(), 1);
        objects.go.notify_one();
    });
    assert_eq!((changed, world.state().await.as_str()), (0, "publishing"), "what it read was of the try before");
    // Whoever holds the lock all the time may judge.
    objects.go.notify_one();
    assert_eq!(publisher.turn().await.unwrap(), 1);
    let job = world.store.job(world.job).await.unwrap();
    assert_eq!((job.state.as_str(), job.failure_code.as_deref()), ("failed", Some("internal")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publisher_does_not_fail_a_job_that_was_cancelled_and_holds_up_its_next_try() {
    let world = world().await;
    world.publishing().await;
    let lock = world.store.lock_publication(world.job, 1).await.unwrap().unwrap();
    assert!(world.store.cancel(world.job).await.unwrap());
    let (failed, ()) = tokio::join!(
        async {
            world.waiting(1).await;
            lock.fail(FailureCode::Internal, "").await.unwrap()
        },
        async { world.store.retry(world.job).await.unwrap() }
    );
    assert!(!failed);
    assert_eq!(world.state().await, "running");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chunk_that_was_given_up_in_an_earlier_try_fails_no_later_one() {
    let world = world().await;
    world.planned().await;
    let ending = Ending::GaveUp { code: FailureCode::CopyImpossible, message: String::new() };
    assert!(world.store.end_attempt(world.id, 0, &ending).await.unwrap());
    let given_up = world.store.given_up(Patience::default()).await.unwrap().remove(0);
    assert!(world.store.cancel(world.job).await.unwrap());
    world.store.retry(world.job).await.unwrap();
    assert!(!world.store.fail_given_up(&given_up).await.unwrap());
    assert!(!world.store.replan_without_copy(&given_up).await.unwrap());
    assert_eq!((world.state().await.as_str(), world.chunk().await), ("running", ("waiting".to_owned(), 2)));
}
