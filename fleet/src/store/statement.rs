//! The ways to the database: statements and transactions. Each passes a fault point that is named by the place in the
//! source where it was made, so that nothing else need be said there.

use std::ops::{Deref, DerefMut};
use std::panic::Location;

use sqlx::postgres::{PgArguments, PgQueryResult, PgRow};
use sqlx::query::Query;
use sqlx::{Encode, Error, Executor, PgConnection, PgTransaction, Postgres, Type};

use super::{Store, StoreError};
use crate::fault::{Site, at};

/// A statement that is sent when it is executed or fetched, and answers with rows of `T`.
#[must_use = "it was not sent"]
pub(crate) struct Statement<'q, T> {
    query: Query<'q, Postgres, PgArguments>,
    read: fn(PgRow) -> Result<T, Error>,
    place: &'static Location<'static>,
}

impl<'q, T: Send> Statement<'q, T> {
    #[track_caller]
    pub(super) fn new(query: Query<'q, Postgres, PgArguments>, read: fn(PgRow) -> Result<T, Error>) -> Self {
        Self { query, read, place: Location::caller() }
    }

    fn site(&self) -> Site<'static> {
        Site::Statement(self.place, "")
    }

    pub(crate) fn bind<'t, V: Encode<'t, Postgres> + Type<Postgres>>(self, value: V) -> Self {
        Self { query: self.query.bind(value), ..self }
    }

    pub(crate) async fn execute<'e, 'c: 'e, E>(self, executor: E) -> Result<PgQueryResult, Error>
    where
        'q: 'e,
        T: 'e,
        E: 'e + Executor<'c, Database = Postgres>,
    {
        at(self.site(), self.query.execute(executor)).await
    }

    pub(crate) async fn fetch_one<'e, 'c: 'e, E>(self, executor: E) -> Result<T, Error>
    where
        'q: 'e,
        T: 'e,
        E: 'e + Executor<'c, Database = Postgres>,
    {
        at(self.site(), self.query.fetch_one(executor)).await.and_then(self.read)
    }

    pub(crate) async fn fetch_optional<'e, 'c: 'e, E>(self, executor: E) -> Result<Option<T>, Error>
    where
        'q: 'e,
        T: 'e,
        E: 'e + Executor<'c, Database = Postgres>,
    {
        at(self.site(), self.query.fetch_optional(executor)).await?.map(self.read).transpose()
    }

    pub(crate) async fn fetch_all<'e, 'c: 'e, E>(self, executor: E) -> Result<Vec<T>, Error>
    where
        'q: 'e,
        T: 'e,
        E: 'e + Executor<'c, Database = Postgres>,
    {
        at(self.site(), self.query.fetch_all(executor)).await?.into_iter().map(self.read).collect()
    }
}

/// A transaction; rolled back when it is dropped.
#[derive(Debug)]
pub struct Transaction(PgTransaction<'static>);

impl Transaction {
    /// Commits. When the answer is lost, whether it is committed is not known.
    ///
    /// # Errors
    /// The database does not answer, or refuses.
    #[track_caller]
    pub fn commit(self) -> impl Future<Output = Result<(), Error>> + Send {
        at(Site::Statement(Location::caller(), " commit"), self.0.commit())
    }

    /// Rolls back.
    ///
    /// # Errors
    /// The database does not answer.
    #[track_caller]
    pub fn rollback(self) -> impl Future<Output = Result<(), Error>> + Send {
        at(Site::Statement(Location::caller(), " rollback"), self.0.rollback())
    }
}

impl Deref for Transaction {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.0
    }
}

impl DerefMut for Transaction {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.0
    }
}

impl Store {
    /// Begins a transaction.
    #[track_caller]
    pub(crate) fn begin(&self) -> impl Future<Output = Result<Transaction, StoreError>> + Send {
        let place = Location::caller();
        let pool = self.pool.clone();
        async move { Ok(Transaction(at(Site::Statement(place, " begin"), pool.begin()).await?)) }
    }
}
