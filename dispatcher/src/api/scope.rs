//! What a caller may do.

use serde::{Deserialize, Serialize};
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use super::problem::Problem;

macro_rules! scopes {
    ($($(#[$doc:meta])* $name:ident = $text:literal),* $(,)?) => {
        /// Something that a key may be allowed to do.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        pub enum Scope { $($(#[$doc])* #[serde(rename = $text)] $name),* }

        impl Scope {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// The stable word.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text),* }
            }
        }
    };
}

scopes! {
    /// See jobs, their events and clips, and play them.
    JobsRead = "jobs:read",
    /// Make, rename, cancel, retry, delete jobs.
    JobsWrite = "jobs:write",
    /// Upload.
    UploadsWrite = "uploads:write",
    /// Make, rename and delete clips, share.
    ClipsWrite = "clips:write",
    /// Manage webhooks.
    Webhooks = "webhooks",
    /// Manage keys, see the audit log.
    Keys = "keys",
    /// See usage.
    UsageRead = "usage:read",
    /// Operate the fleet: every organisation's jobs, workers, organisations.
    Ops = "ops",
}

// Not derived: the words come from the macro, where a derive does not see them.
impl PartialSchema for Scope {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .description(Some("Something that a key may be allowed to do."))
            .enum_values(Some(Self::ALL.iter().map(|scope| scope.as_str())))
            .into()
    }
}

impl ToSchema for Scope {}

impl Scope {
    /// What a key of an organisation has when nothing else is said: everything but operating the fleet.
    pub fn usual() -> Vec<Self> {
        Self::ALL.iter().copied().filter(|s| *s != Self::Ops).collect()
    }

    /// Reads the stable word.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|s| s.as_str() == word)
    }

    /// Reads scopes as people write them; `all` is all but `ops`.
    pub fn list(words: &[String]) -> Result<Vec<Self>, Problem> {
        let mut scopes = Vec::new();
        for word in words {
            match Self::from_word(word) {
                Some(scope) => scopes.push(scope),
                None if word == "all" => scopes.extend(Self::usual()),
                None => {
                    let known: Vec<&str> = Self::ALL.iter().map(|s| s.as_str()).collect();
                    return Err(Problem::invalid("scopes", format!("no scope {word}; there are {}", known.join(", "))));
                }
            }
        }
        scopes.sort_unstable();
        scopes.dedup();
        Ok(scopes)
    }
}
