//! From what happened on machines to what jobs owe. An instance's bill is split among the jobs that it served when it has
//! ended and nothing more can happen to it; until then it is reckoned as if it ended now.

use std::collections::BTreeMap;
use std::time::Duration;

use capacity::moment::Moment;
use capacity::money::MicroDollars;
use capacity::pools::{Fleet, PoolId, RegionName};
use capacity::receipt::{InstanceUse, JobUse, Line};
use fleet::store::ledger::{AttemptUse, Charge, UnsettledInstance};
use fleet::store::{Store, StoreError};
use time::OffsetDateTime;
use uuid::Uuid;

/// An instance is settled when it has been gone for this long: providers sometimes do not show one for a moment.
const SETTLED_AFTER: Duration = Duration::from_secs(60);

/// Splits the bills of instances that have ended. Gives how many.
///
/// # Errors
/// The store does not answer; what was split stays split.
pub async fn settle_once(store: &Store, fleet: Option<&Fleet>) -> Result<usize, StoreError> {
    settle_after(store, fleet, SETTLED_AFTER).await
}

/// As [`settle_once`], with another time that an instance has to be gone.
///
/// # Errors
/// As [`settle_once`].
#[doc(hidden)]
pub async fn settle_after(store: &Store, fleet: Option<&Fleet>, after: Duration) -> Result<usize, StoreError> {
    let instances = store.unsettled_instances(Some(after)).await?;
    let mut settled = 0;
    for (instance, charges) in split_all(store, fleet, &instances).await? {
        settled += usize::from(store.settle(&instance.id, &charges).await?);
    }
    Ok(settled)
}

/// What is owed to instances that are not settled, as if they ended now.
///
/// # Errors
/// The store does not answer.
pub async fn open_charges(store: &Store, fleet: Option<&Fleet>) -> Result<Vec<Charge>, StoreError> {
    let instances = store.unsettled_instances(None).await?;
    Ok(split_all(store, fleet, &instances).await?.into_iter().flat_map(|(_, charges)| charges).collect())
}

async fn split_all<'a>(
    store: &Store,
    fleet: Option<&Fleet>,
    instances: &'a [UnsettledInstance],
) -> Result<Vec<(&'a UnsettledInstance, Vec<Charge>)>, StoreError> {
    if instances.is_empty() {
        return Ok(Vec::new());
    }
    let ids: Vec<&str> = instances.iter().map(|i| i.id.as_str()).collect();
    let mut attempts: BTreeMap<String, Vec<AttemptUse>> = BTreeMap::new();
    for attempt in store.attempts_on(&ids).await? {
        attempts.entry(attempt.instance.clone()).or_default().push(attempt);
    }
    let per_gb = |region: &str| {
        let region = fleet.and_then(|f| f.region(&RegionName::from(region)));
        region.map_or(MicroDollars::ZERO, |r| r.transfer_per_gb)
    };
    Ok(instances.iter().map(|i| (i, split_bill(i, attempts.get(&i.id).map_or(&[], Vec::as_slice), per_gb))).collect())
}

/// Splits an instance's bill among the jobs that it served. Pure; what the charges say of the instance adds up to its
/// bill, and transfer comes on top.
#[must_use]
pub fn split_bill(
    instance: &UnsettledInstance,
    attempts: &[AttemptUse],
    per_gb: impl Fn(&str) -> MicroDollars,
) -> Vec<Charge> {
    let (launched, ended) = (instance.seen_at, instance.ended_at.unwrap_or(instance.now).max(instance.seen_at));
    let mut jobs: BTreeMap<Uuid, (JobUse, Uuid, MicroDollars)> = BTreeMap::new();
    for attempt in attempts {
        let (useful_ms, wasted_ms) = slot_time(attempt, launched, ended);
        let none = JobUse { job: attempt.job_id, useful_ms: 0, wasted_ms: 0 };
        let (used, _, transfer) =
            jobs.entry(attempt.job_id).or_insert((none, attempt.organisation_id, MicroDollars::ZERO));
        used.useful_ms += useful_ms;
        used.wasted_ms += wasted_ms;
        if let Some(from) = &attempt.from_region {
            *transfer += MicroDollars::from_usd(attempt.moved_bytes / 1e9 * per_gb(from).usd()).unwrap_or_default();
        }
    }
    let used = InstanceUse {
        pool: PoolId::from(instance.pool.as_str()),
        price_per_hour: MicroDollars(instance.price_micros),
        slots: u32::try_from(instance.slots).unwrap_or(1).max(1),
        launched: Moment::from(launched),
        ready: Moment::from(instance.ready_at.unwrap_or(ended).max(launched)),
        ended: Moment::from(ended),
        notice: instance.noticed_at.map(|at| Moment::from(at.max(launched))),
        jobs: jobs.values().map(|(used, ..)| *used).collect(),
    };
    let charge = |line: Line| {
        let (organisation, transfer) = match line.job.and_then(|job| jobs.get(&job)) {
            Some((_, organisation, transfer)) => (Some(*organisation), *transfer),
            None => (None, MicroDollars::ZERO),
        };
        let ms = |ms: u64| i64::try_from(ms).unwrap_or(i64::MAX);
        Charge {
            instance: instance.id.clone(),
            job_id: line.job,
            organisation_id: organisation,
            region: instance.region.clone(),
            pool: instance.pool.clone(),
            price_micros: instance.price_micros,
            work_ms: ms(line.work_ms),
            boot_ms: ms(line.boot_ms),
            idle_ms: ms(line.idle_ms),
            waste_ms: ms(line.waste_ms),
            work_micros: line.work.0,
            boot_micros: line.boot.0,
            idle_micros: line.idle.0,
            waste_micros: line.waste.0,
            transfer_micros: transfer.0,
        }
    };
    used.lines().into_iter().map(charge).collect()
}

/// Milliseconds of a slot whose work was committed, and of one whose work was lost. Of an attempt that did not finish its
/// chunk, what comes after its last committed segment is lost; one that is at work has lost nothing yet.
fn slot_time(attempt: &AttemptUse, launched: OffsetDateTime, ended: OffsetDateTime) -> (u64, u64) {
    let within = |at: OffsetDateTime| at.clamp(launched, ended);
    let began = within(attempt.claimed_at);
    let end = within(attempt.ended_at.unwrap_or(ended)).max(began);
    let until = match (attempt.is_done, attempt.ended_at) {
        (true, _) | (false, None) => end,
        (false, Some(_)) => attempt.committed_at.map_or(began, within).clamp(began, end),
    };
    let ms = |from, to| Moment::from(to).since_ms(Moment::from(from));
    (ms(began, until), ms(until, end))
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;

    fn at(minutes: i64) -> OffsetDateTime {
        START + time::Duration::minutes(minutes)
    }

    fn instance() -> UnsettledInstance {
        UnsettledInstance {
            id: "i-1".to_owned(),
            region: "eu-west-1".to_owned(),
            pool: "eu-west-1/g4dn.xlarge/spot".to_owned(),
            // A cent a minute.
            price_micros: 600_000,
            slots: 1,
            seen_at: at(0),
            ready_at: Some(at(5)),
            noticed_at: None,
            ended_at: Some(at(30)),
            now: at(60),
        }
    }

    fn attempt(job: u128, from: i64, to: Option<i64>) -> AttemptUse {
        AttemptUse {
            instance: "i-1".to_owned(),
            job_id: Uuid::from_u128(job),
            organisation_id: Uuid::from_u128(job + 100),
            claimed_at: at(from),
            ended_at: to.map(at),
            is_done: true,
            committed_at: to.map(at),
            from_region: None,
            moved_bytes: 0.0,
        }
    }

    fn free(_: &str) -> MicroDollars {
        MicroDollars::ZERO
    }

    #[test]
    fn two_jobs_share_boot_and_idle_time_by_what_they_had_of_the_instance() {
        let charges = split_bill(&instance(), &[attempt(1, 5, Some(20)), attempt(2, 20, Some(25))], free);
        let of = |i: usize| (charges[i].work_micros, charges[i].boot_micros, charges[i].idle_micros);
        assert_eq!((of(0), of(1)), ((150_000, 37_500, 37_500), (50_000, 12_500, 12_500)));
        assert_eq!(charges.iter().map(Charge::total_micros).sum::<i64>(), 300_000, "half an hour");
        assert_eq!(charges[1].organisation_id, Some(Uuid::from_u128(102)));
    }

    #[test]
    fn what_a_lost_attempt_did_after_its_last_segment_is_waste_and_what_is_at_work_is_not() {
        let lost = AttemptUse { is_done: false, committed_at: Some(at(12)), ..attempt(1, 10, Some(16)) };
        let never = AttemptUse { is_done: false, committed_at: None, ..attempt(1, 16, Some(17)) };
        let running = AttemptUse { is_done: false, ..attempt(2, 20, None) };
        let charges = split_bill(&instance(), &[lost, never, running], free);
        assert_eq!((charges[0].work_ms, charges[0].waste_ms), (120_000, 300_000));
        assert_eq!((charges[1].work_ms, charges[1].waste_ms), (600_000, 0), "until the instance ended");
    }

    #[test]
    fn an_instance_that_served_nobody_is_owed_by_nobody_and_one_that_still_runs_ends_now() {
        let charges = split_bill(&UnsettledInstance { ready_at: None, ended_at: None, ..instance() }, &[], free);
        assert_eq!(charges.len(), 1);
        assert_eq!((charges[0].job_id, charges[0].boot_micros), (None, 600_000));
    }

    #[test]
    fn moving_a_source_is_paid_on_top() {
        let moved =
            AttemptUse { from_region: Some("us-east-1".to_owned()), moved_bytes: 5e9, ..attempt(1, 5, Some(20)) };
        let charges = split_bill(&instance(), &[moved], |_| MicroDollars(20_000));
        assert_eq!((charges[0].transfer_micros, charges[0].total_micros()), (100_000, 400_000));
    }
}
