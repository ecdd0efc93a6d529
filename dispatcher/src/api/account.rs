//! What a caller may know of itself: its organisation, limits, usage, audit log.

use std::fmt::Write as _;

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use capacity::budget::{CAP_REACHED, FOR_COACH};
use capacity::money::MicroDollars;
use fleet::store::ledger::{Charge, JobCost};
use fleet::store::organisations::{Limits, OrganisationRow};
use fleet::store::tenant::AuditRow;
use serde::{Deserialize, Serialize};
use time::{Date, Month, OffsetDateTime};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::Shared;
use super::caller::Caller;
use super::input::Ask;
use super::money::{Format, csv_file, wants_csv};
use super::page::{Page, Paging};
use super::problem::Problem;
use super::scope::Scope;
use crate::ledger::open_charges;
use crate::receipt::field;

/// An organisation.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Organisation {
    /// Id.
    pub id: Uuid,
    /// Name.
    pub name: String,
    /// Tier, which sets its limits.
    pub tier: String,
    /// Share of the fleet when others wait too, 1 to 1000.
    pub weight: i32,
    /// What it may spend in a calendar month (UTC), in millionths of a US dollar; null: no cap.
    #[schema(required)]
    pub monthly_cap_micros: Option<i64>,
    /// When it came.
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
}

impl From<OrganisationRow> for Organisation {
    fn from(row: OrganisationRow) -> Self {
        Self {
            id: row.id,
            name: row.name,
            tier: row.tier,
            weight: row.weight,
            monthly_cap_micros: row.cap_micros,
            created_at: row.created_at,
        }
    }
}

/// What an organisation may use; null: no limit.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub struct AccountLimits {
    /// Jobs at work at once; more wait.
    #[schema(required)]
    pub concurrent_jobs: Option<i32>,
    /// Source minutes a calendar month (UTC).
    #[schema(required)]
    pub minutes_a_month: Option<i32>,
    /// Bytes that are kept.
    #[schema(required)]
    pub storage_bytes: Option<i64>,
    /// Bytes of one upload.
    #[schema(required)]
    pub largest_file_bytes: Option<i64>,
}

impl From<Limits> for AccountLimits {
    fn from(limits: Limits) -> Self {
        Self {
            concurrent_jobs: limits.concurrent_jobs,
            minutes_a_month: limits.minutes_a_month,
            storage_bytes: limits.storage_bytes,
            largest_file_bytes: limits.largest_file_bytes,
        }
    }
}

/// The key that calls; null for a platform's token.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct CallingKey {
    /// Id.
    pub id: Uuid,
    /// What it may do.
    pub scopes: Vec<Scope>,
}

/// What is used now.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct CurrentUsage {
    /// Source minutes of this month.
    pub minutes_this_month: f64,
    /// Bytes that are kept.
    pub storage_bytes: i64,
    /// Jobs that have not ended.
    pub active_jobs: i64,
    /// What machines of this month cost, those that still run included, in millionths of a US dollar.
    pub cost_this_month_micros: i64,
    /// What the monthly cap stops; null while it stops nothing.
    #[schema(required)]
    pub cap: Option<CapStop>,
}

/// A monthly cap that stops jobs.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct CapStop {
    /// Always `cap_reached`.
    #[schema(example = "cap_reached")]
    pub code: String,
    /// `new_jobs`: those that were begun go on; `all`: whatever is not at work waits.
    pub stops: String,
    /// For a coach.
    pub message: String,
    /// Since when.
    #[serde(with = "time::serde::rfc3339::option")]
    #[schema(required)]
    pub since: Option<OffsetDateTime>,
}

/// Who calls.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Me {
    /// Organisation.
    pub organisation: Organisation,
    /// Key.
    #[schema(required)]
    pub key: Option<CallingKey>,
    /// What the caller may do.
    pub scopes: Vec<Scope>,
    /// Limits.
    pub limits: AccountLimits,
    /// Usage.
    pub usage: CurrentUsage,
}

/// Which month.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct MonthQuery {
    /// `YYYY-MM` (UTC); by default the present one.
    #[param(pattern = r"^\d{4}-\d{2}$", example = "2026-11")]
    month: Option<String>,
    /// CSV has a row for each job; goes before the header `Accept`.
    format: Option<Format>,
}

/// What was used in a month.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct MonthUsage {
    /// `YYYY-MM`.
    pub month: String,
    /// Source minutes that became watchable.
    pub minutes: f64,
    /// Jobs that succeeded.
    pub jobs: i64,
    /// Bytes that were made.
    pub output_bytes: i64,
    /// Bytes that are kept now.
    pub storage_bytes: i64,
    /// What machines cost that ended in this month.
    pub cost: MonthCost,
    /// Limits.
    pub limits: AccountLimits,
}

/// What machines cost in a month, in millionths of a US dollar.
#[derive(Clone, Copy, Debug, Default, Serialize, ToSchema)]
pub struct MonthCost {
    /// Committed work.
    pub work_micros: i64,
    /// Shares of booting.
    pub boot_micros: i64,
    /// Shares of time without work.
    pub idle_micros: i64,
    /// Work that was lost, and machines that were taken back.
    pub waste_micros: i64,
    /// Moving sources to where they were encoded.
    pub transfer_micros: i64,
    /// The sum of those.
    pub settled_micros: i64,
    /// Machines that still run or ended a moment ago, as if they ended now; 0 in other months than the present one.
    pub running_micros: i64,
    /// The monthly cap; null: none.
    #[schema(required)]
    pub cap_micros: Option<i64>,
}

/// A line of the audit log.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct AuditLine {
    /// When.
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    /// Who: `key:<prefix>`, `user:<subject>`, `cli`.
    pub actor: String,
    /// What.
    #[schema(example = "job.cancelled")]
    pub action: String,
    /// Id of what was changed.
    pub object: String,
    /// What else is known.
    pub detail: serde_json::Value,
    /// Request that asked for it.
    #[schema(required)]
    pub request_id: Option<String>,
}

impl From<AuditRow> for AuditLine {
    fn from(row: AuditRow) -> Self {
        Self {
            at: row.at,
            actor: row.actor,
            action: row.action,
            object: row.object,
            detail: row.detail,
            request_id: row.request_id,
        }
    }
}

pub(super) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(me)).routes(routes!(usage)).routes(routes!(audit))
}

/// The first day of the month of a date.
fn first_day(date: Date) -> Result<Date, Problem> {
    date.replace_day(1).map_err(|_| Problem::internal())
}

/// Who calls: organisation, scopes, limits, usage.
#[utoipa::path(get, path = "/me", tag = "account", responses(
    (status = 200, body = Me), (status = "4XX", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", body = Problem, content_type = "application/problem+json")))]
async fn me(State(api): State<Shared>, caller: Caller) -> Result<Json<Me>, Problem> {
    let tenant = api.tenant(&caller);
    let (row, limits) = tenant.myself().await?;
    let mut tx = tenant.begin().await?;
    let this_month = first_day(OffsetDateTime::now_utc().date())?;
    let usage = tenant.usage_in(&mut tx, this_month).await?;
    let cap = tenant.cap_in(&mut tx).await?;
    let costs = tenant.costs_in(&mut tx, this_month).await?;
    let running = running_micros(&api, caller.organisation).await?;
    Ok(Json(Me {
        organisation: row.into(),
        key: caller.key.map(|id| CallingKey { id, scopes: caller.scopes() }),
        scopes: caller.scopes(),
        limits: limits.into(),
        usage: CurrentUsage {
            minutes_this_month: usage.minutes,
            storage_bytes: usage.storage_bytes,
            active_jobs: usage.active_jobs,
            cost_this_month_micros: costs.iter().map(JobCost::total_micros).sum::<i64>() + running,
            cap: cap.capped.map(|stops| CapStop {
                code: CAP_REACHED.to_owned(),
                stops,
                message: FOR_COACH.to_owned(),
                since: cap.capped_at,
            }),
        },
    }))
}

/// What was used in a month.
#[utoipa::path(get, path = "/usage", tag = "account", params(MonthQuery), responses(
    (status = 200, content((MonthUsage = "application/json"), (String = "text/csv"))), (status = "4XX", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", body = Problem, content_type = "application/problem+json")))]
async fn usage(
    State(api): State<Shared>,
    caller: Caller,
    Ask(asked): Ask<MonthQuery>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    caller.may(Scope::UsageRead)?;
    let this_month = first_day(OffsetDateTime::now_utc().date())?;
    let month = match &asked.month {
        None => this_month,
        Some(text) => month(text).ok_or_else(|| Problem::invalid("month", "give YYYY-MM"))?,
    };
    let tenant = api.tenant(&caller);
    let mut tx = tenant.begin().await?;
    let usage = tenant.usage_in(&mut tx, month).await?;
    let limits = tenant.limits_in(&mut tx).await?;
    let costs = tenant.costs_in(&mut tx, month).await?;
    let name = format!("{:04}-{:02}", month.year(), u8::from(month.month()));
    if wants_csv(asked.format, &headers) {
        return Ok(csv_file(&format!("usage-{name}"), csv(&costs)));
    }
    let sum = |part: fn(&JobCost) -> i64| costs.iter().map(part).sum::<i64>();
    let running = if month == this_month { running_micros(&api, caller.organisation).await? } else { 0 };
    let answer = MonthUsage {
        cost: MonthCost {
            work_micros: sum(|c| c.work_micros),
            boot_micros: sum(|c| c.boot_micros),
            idle_micros: sum(|c| c.idle_micros),
            waste_micros: sum(|c| c.waste_micros),
            transfer_micros: sum(|c| c.transfer_micros),
            settled_micros: sum(JobCost::total_micros),
            running_micros: running,
            cap_micros: tenant.cap_in(&mut tx).await?.cap_micros,
        },
        month: name,
        minutes: usage.minutes,
        jobs: usage.jobs,
        output_bytes: usage.output_bytes,
        storage_bytes: usage.storage_bytes,
        limits: limits.into(),
    };
    Ok(Json(answer).into_response())
}

/// What an organisation owes to machines that are not settled, as if they ended now.
async fn running_micros(api: &Shared, organisation: Uuid) -> Result<i64, Problem> {
    let open = open_charges(&api.store, api.machines_known().await?).await?;
    let own = open.iter().filter(|charge| charge.organisation_id == Some(organisation));
    Ok(own.map(Charge::total_micros).sum())
}

/// A row for each job, amounts in US dollars with six places.
fn csv(costs: &[JobCost]) -> String {
    let mut text = "job,title,machine_s,work_usd,boot_usd,idle_usd,waste_usd,transfer_usd,total_usd\n".to_owned();
    for cost in costs {
        #[expect(clippy::cast_precision_loss, reason = "times of machines")]
        let machine_s = cost.machine_ms as f64 / 1000.0;
        let amounts = [
            cost.work_micros,
            cost.boot_micros,
            cost.idle_micros,
            cost.waste_micros,
            cost.transfer_micros,
            cost.total_micros(),
        ];
        let usd = amounts.map(|micros| MicroDollars(micros).exact()).join(",");
        let title = field(cost.title.as_deref().unwrap_or_default());
        writeln!(text, "{},{title},{machine_s},{usd}", cost.job_id).expect("a String takes everything");
    }
    text
}

/// Reads `YYYY-MM`.
fn month(text: &str) -> Option<Date> {
    let (year, month) = text.split_once('-').filter(|(y, m)| y.len() == 4 && m.len() == 2)?;
    let month = Month::try_from(month.parse::<u8>().ok()?).ok()?;
    Date::from_calendar_date(year.parse().ok().filter(|y| (2000..=9998).contains(y))?, month, 1).ok()
}

/// Who changed what, the newest first.
#[utoipa::path(get, path = "/audit", tag = "account", params(Paging), responses(
    (status = 200, body = Page<AuditLine>), (status = "4XX", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", body = Problem, content_type = "application/problem+json")))]
async fn audit(
    State(api): State<Shared>,
    caller: Caller,
    Ask(paging): Ask<Paging>,
) -> Result<Json<Page<AuditLine>>, Problem> {
    caller.may(Scope::Keys)?;
    let limit = paging.limit()?;
    let before = match paging.text()? {
        None => None,
        Some(text) => {
            Some(text.parse().map_err(|_| Problem::invalid("cursor", "use the next_cursor of the page before"))?)
        }
    };
    let rows = api.tenant(&caller).audit_log(before, limit + 1).await?;
    let page = Page::of(rows, limit, |row| row.id.to_string());
    let items = page.items.into_iter().map(AuditLine::from).collect();
    Ok(Json(Page { items, next_cursor: page.next_cursor }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn months_are_read_strictly() {
        assert_eq!(month("2026-11"), Date::from_calendar_date(2026, Month::November, 1).ok());
        for text in ["2026-13", "2026-1", "26-01", "2026-11-01", "", "-", "1800-01"] {
            assert_eq!(month(text), None, "{text}");
        }
    }
}
