//! Lists, a page at a time.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::problem::Problem;

const USUAL: u32 = 30;
const MOST: u32 = 100;

/// A page of a list.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Page<T> {
    /// What is on it.
    pub items: Vec<T>,
    /// Gives the next page as `cursor`; null on the last one.
    #[schema(required)]
    pub next_cursor: Option<String>,
}

/// A list that comes whole.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Items<T> {
    /// What is in it.
    pub items: Vec<T>,
}

/// Which page.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Paging {
    /// Items on a page, 1 to 100.
    #[param(minimum = 1, maximum = 100, default = 30)]
    pub limit: Option<u32>,
    /// From the page before.
    pub cursor: Option<String>,
}

impl Paging {
    /// Items on the page.
    pub fn limit(&self) -> Result<u32, Problem> {
        match self.limit {
            None => Ok(USUAL),
            Some(n) if (1..=MOST).contains(&n) => Ok(n),
            Some(_) => Err(Problem::invalid("limit", format!("give 1 to {MOST}"))),
        }
    }

    /// The place in a list by time after which the page begins.
    pub fn after_time(&self) -> Result<Option<(OffsetDateTime, Uuid)>, Problem> {
        let Some(text) = self.text()? else { return Ok(None) };
        let read = || {
            let (nanos, id) = text.split_once('_')?;
            let at = OffsetDateTime::from_unix_timestamp_nanos(nanos.parse().ok()?).ok()?;
            Some((at, id.parse().ok()?))
        };
        read().map(Some).ok_or_else(bad_cursor)
    }

    /// The text after which the page begins.
    pub fn text(&self) -> Result<Option<String>, Problem> {
        let Some(cursor) = &self.cursor else { return Ok(None) };
        let bytes = URL_SAFE_NO_PAD.decode(cursor).map_err(|_| bad_cursor())?;
        String::from_utf8(bytes).map(Some).map_err(|_| bad_cursor())
    }
}

fn bad_cursor() -> Problem {
    Problem::invalid("cursor", "use the next_cursor of the page before")
}

/// The cursor of a text.
pub(super) fn cursor(text: &str) -> String {
    URL_SAFE_NO_PAD.encode(text)
}

impl<T> Page<T> {
    /// A page of rows that were asked for with one more than `limit`; `cursor_of` names the last that is shown.
    pub(super) fn of(mut rows: Vec<T>, limit: u32, cursor_of: impl Fn(&T) -> String) -> Self {
        let limit = limit as usize;
        let has_more = rows.len() > limit;
        rows.truncate(limit);
        let next_cursor = rows.last().filter(|_| has_more).map(|last| cursor(&cursor_of(last)));
        Self { items: rows, next_cursor }
    }
}

/// Names a row of a list by time.
pub(super) fn by_time(at: OffsetDateTime, id: Uuid) -> String {
    format!("{}_{id}", at.unix_timestamp_nanos())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_leads_on_after_the_last_item_and_the_last_page_has_none() {
        let rows: Vec<(OffsetDateTime, Uuid)> = (0..3_u8)
            .map(|n| (OffsetDateTime::UNIX_EPOCH + time::Duration::hours(i64::from(n)), Uuid::from_u128(u128::from(n))))
            .collect();
        let page = Page::of(rows.clone(), 2, |r| by_time(r.0, r.1));
        assert_eq!(page.items.len(), 2);
        let paging = Paging { limit: None, cursor: page.next_cursor };
        assert_eq!(paging.after_time().unwrap(), Some(rows[1]));
        assert_eq!(Page::of(rows, 3, |r| by_time(r.0, r.1)).next_cursor, None);
    }

    #[test]
    fn a_made_up_cursor_is_refused() {
        for cursor in ["!", "", "AAAA", "eA"] {
            let paging = Paging { limit: None, cursor: Some(cursor.to_owned()) };
            assert!(paging.after_time().is_err(), "{cursor}");
        }
    }
}
