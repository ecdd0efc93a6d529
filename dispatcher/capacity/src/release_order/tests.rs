use proptest::prelude::*;

use super::*;

fn id(n: u128) -> Uuid {
    Uuid::from_u128(n)
}

fn job(n: u128, organisation: u128, weight: u32, ready_by: Option<i64>, chunks: i32) -> ActiveJob {
    ActiveJob {
        job: id(n),
        organisation: id(organisation),
        weight,
        ready_by: ready_by.map(Moment),
        created: Moment(i64::try_from(n).unwrap()),
        focus_segment: 0,
        held: false,
        waiting: (1..=chunks)
            .map(|c| WaitingChunk { chunk: c, position: i64::from(c), first_segment: Some(i64::from(c) * 8) })
            .collect(),
    }
}

#[test]
fn organisations_take_turns_by_weight_whatever_they_have_waiting() {
    let active = [job(1, 100, 1, None, 50), job(2, 200, 2, None, 50)];
    let first = order(&active, &BTreeMap::new(), 9);
    assert_eq!(first.iter().filter(|(j, _)| *j == id(2)).count(), 6);
    let busy = BTreeMap::from([(id(200), 20)]);
    assert!(order(&active, &busy, 8).iter().all(|(j, _)| *j == id(1)), "who has much at work waits");
}

#[test]
fn within_an_organisation_deadlines_come_first_and_then_the_place_in_the_match() {
    let active = [job(1, 100, 1, None, 3), job(2, 100, 1, None, 3), job(3, 100, 1, Some(10), 2)];
    let order: Vec<_> = order(&active, &BTreeMap::new(), 8).into_iter().map(|(j, c)| (j.as_u128(), c)).collect();
    assert_eq!(order, [(3, 1), (3, 2), (1, 1), (2, 1), (1, 2), (2, 2), (1, 3), (2, 3)]);
}

#[test]
fn the_focused_minute_comes_before_what_lies_behind_it() {
    let focused = ActiveJob { focus_segment: 20, ..job(1, 100, 1, None, 4) };
    let chunks: Vec<i32> = order(&[focused], &BTreeMap::new(), 10).into_iter().map(|(_, c)| c).collect();
    assert_eq!(chunks, [3, 4, 1, 2]);
}

#[test]
fn what_a_cap_holds_back_is_not_there() {
    let held = ActiveJob { held: true, ..job(1, 100, 1, Some(1), 50) };
    let free = job(2, 200, 1, None, 50);
    assert_eq!(order(&[held, free.clone()], &BTreeMap::new(), 40), order(&[free], &BTreeMap::new(), 40));
}

#[test]
fn one_job_of_many_gives_no_more_than_its_part_of_a_batch() {
    let active: Vec<ActiveJob> = (1..=100).map(|n| job(n, 100, 1, Some(i64::try_from(n).unwrap()), 50)).collect();
    let first = order(&active, &BTreeMap::new(), 40);
    assert_eq!(first.iter().filter(|(j, _)| *j == id(1)).count(), 8);
}

fn fleet() -> impl Strategy<Value = Vec<ActiveJob>> {
    let one = (0_u128..4, proptest::option::of(0_i64..3), 0_i32..12);
    proptest::collection::vec(one, 0..12).prop_map(|jobs| {
        jobs.into_iter()
            .enumerate()
            .map(|(n, (organisation, ready_by, chunks))| {
                let weight = u32::try_from(organisation).unwrap() + 1;
                job(n as u128 + 1, 100 + organisation, weight, ready_by, chunks)
            })
            .collect()
    })
}

proptest! {
    /// The queue is the order, chunk by chunk, also when chunks end and come back in between.
    #[test]
    fn the_queue_gives_the_specified_order(active in fleet(), back in proptest::collection::vec(any::<bool>(), 200)) {
        let mut active = active;
        let mut queue = ReleaseQueue::new(1);
        let mut organisations = BTreeMap::new();
        let mut places = BTreeMap::new();
        for job in &active {
            let organisation = *organisations.entry(job.organisation).or_insert_with(|| queue.add_organisation(job.weight));
            let place = queue.add_job(job.job, organisation, 0, job.ready_by, job.created);
            places.insert(place, job.job);
            for chunk in &job.waiting {
                queue.push(place, chunk.position, chunk.chunk);
            }
        }
        let mut busy: BTreeMap<Uuid, u64> = BTreeMap::new();
        for back in back {
            // A limit beyond the number of chunks keeps the batch's share of a job out of the comparison.
            let expected = order(&active, &busy, 1000).first().copied();
            let popped = queue.pop(0);
            prop_assert_eq!(popped.map(|(place, chunk)| (places[&place], chunk)), expected);
            let Some((place, chunk)) = popped else { break };
            let job = active.iter_mut().find(|j| j.job == places[&place]).unwrap();
            let at = job.waiting.iter().position(|c| c.chunk == chunk).unwrap();
            let taken = job.waiting.remove(at);
            if back {
                queue.done(place);
                queue.push(place, taken.position + 1, taken.chunk);
                job.waiting.push(WaitingChunk { position: taken.position + 1, ..taken });
            } else {
                *busy.entry(job.organisation).or_default() += 1;
            }
        }
        prop_assert_eq!(queue.waiting(0), active.iter().map(|j| j.waiting.len()).sum::<usize>());
    }
}
