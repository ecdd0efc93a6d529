//! The truth, in Postgres. All SQL of jobs, chunks and workers is here.
//!
//! Rules that hold for every statement:
//! - it names the state that it leaves and, for chunks, the attempt; what matches nothing changes nothing;
//! - time is the database's `now()`, so that no clock of a worker matters;
//! - no session state and no statement that outlives its transaction, so that a transaction pooler may stand between.
//!
//! Reading order: [`jobs`], [`work`] (what workers do), [`release`], [`rescue`], [`stragglers`], [`publication`], [`parts`],
//! [`workers`], [`capacity`] (machines), [`ledger`] (what they cost), [`guard`], [`retention`]; then what the API needs: [`tenant`] (one organisation's view),
//! [`organisations`], [`feed`], [`clips`], [`uploads`], [`inbox`], [`webhooks`].

mod advice;
pub mod capacity;
pub mod clips;
pub mod downloads;
pub mod feed;
pub mod guard;
pub mod inbox;
pub mod jobs;
pub mod ledger;
pub mod organisations;
pub mod parts;
pub mod publication;
pub mod release;
mod removal;
pub mod rescue;
pub mod retention;
mod statement;
pub mod stragglers;
pub mod tenant;
pub mod uploads;
pub mod webhooks;
pub mod work;
pub mod workers;

use std::str::FromStr;
use std::time::Duration;

use sqlx::migrate::MigrateError;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions, PgRow};
use sqlx::{ConnectOptions, FromRow, PgPool, SqlSafeStr};

use crate::fault::{Injected, call};
use crate::state::{ChunkEvent, ChunkState, Illegal, JobEvent, JobState};

use statement::Statement;

pub use statement::Transaction;
pub use tenant::Tenant;

/// The store. Clones share one pool of connections.
#[derive(Clone, Debug)]
pub struct Store {
    pool: PgPool,
    /// Statements get names and are kept for the next call: one round trip less. Not through a transaction pooler.
    named: bool,
}

/// How the store is reached.
#[derive(Clone, Debug)]
pub struct StoreOptions {
    /// `postgres://user:password@host:port/database`.
    pub url: String,
    /// Connections at most. A worker needs 4, a dispatcher 10.
    pub max_connections: u32,
    /// A transaction pooler (`PgBouncer`, Supavisor) stands between: no named prepared statements.
    pub pooler: bool,
    /// How long a call waits for a connection: 10 s.
    pub acquire_timeout: Duration,
    /// Shown by Postgres to its administrators.
    pub application: String,
}

impl StoreOptions {
    /// Usual options for a program.
    #[must_use]
    pub fn new(url: impl Into<String>, application: &str) -> Self {
        Self {
            url: url.into(),
            max_connections: 10,
            pooler: false,
            acquire_timeout: Duration::from_secs(10),
            application: application.to_owned(),
        }
    }
}

/// Why a store operation failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The address is not one.
    #[error("database address: {0}")]
    BadUrl(#[source] sqlx::Error),
    /// Postgres did not answer, restarts, or refuses connections; the same call may succeed later.
    #[error("database unavailable")]
    Unavailable(#[source] sqlx::Error),
    /// Postgres refused the statement.
    #[error("database")]
    Database(#[source] sqlx::Error),
    /// The schema is missing, older or newer than this program.
    #[error("database schema")]
    Migration(#[source] Box<MigrateError>),
    /// A row holds what this version cannot read.
    #[error("{what}: stored value cannot be read")]
    Unreadable {
        /// Column.
        what: &'static str,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// There is no such job.
    #[error("no job {0}")]
    NoJob(uuid::Uuid),
    /// There is no such organisation.
    #[error("no organisation {0}")]
    NoOrganisation(uuid::Uuid),
    /// There is no such tier.
    #[error("no tier {tier}; there are {known}")]
    NoTier {
        /// As given.
        tier: String,
        /// Those that there are.
        known: String,
    },
    /// The job's state does not allow it.
    #[error("job {id} is {state}: {reason}")]
    Conflict {
        /// Job.
        id: uuid::Uuid,
        /// Its state.
        state: String,
        /// Why not.
        reason: &'static str,
    },
}

impl StoreError {
    /// Whether the same call may succeed a moment later.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable(_))
    }
}

impl From<Injected> for StoreError {
    fn from(fault: Injected) -> Self {
        Self::Unavailable(fault.into())
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        use sqlx::Error as E;
        match &error {
            E::Io(_) | E::Tls(_) | E::PoolTimedOut | E::PoolClosed | E::WorkerCrashed | E::Protocol(_) => {
                Self::Unavailable(error)
            }
            // 08 connection, 40 serialisation and deadlock, 53 resources, 57P0x shutdown, 55P03 lock timeout,
            // 25P0x an idle transaction was ended.
            E::Database(db)
                if db.code().is_some_and(|code| {
                    ["08", "40", "53", "57P", "55P03", "25P"].iter().any(|prefix| code.starts_with(prefix))
                }) =>
            {
                Self::Unavailable(error)
            }
            _ => Self::Database(error),
        }
    }
}

impl Store {
    /// Prepares a pool; connections are made when needed.
    ///
    /// # Errors
    /// [`StoreError::BadUrl`].
    pub fn open(options: &StoreOptions) -> Result<Self, StoreError> {
        let mut connect = PgConnectOptions::from_str(&options.url)
            .map_err(StoreError::BadUrl)?
            .application_name(&options.application);
        if options.pooler {
            connect = connect.statement_cache_capacity(0);
        }
        let pool = PgPoolOptions::new()
            .max_connections(options.max_connections.max(1))
            .acquire_timeout(options.acquire_timeout)
            .idle_timeout(Duration::from_secs(60))
            .connect_lazy_with(connect);
        Ok(Self { pool, named: !options.pooler })
    }

    /// A statement that suits what stands between us and the server.
    #[track_caller]
    pub(crate) fn query<'q>(&self, sql: impl SqlSafeStr) -> Statement<'q, PgRow> {
        Statement::new(sqlx::query(sql).persistent(self.named), Ok)
    }

    /// As [`query`](Self::query), with rows that are read as `T`.
    #[track_caller]
    pub(crate) fn query_as<'q, T: Send + for<'r> FromRow<'r, PgRow>>(&self, sql: impl SqlSafeStr) -> Statement<'q, T> {
        Statement::new(sqlx::query(sql).persistent(self.named), |row| T::from_row(&row))
    }

    /// The pool, for what lives in the same database beside the store.
    #[must_use]
    pub fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// Answers when the database does.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn ping(&self) -> Result<(), StoreError> {
        self.query("select 1").execute(&self.pool).await?;
        Ok(())
    }

    /// Brings the schema to this version.
    ///
    /// # Errors
    /// [`StoreError::Migration`].
    pub async fn migrate(&self) -> Result<(), StoreError> {
        let mut migrator = sqlx::migrate!("./migrations");
        migrator.create_schema("touchline");
        migrator.dangerous_set_table_name("touchline._migrations");
        let run = async {
            // Whole files as slow statements, in the log of a busy machine's first start, help nobody.
            let options = PgConnectOptions::clone(&self.pool.connect_options()).disable_statement_logging();
            let patience = self.pool.options().get_acquire_timeout();
            let quiet = PgPoolOptions::new().max_connections(1).acquire_timeout(patience).connect_lazy_with(options);
            let done = migrator.run(&quiet).await;
            quiet.close().await;
            done.map_err(|error| match error {
                MigrateError::Execute(error) => error.into(),
                error => StoreError::Migration(Box::new(error)),
            })
        };
        call("database.migrate", run).await
    }
}

impl Store {
    /// Makes a database when there is none of this name.
    ///
    /// # Errors
    /// This login may not.
    pub async fn ensure_database(&self, name: &str) -> Result<(), StoreError> {
        let (sql,): (Option<String>,) = self
            .query_as(
                "select case when exists (select from pg_database where datname = $1) then null
                else format('create database %I', $1::text) end",
            )
            .bind(name)
            .fetch_one(&self.pool)
            .await?;
        if let Some(sql) = sql {
            // The name was quoted by Postgres itself.
            self.query(sqlx::AssertSqlSafe(sql)).execute(&self.pool).await?;
        }
        Ok(())
    }

    /// Makes a login with this password that may work as a worker, or sets the password of the one that is there.
    /// Tells whether it was there.
    ///
    /// # Errors
    /// This login may not.
    pub async fn ensure_worker_login(&self, login: &str, password: &str) -> Result<bool, StoreError> {
        let (exists, sql): (bool, String) = self
            .query_as(
                "select exists (select from pg_roles where rolname = $1),
                format(case when exists (select from pg_roles where rolname = $1) then 'alter' else 'create' end
                    || ' role %I login password %L', $1::text, $2::text)",
            )
            .bind(login)
            .bind(password)
            .fetch_one(&self.pool)
            .await?;
        // Name and password were quoted by Postgres itself.
        self.query(sqlx::AssertSqlSafe(sql)).execute(&self.pool).await?;
        self.grant_worker(login).await?;
        Ok(exists)
    }

    /// Lets a login work as a worker, and do no more.
    ///
    /// # Errors
    /// There is no such login, or this one may not grant.
    pub async fn grant_worker(&self, login: &str) -> Result<(), StoreError> {
        let (sql,): (String,) = self
            .query_as("select format('grant touchline_worker to %I', $1::text)")
            .bind(login)
            .fetch_one(&self.pool)
            .await?;
        // The name was quoted by Postgres itself.
        self.query(sqlx::AssertSqlSafe(sql)).execute(&self.pool).await?;
        Ok(())
    }
}

/// A step of a machine, checked when this is compiled: a statement cannot name a step that does not exist.
#[derive(Clone, Copy)]
struct Edge {
    from: &'static str,
    to: &'static str,
}

impl Edge {
    const fn chunk(from: ChunkState, event: ChunkEvent) -> Self {
        match from.after(event) {
            Ok(to) => Self { from: from.as_str(), to: to.as_str() },
            Err(_) => panic!("no such step of a chunk"),
        }
    }

    const fn job(from: JobState, event: JobEvent) -> Self {
        match Self::of_job(from, event) {
            Ok(edge) => edge,
            Err(_) => panic!("no such step of a job"),
        }
    }

    /// A step from a state that is known only when it is read.
    const fn of_job(from: JobState, event: JobEvent) -> Result<Self, Illegal> {
        match from.after(event) {
            Ok(to) => Ok(Self { from: from.as_str(), to: to.as_str() }),
            Err(illegal) => Err(illegal),
        }
    }
}

/// Seconds as Postgres takes them.
fn seconds(duration: Duration) -> f64 {
    duration.as_secs_f64()
}

/// Frame and sample counts as Postgres keeps them.
fn signed(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

fn unsigned(n: i64) -> u64 {
    u64::try_from(n).unwrap_or(0)
}

fn read_json<T: serde::de::DeserializeOwned>(what: &'static str, value: serde_json::Value) -> Result<T, StoreError> {
    serde_json::from_value(value).map_err(|source| StoreError::Unreadable { what, source })
}

fn to_json<T: serde::Serialize>(what: &'static str, value: &T) -> Result<serde_json::Value, StoreError> {
    serde_json::to_value(value).map_err(|source| StoreError::Unreadable { what, source })
}
