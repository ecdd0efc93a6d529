use super::*;
use proptest::prelude::*;

fn used(minutes: (i64, i64, i64), jobs: Vec<JobUse>) -> InstanceUse {
    let at = |m: i64| Moment(m * 60_000);
    InstanceUse {
        pool: PoolId::from("eu-west-1/g4dn.xlarge/spot"),
        price_per_hour: MicroDollars(600_000),
        slots: 1,
        launched: at(0),
        ready: at(minutes.0),
        ended: at(minutes.1),
        notice: (minutes.2 > 0).then(|| at(minutes.2)),
        jobs,
    }
}

#[test]
fn one_job_by_hand() {
    let job = Uuid::from_u128(1);
    let lines = used((6, 30, 0), vec![JobUse { job, useful_ms: 18 * 60_000, wasted_ms: 0 }]).lines();
    assert_eq!(lines.len(), 1);
    // A cent a minute: 6 of boot, 18 of work, 6 idle.
    assert_eq!(
        (lines[0].boot, lines[0].work, lines[0].idle, lines[0].waste),
        (MicroDollars(60_000), MicroDollars(180_000), MicroDollars(60_000), MicroDollars::ZERO)
    );
    let mut receipt = Receipt { transfer: MicroDollars(162_000), ..Receipt::default() };
    receipt.add(lines[0].clone());
    let text = csv([(&job, &receipt)]);
    let rows: Vec<&str> = text.lines().filter_map(|row| row.split_once(',').map(|(_, rest)| rest)).collect();
    assert_eq!(
        rows[1..],
        [
            "eu-west-1/g4dn.xlarge/spot,1080,360,360,0,0.180000,0.060000,0.060000,0.000000,0.000000,0.300000",
            "transfer,,,,,,,,,0.162000,0.162000"
        ]
    );
    assert!(text.lines().all(|row| row.split(',').count() == 12), "{text}");
}

#[test]
fn an_interruption_makes_the_rest_waste() {
    let lines =
        used((6, 12, 10), vec![JobUse { job: Uuid::from_u128(1), useful_ms: 180_000, wasted_ms: 60_000 }]).lines();
    assert_eq!(lines[0].waste, MicroDollars(30_000), "a minute of work and two of notice");
    let never_ready = used((4, 4, 2), Vec::new()).lines();
    assert_eq!((never_ready[0].job, never_ready[0].waste), (None, MicroDollars(40_000)));
}

#[test]
fn the_first_minute_is_billed_whole() {
    let short = InstanceUse { ended: Moment(1), ..used((0, 0, 0), Vec::new()) };
    assert_eq!((short.billed_ms(), short.cost()), (60_000, MicroDollars(10_000)));
}

proptest! {
    #[test]
    fn lines_add_up_to_the_bill(
        price in 0_i64..50_000_000, slots in 1_u32..5, boot in 0_i64..1_000_000, life in 0_i64..10_000_000,
        notice in proptest::option::of(0_i64..10_000_000),
        jobs in proptest::collection::vec((0_u64..3_000_000, 0_u64..1_000_000), 0..6),
    ) {
        let one = InstanceUse {
            pool: PoolId::from("r/t/spot"), price_per_hour: MicroDollars(price), slots,
            launched: Moment(0), ready: Moment(boot), ended: Moment(life), notice: notice.map(Moment),
            jobs: jobs.iter().enumerate().map(|(i, (u, w))| JobUse {
                job: Uuid::from_u128(i as u128), useful_ms: *u, wasted_ms: *w,
            }).collect(),
        };
        let lines = one.lines();
        prop_assert_eq!(lines.iter().map(Line::total).sum::<MicroDollars>(), one.cost());
        prop_assert_eq!(lines.iter().map(Line::total_ms).sum::<u64>(), one.billed_ms());
        let mut sum = Line { job: None, ..one.whole() };
        (sum.work_ms, sum.boot_ms, sum.idle_ms, sum.waste_ms) = (0, 0, 0, 0);
        (sum.work, sum.boot, sum.idle, sum.waste) = Default::default();
        lines.iter().for_each(|line| sum.add(line));
        prop_assert_eq!(sum, one.whole());
        prop_assert!(lines.iter().all(|l| l.work.0 >= 0 && l.boot.0 >= 0 && l.idle.0 >= 0 && l.waste.0 >= 0));
    }
}
