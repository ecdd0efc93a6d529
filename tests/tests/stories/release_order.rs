//! The fair order that the simulator uses is the one that the store's SQL gives.

use std::collections::BTreeMap;

use capacity::moment::Moment;
use capacity::release_order::{ActiveJob, WaitingChunk, order};
use fleet::store::rescue::Patience;
use fleet::store::{Store, StoreOptions};
use stories::fleet_processes::new_job;
use stories::services::Postgres;

/// 2026-06-01, milliseconds.
const NOON: i64 = 1_780_315_200_000;

#[tokio::test]
async fn the_sql_and_the_pure_function_release_the_same_chunks_in_the_same_order() {
    let store = Store::open(&StoreOptions::new(Postgres::shared().create_database(), "story")).unwrap();
    store.migrate().await.unwrap();
    for seed in 0..12_u64 {
        let mut random = fastrand::Rng::with_seed(seed);
        sqlx::query("delete from touchline.jobs").execute(store.pool()).await.unwrap();
        for (weight, stops) in [(1, "new_jobs"), (2, "all")] {
            let club = store.ensure_organisation(&format!("club {weight}"), weight).await.unwrap();
            store.set_cap(club, Some(1_000_000)).await.unwrap();
            store.note_capped(club, 1_000_000, Some(stops), &serde_json::json!({})).await.unwrap();
        }
        let (active, busy) = fill(&store, &mut random).await;
        for limit in [1, 7, 40, 200] {
            let released = store.candidates(limit, Patience::default()).await.unwrap();
            let released: Vec<_> = released.into_iter().map(|c| (c.job, c.chunk)).collect();
            assert_eq!(released, order(&active, &busy, limit as usize), "seed {seed}, limit {limit}");
        }
    }
}

/// Jobs of three organisations with chunks in all states, in the store and as the pure function sees them.
async fn fill(store: &Store, random: &mut fastrand::Rng) -> (Vec<ActiveJob>, BTreeMap<uuid::Uuid, u64>) {
    let mut active = Vec::new();
    let mut busy = BTreeMap::new();
    for n in 0..random.i64(1..30) {
        let weight = random.u32(1..4);
        let organisation = store.ensure_organisation(&format!("club {weight}"), weight.cast_signed()).await.unwrap();
        let job = new_job(organisation);
        let id = store.submit(&job).await.unwrap();
        // The first organisation's cap holds some jobs back, the second one's all, the third has none.
        let admitted = random.bool();
        if admitted {
            store.admit(&[id]).await.unwrap();
        }
        let held = weight == 2 || (weight == 1 && !admitted);
        let created = NOON + n / 3;
        let ready_by = random.bool().then(|| NOON + 3_600_000 * random.i64(1..4));
        let focus_segment = if random.u32(..4) == 0 { random.i64(0..60) } else { 0 };
        sqlx::query(
            "update touchline.jobs set state = 'running', created_at = to_timestamp($2::float8 / 1000),
                ready_by = to_timestamp($3::float8 / 1000), focus_segment = $4 where id = $1",
        )
        .bind(id)
        .bind(created as f64)
        .bind(ready_by.map(|at| at as f64))
        .bind(focus_segment)
        .execute(store.pool())
        .await
        .unwrap();
        sqlx::query("delete from touchline.chunks where job_id = $1").bind(id).execute(store.pool()).await.unwrap();
        let mut waiting = Vec::new();
        for chunk in 1..=random.i32(1..25) {
            let state = *random.choice(&["waiting", "waiting", "waiting", "queued", "done"]).unwrap();
            let is_sound = chunk == 1 && random.bool();
            let (kind, first_segment) = if is_sound { ("audio", 0) } else { ("video", i64::from(chunk) * 4) };
            sqlx::query(
                "insert into touchline.chunks (job_id, chunk, kind, state, position, first_segment)
                 values ($1, $2, $3, $4, $5, $6)",
            )
            .bind(id)
            .bind(chunk)
            .bind(kind)
            .bind(state)
            .bind(i64::from(chunk))
            .bind(first_segment)
            .execute(store.pool())
            .await
            .unwrap();
            match state {
                "waiting" => waiting.push(WaitingChunk {
                    chunk,
                    position: i64::from(chunk),
                    first_segment: (!is_sound).then_some(first_segment),
                }),
                "queued" => *busy.entry(organisation).or_insert(0) += 1,
                _ => {}
            }
        }
        active.push(ActiveJob {
            job: id,
            organisation,
            weight,
            ready_by: ready_by.map(Moment),
            created: Moment(created),
            focus_segment,
            held,
            waiting,
        });
    }
    (active, busy)
}
