//! The store in memory against the one in Postgres.
