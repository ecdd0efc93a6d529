//! The sweep, on real Postgres and a folder: what it leaves, and what it takes when a sweep died or a write came late.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use dispatcher::sweep::{Retention, sweep_once};
use fleet::keys;
use fleet::objects::{FolderStore, ObjectStore, PutCondition, meta_for};
use fleet::store::{Store, StoreOptions};
use stories::fleet_processes::new_job;
use stories::services::Postgres;
use tempfile::TempDir;
use uuid::Uuid;

/// A job that was cancelled.
struct Cancelled {
    store: Store,
    objects: Arc<dyn ObjectStore>,
    organisation: Uuid,
    job: Uuid,
    _dir: TempDir,
}

async fn cancelled() -> Cancelled {
    let store = Store::open(&StoreOptions::new(Postgres::shared().create_database(), "story")).unwrap();
    store.migrate().await.unwrap();
    let organisation = store.ensure_organisation("a", 1).await.unwrap();
    let new = new_job(organisation);
    let job = store.submit(&new).await.unwrap();
    assert!(store.cancel(job).await.unwrap());
    let dir = TempDir::new().unwrap();
    let objects = Arc::new(FolderStore::open(dir.path()).unwrap());
    Cancelled { store, objects, organisation, job, _dir: dir }
}

impl Cancelled {
    async fn sql(&self, sql: &'static str) {
        sqlx::query(sql).bind(self.job).execute(self.store.pool()).await.unwrap();
    }

    /// Writes an object of a plan of the job.
    async fn put(&self, generation: i32, name: &str) -> String {
        let key = format!("{}{name}", keys::job_prefix(self.organisation, self.job, generation));
        self.objects.put(&key, Bytes::from_static(b"x"), meta_for(&key), PutCondition::Always).await.unwrap();
        key
    }

    async fn sweep(&self, retention: Retention) -> u64 {
        sweep_once(&self.store, &self.objects, &retention).await.unwrap().objects
    }

    async fn left(&self) -> Vec<String> {
        let root = keys::job_prefix(self.organisation, self.job, 1);
        self.objects.list(&root, None).await.unwrap().into_iter().map(|object| object.key).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_of_a_job_whose_rows_are_gone_go_whatever_dies_and_whatever_comes_late() {
    let it = cancelled().await;
    it.put(1, "v180/seg_00000_a1.m4s").await;
    it.put(2, "v180/init_x.mp4").await;
    // A sweep that died when the rows were gone.
    assert_eq!(it.store.delete_old_jobs(Duration::ZERO, 10).await.unwrap(), 1);
    assert!(it.store.job(it.job).await.is_err());

    assert_eq!(it.sweep(Retention::default()).await, 2);
    assert!(it.left().await.is_empty());
    it.put(1, "v180/watch.m3u8").await;
    it.sql("update touchline.removed_jobs set removed_at = now() - interval '61 minutes' where id = $1").await;
    assert_eq!(it.sweep(Retention::default()).await, 1);
    assert!(it.left().await.is_empty());
    assert!(it.store.removed_jobs(Duration::ZERO, 10).await.unwrap().is_empty(), "nothing can come any more");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_is_swept_early_is_swept_again_and_a_replaced_plan_goes_when_no_playlist_of_it_can_come() {
    let it = cancelled().await;
    it.sql("update touchline.jobs set generation = 2 where id = $1").await;
    let replaced = it.put(1, "v180/seg_00000_a1.m4s").await;
    it.put(2, "v180/seg_00000_a2.m4s").await;
    let shared = it.put(2, "v180/watch.m3u8").await;
    let early = Retention { orphans: Duration::ZERO, ..Retention::default() };
    assert_eq!(it.sweep(early).await, 1);
    assert_eq!(it.left().await, [shared.as_str(), replaced.as_str()]);

    // What was under way when the plan was replaced, and when the job ended: the one names what is there.
    it.put(1, "v180/watch.m3u8").await;
    it.put(2, "v180/seg_00001_a2.m4s").await;
    it.sql("update touchline.jobs set finished_at = now() - interval '61 minutes' where id = $1").await;
    assert_eq!(it.sweep(early).await, 3);
    assert_eq!(it.left().await, [shared], "the next try writes it again");
    assert_eq!(it.sweep(early).await, 0);
    assert!(it.store.unswept(Duration::ZERO, Duration::ZERO, 10).await.unwrap().is_empty());
}
