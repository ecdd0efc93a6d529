//! What a person can do about an error of the store.

use super::StoreError;

impl StoreError {
    /// What to do, where more is known than the error says itself.
    #[must_use]
    pub fn advice(&self) -> Option<&'static str> {
        match self {
            Self::Unavailable(_) => {
                Some("check that Postgres runs, and its address (TOUCHLINE_DATABASE_URL, or url under [database])")
            }
            Self::BadUrl(_) => Some("give postgres://user:password@host:port/database"),
            Self::Database(_) if self.is_refused_login() => Some(
                "check user, password and database in its address (TOUCHLINE_DATABASE_URL, or url under [database])",
            ),
            // No such table, column or schema.
            Self::Database(_) if self.has_code(&["42P01", "42703", "3F000"]) => {
                Some("bring the schema to this version with `dispatcher migrate`")
            }
            Self::Database(_) if self.has_code(&["42501"]) => Some("give a login that may do this"),
            _ => None,
        }
    }

    /// Whether the server knows neither login nor database: no later try helps.
    #[must_use]
    pub fn is_refused_login(&self) -> bool {
        self.has_code(&["28000", "28P01", "3D000"])
    }

    /// Codes are those of the `PostgreSQL` manual, appendix A.
    fn has_code(&self, codes: &[&str]) -> bool {
        let Self::Database(sqlx::Error::Database(error)) = self else { return false };
        error.code().is_some_and(|code| codes.contains(&code.as_ref()))
    }
}
