//! Limits of the interface, and requests that come twice.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use fleet::config::ApiConfig;
use reqwest::Method;
use serde_json::{Value, json};
use stories::client::{Answer, Client};
use stories::fleet_processes::{Fleet, Process, small_ladder};
use stories::interface::{Interface, SOURCE, TENANT_SCOPES, key};
use stories::services::Postgres;
use uuid::Uuid;

struct Served {
    fleet: Fleet,
    interface: Interface,
    _dispatcher: Process,
    organisation: Uuid,
    client: Client,
}

async fn served(requests_per_second: u32) -> Served {
    served_with(requests_per_second, |_| ()).await
}

async fn served_with(requests_per_second: u32, change: impl Fn(&mut ApiConfig)) -> Served {
    let mut fleet = Fleet::local(&Postgres::shared().create_database()).await;
    let interface = Interface::of(&mut fleet, requests_per_second);
    change(&mut fleet.config.api);
    fleet.write_config("fleet.toml", &fleet.config);
    let dispatcher = fleet.dispatcher();
    interface.ready(&fleet).await;
    let organisation = fleet.store.ensure_organisation("club", 1).await.unwrap();
    let client = interface.client(&key(&fleet.store, organisation, &TENANT_SCOPES).await);
    Served { fleet, interface, _dispatcher: dispatcher, organisation, client }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_too_large_or_no_json_is_refused_with_its_code() {
    let s = served(1000).await;
    let post = async |body: String, kind: &str| {
        let request = s.client.request(Method::POST, "/keys").header("content-type", kind).body(body);
        let answer = Answer::to(request).await;
        (answer.status, answer.code())
    };
    let padded = |n: usize| format!("{{\"name\": \"a\", \"x\": \"{}\"}}", "x".repeat(n));
    assert_eq!(post(padded(1 << 20), "application/json").await, (413, "too_large".to_owned()));
    assert_eq!(post("{\"name\": ".to_owned(), "application/json").await, (400, "bad_json".to_owned()));
    assert_eq!(post("name=a".to_owned(), "text/plain").await, (415, "unsupported_media_type".to_owned()));
    assert_eq!(post(padded(1), "application/json").await, (422, "invalid".to_owned()), "unknown fields are named");
    assert_eq!(
        post("[".repeat(100_000), "application/json").await,
        (422, "invalid".to_owned()),
        "nesting is not followed"
    );
    let keyed = s.client.request(Method::POST, "/keys").header("idempotency-key", "large");
    assert_eq!(Answer::to(keyed.body(padded(1 << 20))).await.status, 413);
    for (method, path, status) in [(Method::GET, "/nothing", 404), (Method::PUT, "/jobs", 405)] {
        assert_eq!(Answer::to(s.client.request(method, path)).await.status, status, "{path}");
    }
}

/// The status line of the answer to a head of a request that is sent as it is.
async fn raw(server: &str, head: String) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect(server.trim_start_matches("http://")).await.unwrap();
    let (mut read, mut write) = stream.split();
    let mut first = [0; 64];
    // The answer may come, and the connection end, before all is sent.
    let (_, read) = tokio::join!(write.write_all(head.as_bytes()), read.read(&mut first));
    String::from_utf8_lossy(&first[..read.unwrap_or(0)]).lines().next().unwrap_or_default().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_is_too_large_is_refused_before_anybody_looks_at_it() {
    let s = served(1000).await;
    let head = |path: &str, header: &str| format!("GET {path} HTTP/1.1\r\nhost: x\r\nx: {header}\r\n\r\n");
    let server = &s.interface.url;
    assert!(raw(server, head("/healthz", "y")).await.contains(" 200 "));
    let long = "z".repeat(70_000);
    assert!(raw(server, head(&format!("/v1/jobs?q={long}"), "y")).await.contains(" 414 "), "an address");
    assert!(raw(server, head("/healthz", &"y".repeat(600_000))).await.contains(" 431 "), "a header");
    let many = "y\r\nx: ".repeat(200);
    assert!(raw(server, head("/healthz", &many)).await.contains(" 431 "), "many headers");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_is_read_page_by_page_each_item_once() {
    let s = served(1000).await;
    let mut jobs = BTreeSet::new();
    for _ in 0..25 {
        jobs.insert(s.fleet.submit_for(s.organisation, "/none", &small_ladder()).await.to_string());
    }
    let (mut seen, mut cursor, mut pages) = (Vec::new(), String::new(), 0);
    loop {
        let page = s.client.get(&format!("/jobs?limit=10{cursor}")).await.1;
        let items = page["items"].as_array().unwrap();
        assert!(items.len() <= 10);
        seen.extend(items.iter().map(|j| j["id"].as_str().unwrap().to_owned()));
        pages += 1;
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!((pages, seen.len()), (3, 25));
    assert_eq!(seen.into_iter().collect::<BTreeSet<_>>(), jobs);
    for wrong in ["limit=0", "limit=101", "limit=-1", "limit=ten", "cursor=made-up", "state=sleeping"] {
        let answer = Answer::to(s.client.request(Method::GET, &format!("/jobs?{wrong}"))).await;
        assert_eq!((answer.status, answer.code().as_str()), (422, "invalid"), "{wrong}: {answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_too_often_is_told_when_to_come_back_and_others_are_served() {
    let s = served(5).await;
    let other = s.interface.client(&key(&s.fleet.store, s.organisation, &TENANT_SCOPES).await);
    let ask = async |client: &Client| Answer::to(client.request(Method::GET, "/me")).await;
    let mut refused = None;
    for _ in 0..40 {
        let answer = ask(&s.client).await;
        if answer.status == 429 {
            refused = Some(answer);
            break;
        }
        assert_eq!(answer.status, 200);
    }
    let refused = refused.expect("a key may not ask for ever");
    assert_eq!(refused.code(), "rate_limited");
    let wait: u64 = refused.header("retry-after").parse().unwrap();
    assert!((1..=10).contains(&wait));
    assert_eq!(ask(&other).await.status, 200, "each key has its own bucket");
    tokio::time::sleep(Duration::from_secs(wait)).await;
    assert_eq!(ask(&s.client).await.status, 200, "what it was told holds");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_listener_too_many_is_turned_away_until_another_leaves() {
    let s = served_with(1000, |api| api.event_listeners = 2).await;
    let listen = async || s.client.request(Method::GET, "/events").send().await.unwrap();
    let (first, second) = (listen().await, listen().await);
    assert!(first.status().is_success() && second.status().is_success(), "{first:?} {second:?}");
    let refused = Answer::to(s.client.request(Method::GET, "/events")).await;
    assert_eq!((refused.status, refused.code().as_str()), (503, "unavailable"));
    assert_ne!(refused.header("retry-after"), "");
    drop(first);
    let until = Instant::now() + Duration::from_secs(30);
    while !listen().await.status().is_success() {
        assert!(Instant::now() < until, "the place of one who left stays taken");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    drop(second);
}

async fn post(client: &Client, idempotency: &str, path: &str, body: &Value) -> Answer {
    Answer::to(client.request(Method::POST, path).header("idempotency-key", idempotency).json(body)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_comes_twice_is_done_once_and_answered_alike() {
    let s = served(1000).await;
    let job = json!({ "source": SOURCE, "title": "final" });
    let first = post(&s.client, "one", "/jobs", &job).await;
    assert_eq!(first.status, 201, "{first:?}");
    for _ in 0..3 {
        let again = post(&s.client, "one", "/jobs", &job).await;
        assert_eq!((again.status, &again.text), (201, &first.text));
        assert_eq!(again.header("idempotency-replayed"), "true");
    }
    let other = post(&s.client, "one", "/jobs", &json!({ "source": "s3://story/other.mp4" })).await;
    assert_eq!((other.status, other.code().as_str()), (422, "idempotency_mismatch"));
    let elsewhere = post(&s.client, "one", "/webhooks", &job).await;
    assert_eq!(elsewhere.code(), "idempotency_mismatch");
    // What failed may be sent again, and then succeeds.
    assert_eq!(post(&s.client, "two", "/jobs", &json!({ "source": "ftp://x" })).await.status, 422);
    assert_eq!(post(&s.client, "two", "/jobs", &job).await.status, 201);
    // Another organisation's keys are its own.
    let club = s.fleet.store.ensure_organisation("other", 1).await.unwrap();
    let stranger = s.interface.client(&key(&s.fleet.store, club, &TENANT_SCOPES).await);
    let theirs = post(&stranger, "one", "/jobs", &job).await;
    assert_eq!(theirs.status, 201);
    assert_ne!(theirs.json()["id"], first.json()["id"]);
    for key in ["", &"k".repeat(201)] {
        assert_eq!(post(&stranger, key, "/jobs", &job).await.status, 422, "{key:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_the_same_requests_at_the_same_time_one_is_done() {
    let s = served(1000).await;
    let job = json!({ "source": SOURCE });
    let answers = futures_util::future::join_all((0..20).map(|_| post(&s.client, "race", "/jobs", &job))).await;
    let ids: BTreeSet<String> =
        answers.iter().filter(|a| a.status == 201).map(|a| a.json()["id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(ids.len(), 1, "{answers:?}");
    for answer in answers.iter().filter(|a| a.status != 201) {
        assert_eq!((answer.status, answer.code().as_str()), (409, "idempotency_in_progress"));
        assert_ne!(answer.header("retry-after"), "");
    }
    let jobs = s.client.get("/jobs").await.1;
    assert_eq!(jobs["items"].as_array().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_with_a_secret_is_given_again_and_kept_where_nobody_can_read_it() {
    let s = served(1000).await;
    for (idempotency, path, body) in [
        ("make-a-key", "/keys", json!({ "name": "gate" })),
        ("make-a-hook", "/webhooks", json!({ "url": "https://example.com/hook", "events": ["job.succeeded"] })),
    ] {
        let first = post(&s.client, idempotency, path, &body).await;
        assert_eq!(first.status, 201, "{first:?}");
        let secret = first.json()["secret"].as_str().unwrap().to_owned();
        let again = post(&s.client, idempotency, path, &body).await;
        assert_eq!((again.status, &again.text, again.header("idempotency-replayed")), (201, &first.text, "true"));
        let kept: Vec<(String, Vec<u8>)> = sqlx::query_as("select key, body from touchline.idempotency")
            .fetch_all(s.fleet.store.pool())
            .await
            .unwrap();
        assert!(!kept.is_empty());
        for (key, body) in kept {
            assert_ne!(key, idempotency, "the client's key opens the answer: it is not kept");
            assert!(!body.windows(secret.len()).any(|bytes| bytes == secret.as_bytes()), "{path}");
        }
    }
}
