//! Caps of organisations: which jobs are admitted, what a cap stops, and who is told. The rule itself is pure
//! ([`capacity::budget`]); releases ask only for its outcome, in the same statement that orders them.

use std::collections::HashMap;

use capacity::budget::{Budget, CAP_REACHED, CapReached, FOR_COACH, Stop};
use capacity::estimate;
use capacity::money::MicroDollars;
use capacity::pools::{Fleet, RegionName};
use capacity::quote::{Work, quote};
use capacity::rates::Rates;
use capacity::view::JobWork;
use fleet::ladder::Ladder;
use fleet::store::ledger::budget::{CappedOrganisation, WaitingJob};
use fleet::store::{Store, StoreError};
use serde_json::json;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::ledger::open_charges;
use crate::scaling::observe;

/// Machines and what they do in a second; `None` where nobody counts them, so that nothing has a price.
pub type Prices<'a> = Option<(&'a Fleet, &'a Rates)>;

/// Reckons the budgets of all organisations with a cap. Gives how many jobs were admitted.
///
/// # Errors
/// The store does not answer; what was admitted stays admitted.
pub async fn reckon_once(store: &Store, prices: Prices<'_>) -> Result<usize, StoreError> {
    let organisations = store.capped_organisations().await?;
    if organisations.is_empty() {
        return Ok(0);
    }
    let mut open: HashMap<Uuid, MicroDollars> = HashMap::new();
    for charge in open_charges(store, prices.map(|(fleet, _)| fleet)).await? {
        if let Some(organisation) = charge.organisation_id {
            *open.entry(organisation).or_default() += MicroDollars(charge.total_micros());
        }
    }
    let work = work_left(store, prices).await?;
    let mut admitted = 0;
    for organisation in &organisations {
        let spent = MicroDollars(organisation.settled_micros) + open.get(&organisation.id).copied().unwrap_or_default();
        admitted += reckon(store, prices, organisation, spent, &work).await?;
    }
    Ok(admitted)
}

async fn reckon(
    store: &Store,
    prices: Prices<'_>,
    organisation: &CappedOrganisation,
    spent: MicroDollars,
    work: &HashMap<Uuid, JobWork>,
) -> Result<usize, StoreError> {
    let at_work = store.admitted_jobs(organisation.id).await?;
    let committed = at_work.iter().filter_map(|job| work.get(job)).map(|work| rest(prices, work)).sum();
    let waiting = store.waiting_for_budget(organisation.id).await?;
    let costs: Vec<MicroDollars> = waiting.iter().map(|job| whole(prices, job)).collect();
    let budget = Budget { cap: Some(MicroDollars(organisation.cap_micros)), spent, committed };
    let verdict = budget.verdict(&costs);
    let admitted: Vec<Uuid> = waiting[..verdict.admitted].iter().map(|job| job.id).collect();
    if !admitted.is_empty() {
        store.admit(&admitted).await?;
    }
    let stops = verdict.reached.map(|reached| reached.stops());
    let event = verdict.reached.map_or(serde_json::Value::Null, |reached| told(&reached));
    let cap = organisation.cap_micros;
    if store.note_capped(organisation.id, cap, stops.map(Stop::as_str), &event).await?
        && let Some(reached) = verdict.reached
    {
        tracing::warn!(organisation.id = %organisation.id, code = CAP_REACHED, "{reached}");
    }
    Ok(admitted.len())
}

/// What the event of a reached cap says.
fn told(reached: &CapReached) -> serde_json::Value {
    let today = OffsetDateTime::now_utc();
    json!({
        "code": CAP_REACHED,
        "month": format!("{:04}-{:02}", today.year(), u8::from(today.month())),
        "stops": reached.stops(),
        "cap_micros": reached.budget.cap,
        "spent_micros": reached.budget.spent,
        "committed_micros": reached.budget.committed,
        "next_micros": reached.next,
        "message": reached.to_string(),
        "coach": FOR_COACH,
    })
}

/// Work that is left of jobs that are not done.
async fn work_left(store: &Store, prices: Prices<'_>) -> Result<HashMap<Uuid, JobWork>, StoreError> {
    let Some((fleet, _)) = prices else { return Ok(HashMap::new()) };
    let jobs = store.open_jobs().await?;
    Ok(jobs.iter().map(|job| (job.id, observe::job_work(fleet, job))).collect())
}

/// What a job at work will likely still cost. What its instances did so far is spent already, and their boot with it.
fn rest(prices: Prices<'_>, work: &JobWork) -> MicroDollars {
    let Some((fleet, rates)) = prices else { return MicroDollars::ZERO };
    let left = Work { total_s: work.left_s, first_s: 0.0, gigabytes: 0.0 };
    let has_begun = work.waiting < work.chunks;
    let quoted = quote(fleet, &work.region, left, rates);
    quoted.map_or(MicroDollars::ZERO, |quote| if has_begun { quote.low } else { quote.likely })
}

/// What a job that nobody looked into will likely cost.
fn whole(prices: Prices<'_>, job: &WaitingJob) -> MicroDollars {
    let Some((fleet, rates)) = prices else { return MicroDollars::ZERO };
    let bytes = job.size_bytes.and_then(|bytes| u64::try_from(bytes).ok());
    let seconds = estimate::before_plan(None, bytes).max(observe::UNPLANNED_S);
    // A ladder of a later version weighs like the reference.
    let ladder: Result<Ladder, _> = serde_json::from_value(job.ladder.clone());
    let total_s = ladder.map_or(seconds, |ladder| estimate::of_ladder(&ladder, seconds, 1080, 30.0));
    let region = RegionName::from(job.home_region.as_str());
    quote(fleet, &region, Work { total_s, first_s: 0.0, gigabytes: 0.0 }, rates)
        .map_or(MicroDollars::ZERO, |quote| quote.likely)
}
