//! The store in memory does what the statements in Postgres do: random operations on both, at one clock, and every answer
//! and every row the same.
//!
//! Postgres is given that clock: a function `now()` that is found before its own, by statements and by defaults of columns.

mod operation;
mod rows;

use std::collections::BTreeMap;

use fleet::store::{Store, StoreOptions};
use uuid::Uuid;

use super::film::Film;
use super::memory::{Memory, Ms};
use super::objects::moment;

/// A store of each kind.
struct Both {
    sql: Store,
    memory: Memory,
    random: fastrand::Rng,
    organisations: Vec<Uuid>,
    workers: Vec<(Uuid, String)>,
    /// Attempts that somebody holds or held.
    attempts: Vec<fleet::store::work::AttemptId>,
    /// Films of the plans that were stored.
    films: BTreeMap<Uuid, Film>,
    locks: u64,
}

/// Runs `steps` random operations on an empty database at `url` and in memory; the first difference is told.
///
/// # Errors
/// What differs, and after which operations.
///
/// # Panics
/// The database does not answer.
pub async fn compare(url: &str, seed: u64, steps: u32) -> Result<(), String> {
    let plain = Store::open(&StoreOptions::new(url, "equivalence")).expect("an address");
    for sql in [
        "create schema clock",
        "create table clock.present (at timestamptz not null)",
        "insert into clock.present values ('epoch')",
        "create function clock.now() returns timestamptz stable language sql as 'select at from clock.present'",
    ] {
        sqlx::query(sql).execute(plain.pool()).await.expect("a clock");
    }
    let (name,): (String,) =
        sqlx::query_as("select current_database()").fetch_one(plain.pool()).await.expect("a database");
    let first = format!("alter database \"{name}\" set search_path = clock, pg_catalog, public");
    sqlx::query(sqlx::AssertSqlSafe(first)).execute(plain.pool()).await.expect("a search path");
    let sql = Store::open(&StoreOptions::new(url, "equivalence")).expect("an address");
    sql.migrate().await.expect("a schema");
    let mut both = Both {
        sql,
        memory: Memory::new(None),
        random: fastrand::Rng::with_seed(seed),
        organisations: Vec::new(),
        workers: Vec::new(),
        attempts: Vec::new(),
        films: BTreeMap::new(),
        locks: 0,
    };
    both.set_up().await;
    let mut done: Vec<String> = Vec::new();
    for _ in 0..steps {
        let told = both.step().await;
        let difference = match told {
            Ok(what) => {
                done.push(what);
                both.differing_row().await
            }
            Err(difference) => Some(difference),
        };
        if let Some(difference) = difference {
            let last = done.len().saturating_sub(12);
            return Err(format!(
                "seed {seed}, step {}: {difference}\nbefore:\n{}",
                done.len(),
                done[last..].join("\n")
            ));
        }
    }
    Ok(())
}

impl Both {
    /// Moves the clock of both.
    async fn advance(&mut self, ms: Ms) {
        self.memory.now += ms;
        sqlx::query("update clock.present set at = $1")
            .bind(moment(self.memory.now))
            .execute(self.sql.pool())
            .await
            .expect("the clock");
    }

    async fn set_up(&mut self) {
        self.advance(1_000_000).await;
        for (name, weight) in [("a", 1), ("b", 3)] {
            let id = self.sql.ensure_organisation(name, weight).await.expect("an organisation");
            self.memory.organisations.insert(id, weight.unsigned_abs());
            self.organisations.push(id);
        }
        for region in ["0", "1"] {
            self.sql.note_region(region, None).await.expect("a region");
            self.memory.note_region(region, None);
        }
    }
}
