//! Money: receipts over all jobs add up to what the machines cost, and a cap stops releases and says so.

use std::sync::Arc;
use std::time::Duration;

use capacity::pools::Fleet as Machines;
use capacity::rates::Rates;
use dispatcher::budget::reckon_once;
use dispatcher::ledger::settle_after;
use dispatcher::quote::{Asked, quote};
use dispatcher::receipt::receipt;
use dispatcher::scaling::simulated::SimulatedCapacity;
use dispatcher::scaling::{Scaler, rates};
use dispatcher::why::{surroundings, why};
use fleet::store::Store;
use fleet::store::rescue::Patience;
use reqwest::Method;
use serde_json::json;
use sqlx::Row;
use stories::client::Answer;
use stories::fleet_processes::{Fleet, small_ladder};
use stories::interface::{Interface, SOURCE, TENANT_SCOPES, key};
use stories::services::Postgres;
use time::OffsetDateTime;
use uuid::Uuid;

const POOLS: [&str; 2] = ["eu-west-1/g4dn.xlarge/spot", "eu-west-1/g4dn.xlarge/on_demand"];

fn machines() -> Machines {
    Machines::parse(include_str!("../../../infra/fleet.toml")).unwrap()
}

/// An instance as the store notes one.
async fn instance(store: &Store, id: &str, price_micros: i64, began: OffsetDateTime, ended: Option<OffsetDateTime>) {
    sqlx::query(
        "insert into touchline.instances (id, region, pool, price_micros, slots, seen_at, ready_at, ended_at)
         values ($1, 'eu-west-1', $2, $3, 2, $4, $4 + interval '90 seconds', $5)",
    )
    .bind(id)
    .bind(POOLS[usize::from(price_micros > 300_000)])
    .bind(price_micros)
    .bind(began)
    .bind(ended)
    .execute(store.pool())
    .await
    .unwrap();
}

/// An attempt at a job's plan or one of its chunks, on an instance.
async fn attempt(store: &Store, job: Uuid, attempt: i32, instance: &str, times: [OffsetDateTime; 2], outcome: &str) {
    sqlx::query(
        "insert into touchline.attempts (job_id, chunk, attempt, worker_id, region, pool, instance, claimed_at, ended_at, outcome)
         values ($1, 0, $2, $3, 'eu-west-1', 'pool', $4, $5, $6, $7)",
    )
    .bind(job)
    .bind(attempt)
    .bind(Uuid::now_v7())
    .bind(instance)
    .bind(times[0])
    .bind(times[1])
    .bind(outcome)
    .execute(store.pool())
    .await
    .unwrap();
}

/// What AWS bills for an instance: whole seconds, a minute at least, to the nearest millionth.
fn bill(price_micros: i64, began: OffsetDateTime, ended: OffsetDateTime) -> i64 {
    let ms = (ended - began).whole_milliseconds();
    let seconds = (ms / 1000 + i128::from(ms % 1000 > 0)).max(60);
    i64::try_from((i128::from(price_micros) * seconds + 1800) / 3600).unwrap()
}

#[tokio::test]
async fn receipts_over_all_jobs_add_up_to_the_ledger_of_the_pools() {
    let fleet = Fleet::local(&Postgres::shared().create_database()).await;
    let (store, machines) = (&fleet.store, machines());
    let now = OffsetDateTime::now_utc().replace_microsecond(0).unwrap();
    let mut random = fastrand::Rng::with_seed(7);
    let mut jobs = Vec::new();
    for n in 0..12 {
        let club = store.ensure_organisation(&format!("club {}", n % 3), 1).await.unwrap();
        jobs.push(fleet.submit_for(club, SOURCE, &small_ladder()).await);
    }
    let mut ledger = 0;
    for n in 0..40 {
        let id = format!("i-{n}");
        let began = now - time::Duration::milliseconds(random.i64(4_000_000..9_000_000));
        let ended = began + time::Duration::milliseconds(random.i64(500..4_000_000));
        let price = *random.choice(&[277_401, 587_003, 1]).unwrap();
        instance(store, &id, price, began, Some(ended)).await;
        ledger += bill(price, began, ended);
        // Some are taken back, and some never serve anybody.
        if random.u32(..4) == 0 {
            let sql = "update touchline.instances set noticed_at = $2, draining_at = $2, reason = 'interruption' where id = $1";
            let noticed = began.max(ended - time::Duration::seconds(120));
            sqlx::query(sql).bind(&id).bind(noticed).execute(store.pool()).await.unwrap();
        }
        for k in 0..random.i32(0..5) {
            let job = *random.choice(&jobs).unwrap();
            let from = began + time::Duration::milliseconds(random.i64(0..3_000_000));
            let to = from + time::Duration::milliseconds(random.i64(1..900_000));
            let outcome = *random.choice(&["done", "done", "handed_back", "lost", "try_again"]).unwrap();
            attempt(store, job, n * 10 + k + 1, &id, [from, to], outcome).await;
        }
    }
    let before: i64 = total_of_receipts(store, &machines, &jobs).await;
    assert_eq!(settle_after(store, Some(&machines), Duration::ZERO).await.unwrap(), 40);
    assert_eq!(settle_after(store, Some(&machines), Duration::ZERO).await.unwrap(), 0, "once");
    assert_eq!(total_of_receipts(store, &machines, &jobs).await, before, "settling changes no figure");
    let charges = store.charges_between(now - time::Duration::days(1), now + time::Duration::days(1)).await.unwrap();
    let nobody: i64 = charges.iter().filter(|c| c.job_id.is_none()).map(|c| c.total_micros()).sum();
    assert!(before > 0 && nobody > 0);
    assert_eq!(before + nobody, ledger, "to the millionth of a dollar");

    // An instance that was not shown for a moment is there again: its bill is split anew when it ends.
    let row = sqlx::query(
        "select id, pool, price_micros, slots from touchline.instances order by price_micros desc, id limit 1",
    );
    let row = row.fetch_one(store.pool()).await.unwrap();
    let seen = fleet::store::capacity::SeenInstance {
        id: row.get("id"),
        region: "eu-west-1".to_owned(),
        pool: row.get("pool"),
        price_micros: row.get("price_micros"),
        slots: row.get("slots"),
    };
    store.note_instances(&[], &[seen]).await.unwrap();
    assert_eq!(settle_after(store, Some(&machines), Duration::ZERO).await.unwrap(), 0);
    store.note_instances(&[row.get("pool")], &[]).await.unwrap();
    let whole = "update touchline.instances set ended_at = date_trunc('milliseconds', ended_at)";
    sqlx::query(whole).execute(store.pool()).await.unwrap();
    assert_eq!(settle_after(store, Some(&machines), Duration::ZERO).await.unwrap(), 1);
    let sql =
        "select count(*) from (select instance, sum(work_micros + boot_micros + idle_micros + waste_micros) as split,
            min(i.price_micros) as price, min(i.seen_at) as began, min(i.ended_at) as ended
         from touchline.charges c join touchline.instances i on i.id = c.instance group by 1) x
         where split <> floor((price * greatest(60, ceil(extract(epoch from ended - began))) + 1800) / 3600)";
    let wrong: i64 = sqlx::query_scalar(sql).fetch_one(store.pool()).await.unwrap();
    assert_eq!(wrong, 0, "the parts of every bill add up to it");
}

async fn total_of_receipts(store: &Store, machines: &Machines, jobs: &[Uuid]) -> i64 {
    let mut sum = 0;
    for job in jobs {
        let receipt = receipt(store, Some(machines), &store.job(*job).await.unwrap()).await.unwrap();
        let lines: i64 = receipt.lines.iter().map(|line| line.total_micros).sum();
        assert_eq!(lines + receipt.transfer_micros, receipt.total_micros);
        sum += receipt.total_micros;
    }
    sum
}

/// Jobs of which something may be released, in the order of the list.
async fn released(store: &Store, jobs: &[Uuid]) -> Vec<bool> {
    let candidates = store.candidates(200, Patience::default()).await.unwrap();
    jobs.iter().map(|job| candidates.iter().any(|c| c.job == *job)).collect()
}

async fn events(store: &Store) -> i64 {
    let sql = "select count(*) from touchline.events where type = 'cap.reached'";
    sqlx::query_scalar(sql).fetch_one(store.pool()).await.unwrap()
}

#[tokio::test]
async fn a_cap_stops_releases_says_so_and_lets_go_when_it_is_raised_or_the_month_turns() {
    let fleet = Fleet::local(&Postgres::shared().create_database()).await;
    let (store, machines, rates) = (&fleet.store, machines(), Rates::default());
    let reckon = async || reckon_once(store, Some((&machines, &rates))).await.unwrap();
    let club = store.ensure_organisation("club", 1).await.unwrap();
    let other = store.ensure_organisation("other", 1).await.unwrap();
    let mut jobs = Vec::new();
    for _ in 0..4 {
        let job = fleet.submit_for(club, SOURCE, &small_ladder()).await;
        let sql = "update touchline.jobs set home_region = 'eu-west-1' where id = $1";
        sqlx::query(sql).bind(job).execute(store.pool()).await.unwrap();
        jobs.push(job);
    }
    let theirs = fleet.submit_for(other, SOURCE, &small_ladder()).await;
    assert_eq!(released(store, &jobs).await, [true; 4], "without a cap nothing is held");

    // Each is reckoned with a boot and an idle minute of an instance: three cents. Seven are enough for two.
    store.set_cap(club, Some(70_000)).await.unwrap();
    assert_eq!(released(store, &jobs).await, [false; 4], "nothing goes before its budget is reckoned");
    assert_eq!(reckon().await, 2);
    assert_eq!(released(store, &jobs).await, [true, true, false, false]);
    assert_eq!(released(store, &[theirs]).await, [true], "other organisations are not asked");
    assert_eq!((reckon().await, events(store).await), (0, 1), "it is told once");
    let around = surroundings(&fleet.config, store, jobs[2], 0).await.unwrap();
    let said = why(&store.job(jobs[2]).await.unwrap(), &store.chunks(jobs[2]).await.unwrap(), &around);
    assert_eq!(said.code.as_deref(), Some("cap_reached"));
    assert!(said.reasons[0].starts_with("The monthly cap of $0.07 leaves too little for this job"), "{said:?}");
    let free = surroundings(&fleet.config, store, jobs[0], 0).await.unwrap();
    assert_eq!(free.held, None);
    assert_eq!(store.open_jobs().await.unwrap().len(), 3, "no machine is started for what is held");

    store.set_cap(club, Some(110_000)).await.unwrap();
    assert_eq!(reckon().await, 1, "a higher cap admits what fits under it");
    assert_eq!((released(store, &jobs).await, events(store).await), (vec![true, true, true, false], 2));

    // What was really spent reaches the cap: nothing more goes, though it was admitted.
    let now = OffsetDateTime::now_utc();
    let began = now - time::Duration::minutes(30);
    instance(store, "i-1", 277_401, began, None).await;
    attempt(store, jobs[0], 1, "i-1", [began + time::Duration::minutes(2), now], "done").await;
    reckon().await;
    assert_eq!(released(store, &jobs).await, [false; 4]);
    let around = surroundings(&fleet.config, store, jobs[1], 0).await.unwrap();
    let said = why(&store.job(jobs[1]).await.unwrap(), &store.chunks(jobs[1]).await.unwrap(), &around);
    assert!(said.reasons[0].starts_with("The monthly cap of $0.11 is spent"), "{said:?}");

    // The month turns: what was spent belongs to the one before.
    sqlx::query("update touchline.instances set ended_at = now()").execute(store.pool()).await.unwrap();
    settle_after(store, Some(&machines), Duration::ZERO).await.unwrap();
    reckon().await;
    assert_eq!(released(store, &jobs).await, [false; 4], "settling changes nothing");
    for sql in [
        "update touchline.organisations set capped_at = capped_at - interval '1 month'",
        "update touchline.charges set at = at - interval '1 month'",
    ] {
        sqlx::query(sql).execute(store.pool()).await.unwrap();
    }
    assert_eq!(released(store, &jobs).await, [true, true, true, false], "what was admitted goes on at once");
    reckon().await;
    assert_eq!(events(store).await, 3, "a new month tells anew");

    store.set_cap(club, None).await.unwrap();
    assert_eq!(released(store, &jobs).await, [true; 4], "without a cap nothing is held");
}

#[tokio::test]
async fn what_chunks_took_lately_replaces_the_promised_rate_in_decisions_and_quotes() {
    let fleet = Fleet::local(&Postgres::shared().create_database()).await;
    let (store, machines) = (&fleet.store, machines());
    let pool = &machines.pools[0];
    assert_eq!((pool.id.as_str(), pool.slots), (POOLS[0], 1));
    let job = fleet.submit(SOURCE, &small_ladder()).await;
    let sizes = [(1920, 1080), (1280, 720), (854, 480), (640, 360)];
    let renditions: Vec<_> = sizes.iter().map(|(w, h)| json!({ "width": w, "height": h, "encode": {} })).collect();
    let copied = json!({ "width": 3840, "height": 2160, "encode": null });
    let renditions: Vec<_> = std::iter::once(copied).chain(renditions).collect();
    let plan = json!({ "video": { "rate": [30, 1], "renditions": renditions } });
    sqlx::query("update touchline.jobs set plan = $2, home_region = 'eu-west-1' where id = $1")
        .bind(job)
        .bind(plan)
        .execute(store.pool())
        .await
        .unwrap();
    let measured = async || rates::measured(store, &machines).await.unwrap().of_pool(pool);
    assert_eq!(measured().await, None);
    for chunk in 1..=8 {
        // 48 s of video in 6 s: eight encode-seconds a second.
        sqlx::query(
            "with c as (insert into touchline.chunks (job_id, chunk, kind, state, position) values ($1, $2, 'video', 'done', $2)
                returning 1)
             insert into touchline.attempts (job_id, chunk, attempt, worker_id, region, pool, claimed_at, ended_at, outcome, made)
             select $1, $2, 1, $3, 'eu-west-1', $4, now() - interval '6 seconds', now(), 'done', 1440 from c",
        )
        .bind(job)
        .bind(chunk)
        .bind(Uuid::now_v7())
        .bind(POOLS[0])
        .execute(store.pool())
        .await
        .unwrap();
    }
    let found = measured().await.unwrap();
    assert_eq!((found.rate.round(), found.chunks, found.promised), (8.0, 8, pool.encode_rate));

    let scaler = Scaler::new(store.clone(), machines.clone(), Arc::new(SimulatedCapacity::default()));
    let decision = scaler.scale_once().await.unwrap().unwrap();
    let said: Vec<String> = decision.reasons.iter().map(ToString::to_string).collect();
    assert!(said.iter().any(|s| s.contains("the median of its last 8 chunks; its file says 5.0")), "{said:?}");
    let asked = Asked {
        region: "eu-west-1".to_owned(),
        ladder: small_ladder(),
        seconds: Some(5400.0),
        bytes: None,
        height: None,
        frame_rate: None,
    };
    let quote = quote(store, Some(&machines), &asked).await.unwrap();
    assert_eq!(quote.pools[0].measured_chunks, Some(8));
}

#[tokio::test(flavor = "multi_thread")]
async fn quote_receipt_usage_and_cap_are_there_for_programs() {
    let mut fleet = Fleet::local(&Postgres::shared().create_database()).await;
    let interface = Interface::of(&mut fleet, 1000);
    let _dispatcher = fleet.dispatcher();
    interface.ready(&fleet).await;
    let club = fleet.store.ensure_organisation("club", 1).await.unwrap();
    let client = interface.client(&key(&fleet.store, club, &TENANT_SCOPES).await);
    let ops = interface.client(&key(&fleet.store, club, &["ops"]).await);

    let (status, quote) =
        client.post("/quote", json!({ "duration_s": 5400, "ladder": "sports", "title": "Final" })).await;
    assert_eq!((status.as_u16(), &quote["video_s"]), (200, &json!(5400.0)), "{quote}");
    assert!(quote["work_s"].as_f64().unwrap() > 4000.0 && quote["price"].is_null(), "no pools, no price: {quote}");
    for wrong in [json!({ "duration_s": -1 }), json!({ "ladder": "none" }), json!({ "source": "/etc/passwd" })] {
        assert_eq!(client.post("/quote", wrong.clone()).await.0.as_u16(), 422, "{wrong}");
    }

    let job = fleet.submit_for(club, SOURCE, &small_ladder()).await;
    fleet.store.cancel(job).await.unwrap();
    let title = "update touchline.jobs set title = '=1+1, \"Cup\"' where id = $1";
    sqlx::query(title).bind(job).execute(fleet.store.pool()).await.unwrap();
    let now = OffsetDateTime::now_utc();
    let began = now - time::Duration::minutes(10);
    instance(&fleet.store, "i-1", 277_401, began, Some(now)).await;
    attempt(&fleet.store, job, 1, "i-1", [began + time::Duration::minutes(2), now], "done").await;
    settle_after(&fleet.store, None, Duration::ZERO).await.unwrap();
    let (_, receipt) = client.get(&format!("/jobs/{job}/receipt")).await;
    let total = bill(277_401, began, now);
    assert_eq!((&receipt["final"], &receipt["total_micros"]), (&json!(true), &json!(total)), "{receipt}");
    assert_eq!(receipt["lines"][0]["pool"], POOLS[0]);
    let csv =
        Answer::to(client.request(Method::GET, &format!("/jobs/{job}/receipt")).header("accept", "text/csv")).await;
    assert!(csv.header("content-type").starts_with("text/csv"), "{csv:?}");
    let row: Vec<&str> = csv.text.lines().nth(1).unwrap().split(',').collect();
    assert_eq!(row[14].replace('.', "").parse::<i64>().unwrap(), total);

    let month = format!("{:04}-{:02}", now.year(), u8::from(now.month()));
    let (_, usage) = client.get(&format!("/usage?month={month}")).await;
    assert_eq!(usage["cost"]["settled_micros"], total, "{usage}");
    let usage = Answer::to(client.request(Method::GET, "/usage?format=csv")).await;
    assert!(usage.text.lines().nth(1).unwrap().contains(",\"'=1+1, \"\"Cup\"\"\","), "{}", usage.text);
    assert_eq!(fleet.command(&["receipt", &job.to_string(), "--csv"]).trim(), csv.text.trim());

    let patch = async |body| {
        let answer = Answer::to(ops.request(Method::PATCH, &format!("/organisations/{club}")).json(&body)).await;
        (answer.status, answer.json())
    };
    assert_eq!(patch(json!({ "monthly_cap_micros": -1 })).await.0, 422);
    assert_eq!(patch(json!({ "monthly_cap_micros": 1 })).await.1["monthly_cap_micros"], 1);
    assert_eq!(patch(json!({ "weight": 2 })).await.1["monthly_cap_micros"], 1, "what is left out stays");
    let (_, me) = until_capped(&fleet, || client.get("/me")).await;
    assert_eq!(me["usage"]["cap"]["code"], "cap_reached", "{me}");
    assert_eq!((&me["usage"]["cost_this_month_micros"], &me["usage"]["cap"]["stops"]), (&json!(total), &json!("all")));
    let held = fleet.submit_for(club, SOURCE, &small_ladder()).await;
    let (_, why) = client.get(&format!("/jobs/{held}/why")).await;
    assert_eq!(why["code"], "cap_reached", "{why}");
    assert!(why["reasons"][0].as_str().unwrap().contains("goes on by itself"), "for a coach: {why}");
    assert_eq!(patch(json!({ "monthly_cap_micros": null })).await.1["monthly_cap_micros"], json!(null));
    let (_, me) = client.get("/me").await;
    assert_eq!(me["usage"]["cap"], json!(null));
    fleet.command(&["organisation", "set", "club", "--monthly-cap", "12.50"]);
    assert!(fleet.command(&["organisation", "list"]).contains("$12.50"));
}

/// Asks until the dispatcher has reckoned the budget.
async fn until_capped<F: Future<Output = (reqwest::StatusCode, serde_json::Value)>>(
    fleet: &Fleet,
    ask: impl Fn() -> F,
) -> (reqwest::StatusCode, serde_json::Value) {
    let until = std::time::Instant::now() + Duration::from_secs(60);
    loop {
        let answer = ask().await;
        if !answer.1["usage"]["cap"].is_null() {
            return answer;
        }
        assert!(std::time::Instant::now() < until, "{}\n{}", answer.1, fleet.logs());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
