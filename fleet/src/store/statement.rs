//! The ways to the database: statements and transactions. Each passes a fault point that is named by the place in the
//! source where it was made, so that nothing else need be said there.

use std::ops::{Deref, DerefMut};
use std::panic::Location;

use sqlx::postgres::{PgArguments, PgQueryResult, PgRow};
use sqlx::query::{Query, QueryAs};
use sqlx::{Encode, Error, Executor, FromRow, PgConnection, PgTransaction, Postgres, Type};

use super::{Store, StoreError};
use crate::fault::{Site, at};

/// A statement that is sent when it is executed or fetched.
#[must_use = "it was not sent"]
pub(crate) struct Statement<Q> {
    query: Q,
    place: &'static Location<'static>,
}

impl<Q> Statement<Q> {
    #[track_caller]
    pub(super) fn new(query: Q) -> Self {
        Self { query, place: Location::caller() }
    }

    fn site(&self) -> Site<'static> {
        Site::Statement(self.place, "")
    }
}

impl<'q> Statement<Query<'q, Postgres, PgArguments>> {
    pub(crate) fn bind<'t, T: Encode<'t, Postgres> + Type<Postgres>>(self, value: T) -> Self {
        Self { query: self.query.bind(value), place: self.place }
    }

    pub(crate) async fn execute<'e, 'c: 'e, E>(self, executor: E) -> Result<PgQueryResult, Error>
    where
        'q: 'e,
        E: 'e + Executor<'c, Database = Postgres>,
    {
        at(self.site(), self.query.execute(executor)).await
    }

    pub(crate) async fn fetch_one<'e, 'c: 'e, E>(self, executor: E) -> Result<PgRow, Error>
    where
        'q: 'e,
        E: 'e + Executor<'c, Database = Postgres>,
    {
        at(self.site(), self.query.fetch_one(executor)).await
    }

    pub(crate) async fn fetch_optional<'e, 'c: 'e, E>(self, executor: E) -> Result<Option<PgRow>, Error>
    where
        'q: 'e,
        E: 'e + Executor<'c, Database = Postgres>,
    {
        at(self.site(), self.query.fetch_optional(executor)).await
    }

    pub(crate) async fn fetch_all<'e, 'c: 'e, E>(self, executor: E) -> Result<Vec<PgRow>, Error>
    where
        'q: 'e,
        E: 'e + Executor<'c, Database = Postgres>,
    {
        at(self.site(), self.query.fetch_all(executor)).await
    }
}

impl<'q, O> Statement<QueryAs<'q, Postgres, O, PgArguments>>
where
    O: Send + Unpin + for<'r> FromRow<'r, PgRow>,
{
    pub(crate) fn bind<T: 'q + Encode<'q, Postgres> + Type<Postgres>>(self, value: T) -> Self {
        Self { query: self.query.bind(value), place: self.place }
    }

    pub(crate) async fn fetch_one<'e, 'c: 'e, E>(self, executor: E) -> Result<O, Error>
    where
        'q: 'e,
        O: 'e,
        E: 'e + Executor<'c, Database = Postgres>,
    {
        at(self.site(), self.query.fetch_one(executor)).await
    }

    pub(crate) async fn fetch_optional<'e, 'c: 'e, E>(self, executor: E) -> Result<Option<O>, Error>
    where
        'q: 'e,
        O: 'e,
        E: 'e + Executor<'c, Database = Postgres>,
    {
        at(self.site(), self.query.fetch_optional(executor)).await
    }

    pub(crate) async fn fetch_all<'e, 'c: 'e, E>(self, executor: E) -> Result<Vec<O>, Error>
    where
        'q: 'e,
        O: 'e,
        E: 'e + Executor<'c, Database = Postgres>,
    {
        at(self.site(), self.query.fetch_all(executor)).await
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
